"""An execution as a waterfall: one row for each thing that took time, to scale.

A cell shows the activity that takes most of it, each with a glyph of its own, so that it reads
without colours. Less than half a cell is drawn as a bar of that many eighths.
"""

from __future__ import annotations

from itertools import groupby
from math import ceil, floor
from operator import itemgetter
from typing import TYPE_CHECKING

from lambdatrace.analysis.waterfall import (
    Activity,
    End,
    Group,
    Row,
    Waterfall,
    trouble,
)
from lambdatrace.cli.views.bars import sparkline
from lambdatrace.cli.views.grid import Grid, GridColumn
from lambdatrace.cli.views.rows import RowWords, bytes_in, bytes_out, notes, start, took, what
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    WARNING,
    cut_middle,
    duration_words,
    safe,
)
from lambdatrace.model import Connection, CpuTime, Exchange
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.analysis.waterfall import Stretch


class Glyphs(Value):
    """What bars and marks are drawn with."""

    activities: dict[Activity, str]
    slivers: str  # from one to four eighths of a cell, from its left
    life: str
    failed: str
    open: str
    reused: str
    resent: str
    stale: str
    tick: str
    axis: str
    below: str
    cut: str
    heights: str  # of a group: few, more, most
    in_turn: str  # waited for a CPU and ran in turn, from the least running to the most


UNICODE = Glyphs(
    activities={
        Activity.DNS: "▚",
        Activity.CONNECT: "░",
        Activity.TLS: "▓",
        Activity.SEND: "▄",
        Activity.WAIT: "▒",
        Activity.TRANSFER: "█",
        Activity.EXCHANGES: "═",
        Activity.CALL: "▬",
        Activity.RUNNING: "▆",
        Activity.RUNQUEUE: "▁",
    },
    slivers="▏▎▍▌",
    life="─",
    failed="✗",
    open="→",
    reused="↺",
    resent="‼",
    stale="†",
    tick="┬",
    axis="─",
    below="└ ",
    cut="…",
    heights="▁▄█",
    in_turn="▁▂▃▅▆",
)
ASCII = Glyphs(
    activities={
        Activity.DNS: "?",
        Activity.CONNECT: ":",
        Activity.TLS: "%",
        Activity.SEND: "^",
        Activity.WAIT: "=",
        Activity.TRANSFER: "#",
        Activity.EXCHANGES: "~",
        Activity.CALL: "w",
        Activity.RUNNING: "*",
        Activity.RUNQUEUE: ".",
    },
    slivers="||||",
    life="-",
    failed="x",
    open=">",
    reused="@",
    resent="!",
    stale="$",
    tick="+",
    axis="-",
    below="` ",
    cut="..",
    heights=".=#",
    in_turn=".oo*",
)
_STYLES = {
    Activity.DNS: "bright_blue",
    Activity.CONNECT: "yellow",
    Activity.TLS: "green",
    Activity.SEND: "bright_cyan",
    Activity.WAIT: "magenta",
    Activity.TRANSFER: "cyan",
    Activity.EXCHANGES: "blue",
    Activity.CALL: "bright_yellow",
    Activity.RUNNING: "bright_green",
    Activity.RUNQUEUE: "red",
    Activity.MEMBER: "cyan",
}
ACTIVITY_NAMES = {
    Activity.EXCHANGES: "exchanges, not told apart",
    Activity.CALL: "waited in a syscall",
    Activity.RUNQUEUE: "waited for a CPU",
}
# With fewer cells a row has a number, what it is and how long it took; with more, also when it
# began and what became of it; with even more, how long each phase took, and bytes.
_ROOM_FOR_RESULTS = 110
_ROOM_FOR_PHASES = 160
_LEAST_BAR = 30
_MOST_BAR = 160
_LEAST_WHAT = 8
_MOST_WHAT = {0: 36, _ROOM_FOR_RESULTS: 32, _ROOM_FOR_PHASES: 44}
_MOST_RESULT = 30
_MOST_PROCESS = 20
_GAP = 2
_TICKS = 4


class WaterfallView:
    """The rows of a waterfall over the width at hand.

    `exchanges` are those of a connection, by its id, where they are known; `names` those of
    processes by id. `complete`: no connection of the execution is known to be missing. `filtered`:
    only those that pass a filter are there.
    """

    def __init__(
        self,
        waterfall: Waterfall,
        exchanges: Mapping[int, Sequence[Exchange]],
        names: Mapping[int, str],
        *,
        complete: bool = True,
        filtered: bool = False,
    ) -> None:
        self._waterfall = waterfall
        self._complete = complete
        self._filtered = filtered
        self._words = RowWords(waterfall, exchanges, names)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the rows for the width at hand."""
        glyphs = ASCII if options.ascii_only else UNICODE
        rows, width = self._waterfall.rows, options.max_width
        if rows:
            yield from self._drawn(rows, width, glyphs, ascii_only=options.ascii_only)
        for note in notes(self._waterfall, complete=self._complete, filtered=self._filtered):
            yield Text(note, style=DIM)

    def _drawn(
        self, rows: Sequence[Row], width: int, glyphs: Glyphs, *, ascii_only: bool
    ) -> RenderResult:
        tier = max(each for each in _MOST_WHAT if width >= each)
        columns = self._columns(rows, tier, glyphs)
        numbers = [Text(row.number, style=DIM) for row in rows]
        used = _width("#", numbers, None) + _GAP
        used += sum(_width(heading, cells, most) + _GAP for cells, _, heading, most in columns)
        whats = [_indented_what(row, tier, glyphs) for row in rows]
        # In a narrow terminal bars are the shorter ones: figures without units mislead.
        least_bar = min(_LEAST_BAR, max(_LEAST_WHAT, width - used - _GAP - _LEAST_WHAT))
        room = max(_LEAST_WHAT, width - used - _GAP - least_bar)
        what_width = min(_width("what", whats, _MOST_WHAT[tier]), room)
        bar_width = min(_MOST_BAR, max(least_bar, width - used - what_width - _GAP))
        duration_ns = self._waterfall.duration_ns
        bars = [_bar(row, duration_ns, bar_width, glyphs, ascii_only) for row in rows]
        grid = [
            GridColumn(_width("#", numbers, None), justify="right"),
            GridColumn(what_width),
            *(
                GridColumn(
                    _width(heading, cells, most),
                    justify="right" if right else "left",
                    no_wrap=most is None,
                    overflow="fold",
                )
                for cells, right, heading, most in columns
            ),
            GridColumn(bar_width, overflow="crop"),
        ]
        names, axis = _scale(duration_ns, bar_width, glyphs)
        headings = [Text(heading, style=DIM) for _, _, heading, _ in columns]
        lines = [
            [Text(), Text(), *(Text() for _ in columns), names],
            [Text("#", style=DIM), Text("what", style=DIM), *headings, axis],
        ]
        for number, row in enumerate(rows):
            line = bars[number]
            if tier < _ROOM_FOR_RESULTS:
                _annotate(line, row)
            what = cut_middle(whats[number], what_width, glyphs.cut)
            lines.append([numbers[number], what, *(cells[number] for cells, *_ in columns), line])
        yield Grid(grid, lines)
        yield self._legend(rows, bars, width, tier, glyphs)

    def _columns(
        self, rows: Sequence[Row], tier: int, glyphs: Glyphs
    ) -> list[tuple[list[Text], bool, str, int | None]]:
        """(cells, right-justified, heading, most cells or None) between what it is and its bar."""
        words = self._words
        columns: list[tuple[list[Text], bool, str, int | None]] = []

        def add(
            heading: str,
            cell: Callable[[Row], Text],
            most: int | None = None,
            *,
            right: bool = True,
        ) -> None:
            cells = [cell(row) for row in rows]
            if any(cells):
                columns.append((cells, right, heading, most))

        if tier >= _ROOM_FOR_RESULTS:
            add("start", start)
        add("took", took)
        if tier < _ROOM_FOR_RESULTS:
            add("", lambda row: marks(row, glyphs), right=False)
            return columns
        if tier >= _ROOM_FOR_PHASES:
            add("process", words.process, _MOST_PROCESS, right=False)
            add("connect", words.connect)
            add("tls", words.tls)
            add("wait", words.wait)
            add("transfer", words.transfer)
            add("out", bytes_out)
            add("in", bytes_in)
        add("result", words.result, _MOST_RESULT, right=False)
        return columns

    def _legend(
        self, rows: Sequence[Row], bars: Sequence[Text], width: int, tier: int, glyphs: Glyphs
    ) -> Text:
        """What the glyphs mean, of those that are used."""
        used: set[str] = set()
        drawn: set[Activity] = set()
        for row, line in zip(rows, bars, strict=True):
            if isinstance(row.source, Group):
                continue  # heights, which have other meanings as glyphs
            cells = set(line.plain)
            used |= cells
            if isinstance(row.source, CpuTime):
                if cells & set(glyphs.in_turn):
                    drawn |= {each.activity for each in row.stretches}
            else:
                drawn |= {each for each, glyph in glyphs.activities.items() if glyph in cells}
        named = [
            (glyph, ACTIVITY_NAMES.get(activity, str(activity)), _STYLES[activity])
            for activity, glyph in glyphs.activities.items()
            if activity in drawn
        ]
        if any(isinstance(row.source, Group) for row in rows):
            named.append((glyphs.heights, "how many at once", _STYLES[Activity.MEMBER]))
        named += [
            other
            for other in (
                (glyphs.life, "open, idle", ""),
                (glyphs.failed, "failed", BAD),
                (glyphs.open, "not over", "bold"),
            )
            if other[0] in used
        ]
        if tier < _ROOM_FOR_RESULTS:
            marked = {mark for row in rows for mark in marks(row, glyphs).plain}
            named += [other for other in named_marks(glyphs) if other[0] in marked]
        legend = Text(style=DIM)
        free = width  # cells left in the line
        for glyph, name, style in named:
            needed = len(f"  {glyph} {name}")
            if legend:
                legend.append("  " if needed <= free else "\n")
            free = (free if needed <= free else width + len("  ")) - needed
            legend.append(glyph, style=f"not dim {style}").append(f" {name}")
        return legend


def _width(heading: str, cells: Sequence[Text], most: int | None) -> int:
    natural = max(len(heading), *(each.cell_len for each in cells))
    return natural if most is None else min(natural, most)


def _indented_what(row: Row, tier: int, glyphs: Glyphs) -> Text:
    below = Text(glyphs.below, style=DIM) if row.level else Text()
    # Where there is room, bytes have columns of their own.
    return below.append_text(what(row, with_bytes=tier < _ROOM_FOR_PHASES))


def marks(row: Row, glyphs: Glyphs) -> Text:
    """What there is to know of a connection that its bar does not show."""
    text = Text()
    if isinstance(row.source, Connection):
        text.append(glyphs.reused * row.source.reused)
        text.append(glyphs.stale * bool(row.source.stale), style=WARNING)
    if isinstance(row.source, Connection | Exchange):
        text.append(glyphs.resent * bool(row.source.retransmits), style=WARNING)
    return text


def named_marks(glyphs: Glyphs) -> tuple[tuple[str, str, str], ...]:
    """What the marks mean: (glyph, words, style)."""
    return (
        (glyphs.reused, "reused", ""),
        (glyphs.resent, "packets resent", WARNING),
        (glyphs.stale, "stale", WARNING),
    )


def _bar(row: Row, duration_ns: int, width: int, glyphs: Glyphs, ascii_only: bool) -> Text:
    """One row as `width` cells, which stand for 0 to `duration_ns`."""
    if isinstance(row.source, Group):
        return _density(row.stretches, duration_ns, width, ascii_only)

    def position(moment_ns: int) -> float:
        return min(1.0, max(0.0, moment_ns / duration_ns)) * width

    cells: list[tuple[str, str]] = [(" ", "")] * width
    begin, end = position(row.start_ns), position(row.end_ns)
    first = min(width - 1, floor(begin))
    last = max(first, min(width, ceil(end)) - 1)
    if isinstance(row.source, Connection):
        for cell in range(first, last + 1):
            # What is left of a cell behind a phase is not worth a dash that looks like a whole one.
            if first == last or min(cell + 1, end) - max(cell, begin) >= 0.5:
                cells[cell] = (glyphs.life, DIM)
    covered: list[dict[Activity, float] | None] = [None] * width
    # There may be very many, nearly all within one cell; and all are within the execution.
    for activity, start_ns, end_ns in row.stretches:
        start, stop = start_ns / duration_ns * width, end_ns / duration_ns * width
        for cell in range(floor(start), min(width, ceil(stop))):
            shares = covered[cell]
            if shares is None:
                shares = covered[cell] = {}
            share = min(cell + 1.0, stop) - max(float(cell), start)
            shares[activity] = shares.get(activity, 0.0) + share
    for cell, shares in enumerate(covered):
        if shares:
            activity = max(shares, key=lambda each: shares[each])
            cells[cell] = (_glyph(activity, shares, glyphs), _STYLES[activity])
    mark = _mark(row, glyphs)
    if mark is not None:
        # Behind the bar, which stays to scale, unless that ends at the edge.
        cells[min(width - 1, last + 1)] = mark
    # Cells of one style in a row are one piece: each has its escape codes.
    runs = groupby(cells, key=itemgetter(1))
    return Text.assemble(*(("".join(glyph for glyph, _ in run), style) for style, run in runs))


def _density(stretches: Sequence[Stretch], duration_ns: int, width: int, ascii_only: bool) -> Text:
    """How many were at something at once, cell by cell."""
    # Cells in which so many begin and end; the last one is the execution's very end.
    begun, ended = [0] * (width + 1), [0] * (width + 1)
    for _, start_ns, end_ns in stretches:
        first, last = start_ns * width // duration_ns, end_ns * width // duration_ns
        begun[first if first < width else width] += 1
        ended[last if last < width else width] += 1
    begun[width - 1] += begun[width]
    counts = []
    at_once = 0
    for more, fewer in zip(begun[:width], ended[:width], strict=True):
        at_once += more
        counts.append(at_once)
        at_once -= fewer
    return sparkline(counts, ascii_only=ascii_only)


def _glyph(activity: Activity, shares: Mapping[Activity, float], glyphs: Glyphs) -> str:
    covered = sum(shares.values())
    eighths = round(covered * 8)
    if eighths > len(glyphs.slivers):
        if Activity.RUNQUEUE in shares:
            # A thread that has to share its CPU runs and waits many times within one cell.
            running = shares.get(Activity.RUNNING, 0.0) / covered
            return glyphs.in_turn[round(running * (len(glyphs.in_turn) - 1))]
        return glyphs.activities[activity]
    return glyphs.slivers[max(0, eighths - 1)]


def _mark(row: Row, glyphs: Glyphs) -> tuple[str, str] | None:
    if row.end is End.OPEN:
        return (glyphs.open, "bold")
    return (glyphs.failed, BAD) if row.end is End.FAILED else None


def _annotate(line: Text, row: Row) -> None:
    """Say beside a bar what went wrong, where there is room for it."""
    words = trouble(row)
    if isinstance(row.source, Group):
        words = ", ".join(f"{count:,} {what}" for what, count in row.source.troubles)
    if not words:
        return
    if not words.isascii():
        return  # one may take two cells
    words = safe(words).plain
    drawn = line.plain.rstrip()
    ahead = len(drawn) - len(drawn.lstrip())
    if len(drawn) + 1 + len(words) <= len(line):
        place = len(drawn) + 1
    elif len(words) + 1 <= ahead:
        place = ahead - 1 - len(words)
    else:
        return
    line.plain = line.plain[:place] + words + line.plain[place + len(words) :]
    line.stylize(BAD, place, place + len(words))


def _scale(duration_ns: int, width: int, glyphs: Glyphs) -> tuple[Text, Text]:
    """Times, and the ticks below that they belong to."""
    names = [" "] * width
    axis = [glyphs.axis] * width
    free = 0  # the first cell a name may begin in
    marks = range(_TICKS + 1)
    for tick in (0, _TICKS, *marks[1:-1]):
        cell = min(width - 1, tick * width // _TICKS)
        axis[cell] = glyphs.tick
        name = "0" if tick == 0 else duration_words(duration_ns * tick // _TICKS)
        start = cell if tick < _TICKS else width - len(name)
        if tick == _TICKS or (
            start >= free and "".join(names[start : start + len(name) + 1]).isspace()
        ):
            names[start : start + len(name)] = name
            free = start + len(name) + 1 if tick < _TICKS else free
    return Text("".join(names), style=DIM), Text("".join(axis), style=DIM)
