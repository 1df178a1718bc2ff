"""The bars of a waterfall: as SVG for a page without its script, and as figures for the script.

SVG lengths are in per cent of the bar's width, so that it fits every screen and no style is needed;
script.js draws the same again for the stretch of time that is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.analysis.waterfall import Activity, End, Group, Row, Stretch
from lambdatrace.analysis.words import duration_words
from lambdatrace.export.html.palette import ink_of
from lambdatrace.model import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

# A row has so many stretches at most: one with more is drawn in as many cells. Drawn once it is
# looked at from afar; the script may look closer.
_MOST_DRAWN = 400
_MOST_TOLD = 4_000
# How finely it is told how many of a group were at something at once.
_BINS = 240
_LEAST = 0.2  # per cent of the width: what is shorter could not be seen
_HEIGHT = 18  # px, as in style.css and script.js
_MOST_TICKS = 5
_MARKS = {
    End.FAILED: ("failed", "M4 5l8 8M12 5l-8 8"),
    End.OPEN: ("open", "M3 9h8M8 5l4 4-4 4"),
}
_BESIDE_PERCENT = 97  # a mark stands behind a bar that ends before this


def bar(row: Row, duration_ns: int) -> str:
    """One row from 0 to `duration_ns`."""
    drawn = [_grid(duration_ns)]
    if isinstance(row.source, Group):
        drawn.append(_density(_counts(row.stretches, duration_ns)))
    else:
        if isinstance(row.source, Connection):
            drawn.append(_life(row, duration_ns))
        drawn += [_stretch(each, duration_ns) for each in coalesced(row, duration_ns, _MOST_DRAWN)]
        drawn.append(_mark(row, duration_ns))
    return _svg("".join(drawn))


def axis(duration_ns: int) -> str:
    """The scale above the bars."""
    texts = []
    for moment in ticks(duration_ns):
        name = duration_words(moment) if moment else "0"
        place = _percent(moment, duration_ns)
        anchor = "start" if place < 5 else "end" if place > 92 else "middle"
        texts.append(f'<text x="{place:g}%" y="12" text-anchor="{anchor}">{name}</text>')
    return _svg(f'<g class="axis">{"".join(texts)}</g>')


def ticks(duration_ns: int) -> list[int]:
    """Round moments from 0 to `duration_ns`: 1, 2 or 5 times a power of ten apart."""
    step = 1
    while duration_ns // step >= _MOST_TICKS:
        # 1, 2, 5, 10, 20, 50 …
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return list(range(0, duration_ns + 1, step))


def stacked(parts: Sequence[tuple[str, int]], total: int) -> str:
    """One bar of all parts (key of an ink, share), the largest first."""
    drawn = []
    done = 0
    for ink, share in parts:
        place, width = _percent(done, total), _percent(share, total)
        drawn.append(
            f'<rect x="{place:g}%" width="{width:g}%" height="100%" fill="url(#t-{ink})"/>'
        )
        done += share
        if share and done < total:
            edge = _percent(done, total)
            drawn.append(f'<line class="edge" x1="{edge:g}%" x2="{edge:g}%" y2="100%"/>')
    return (
        f'<svg class="stacked" width="100%" height="22" aria-hidden="true">{"".join(drawn)}</svg>'
    )


def swatch(ink: str) -> str:
    """What a legend shows of an ink."""
    rect = f'<rect width="14" height="12" fill="url(#t-{ink})"/>'
    return f'<svg class="swatch" width="14" height="12" aria-hidden="true">{rect}</svg>'


def mark_swatch(end: End) -> str:
    """What a legend shows of how rows ended."""
    name, path = _MARKS[end]
    shape = f'<path class="mark {name}" d="{path}"/>'
    return f'<svg class="swatch" width="16" height="18" aria-hidden="true">{shape}</svg>'


def life_swatch() -> str:
    """What a legend shows of a connection that was open and idle."""
    line = '<line class="life" x1="0" x2="16" y1="6" y2="6"/>'
    return f'<svg class="swatch" width="16" height="12" aria-hidden="true">{line}</svg>'


def told(row: Row, duration_ns: int) -> dict[str, Any]:
    """What the script draws a row from; times in ns since the execution's start."""
    if isinstance(row.source, Group):
        return {"counts": _counts(row.stretches, duration_ns)}
    return {
        "end": str(row.end),
        "from": row.start_ns,
        "to": row.end_ns,
        "life": isinstance(row.source, Connection),
        "bars": [
            [ink_of(each.activity), each.start_ns, each.end_ns]
            for each in coalesced(row, duration_ns, _MOST_TOLD)
        ],
    }


def coalesced(row: Row, duration_ns: int, most: int) -> Sequence[Stretch]:
    """The stretches of a row, or `most` cells in their place.

    A cell is of the activity that takes most of it, and as long as all of them together, so that
    the sum stays what it was.
    """
    if len(row.stretches) <= most:
        return row.stretches
    cells: list[dict[Activity, int]] = [{} for _ in range(most)]
    for activity, start, end in row.stretches:
        first, last = start * most // duration_ns, min(most - 1, end * most // duration_ns)
        for cell in range(first, last + 1):
            begun, over = cell * duration_ns // most, (cell + 1) * duration_ns // most
            own = cells[cell]
            own[activity] = own.get(activity, 0) + max(0, min(end, over) - max(start, begun))
    found = []
    for cell, shares in enumerate(cells):
        covered = sum(shares.values())
        if covered:
            begun = cell * duration_ns // most
            activity = max(shares, key=lambda each: shares[each])
            found.append(Stretch(activity, begun, begun + covered))
    return found


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 3) if whole else 0.0


def _svg(content: str) -> str:
    return f'<svg class="bar" width="100%" height="{_HEIGHT}" aria-hidden="true">{content}</svg>'


def _grid(duration_ns: int) -> str:
    places = (_percent(moment, duration_ns) for moment in ticks(duration_ns))
    lines = (f'<line x1="{each:g}%" x2="{each:g}%" y2="100%"/>' for each in places)
    return f'<g class="grid">{"".join(lines)}</g>'


def _life(row: Row, duration_ns: int) -> str:
    start = _percent(max(0, row.start_ns), duration_ns)
    end = _percent(min(duration_ns, row.end_ns), duration_ns)
    return f'<line class="life" x1="{start:g}%" x2="{end:g}%" y1="9" y2="9"/>'


def _stretch(stretch: Stretch, duration_ns: int) -> str:
    place = _percent(stretch.start_ns, duration_ns)
    width = max(_LEAST, _percent(stretch.end_ns - stretch.start_ns, duration_ns))
    place = max(0.0, min(place, 100 - width))
    return (
        f'<rect x="{place:g}%" y="3" width="{width:g}%" height="12" '
        f'fill="url(#t-{ink_of(stretch.activity)})"/>'
    )


def _counts(stretches: Sequence[Stretch], duration_ns: int) -> list[int]:
    """How many were at something in each bin."""
    changes = [0] * (_BINS + 1)
    for stretch in stretches:
        first = min(_BINS - 1, stretch.start_ns * _BINS // duration_ns)
        last = min(_BINS - 1, stretch.end_ns * _BINS // duration_ns)
        changes[first] += 1
        changes[last + 1] -= 1
    counts = []
    at_once = 0
    for change in changes[:_BINS]:
        at_once += change
        counts.append(at_once)
    return counts


def _density(counts: Sequence[int]) -> str:
    most = max(counts, default=0) or 1
    steps = []
    for place, count in enumerate(counts):
        # One among ten thousand is still seen.
        height = max(count / most * 14, 1.0) if count else 0
        steps.append(f"V{16 - height:g}H{place + 1}")
    return (
        f'<svg class="density" width="100%" height="18" viewBox="0 0 {_BINS} 18" '
        'preserveAspectRatio="none">'
        f'<path class="fill-member" d="M0 16{"".join(steps)}V16Z"/></svg>'
    )


def _mark(row: Row, duration_ns: int) -> str:
    if row.end is End.DONE:
        return ""
    name, path = _MARKS[row.end]
    end = min(100.0, max(0.0, _percent(row.end_ns, duration_ns)))
    # Behind the bar, which stays to scale, unless that ends at the edge.
    beside = end < _BESIDE_PERCENT
    moved = "" if beside else ' transform="translate(-16 0)"'
    return (
        f'<svg class="at-end" x="{end if beside else 100:g}%" overflow="visible">'
        f'<g{moved}><rect class="under" x="1" y="3" width="15" height="12"/>'
        f'<path class="mark {name}" d="{path}"/></g></svg>'
    )
