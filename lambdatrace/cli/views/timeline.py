"""The connections of one execution over its time, to scale.

A cell shows the phase that takes most of it, each phase with a glyph of its own, so that it reads
without colours. Less than half a cell is drawn as a bar of that many eighths.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lambdatrace.analysis.phases import phases
from lambdatrace.cli.views.folding import fold, folded_note
from lambdatrace.cli.views.text import BAD, DIM, destination, duration_words
from lambdatrace.model import Outcome, PhaseKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Connection, Exchange


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What the parts of a bar are drawn with."""

    phases: dict[PhaseKind, str]
    slivers: str  # from one to four eighths of a cell, from its left
    life: str
    failed: str
    open: str
    tick: str
    axis: str


UNICODE = Glyphs(
    phases={
        PhaseKind.CONNECT: "░",
        PhaseKind.TLS: "▓",
        PhaseKind.SEND: "▄",
        PhaseKind.WAIT: "▒",
        PhaseKind.TRANSFER: "█",
        PhaseKind.EXCHANGES: "═",
    },
    slivers="▏▎▍▌",
    life="─",
    failed="✗",
    open="→",
    tick="┬",
    axis="─",
)
ASCII = Glyphs(
    phases={
        PhaseKind.CONNECT: ":",
        PhaseKind.TLS: "%",
        PhaseKind.SEND: "^",
        PhaseKind.WAIT: "=",
        PhaseKind.TRANSFER: "#",
        PhaseKind.EXCHANGES: "~",
    },
    slivers="||||",
    life="-",
    failed="x",
    open=">",
    tick="+",
    axis="-",
)
_STYLES = {
    PhaseKind.CONNECT: "yellow",
    PhaseKind.TLS: "green",
    PhaseKind.SEND: "bright_cyan",
    PhaseKind.WAIT: "magenta",
    PhaseKind.TRANSFER: "cyan",
    PhaseKind.EXCHANGES: "blue",
}
_ALWAYS_NAMED = (PhaseKind.CONNECT, PhaseKind.WAIT, PhaseKind.TRANSFER)
_NAMES = {PhaseKind.EXCHANGES: "exchanges, not told apart"}
_MIN_BAR = 20
_TICKS = 4


class Timeline:
    """One row for each connection that lived during the execution, of `duration_ns`.

    `exchanges` are those of a connection, by its id, where they are known.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        exchanges: Mapping[int, Sequence[Exchange]],
        duration_ns: int,
    ) -> None:
        self._connections = connections
        self._exchanges = exchanges
        self._duration_ns = max(1, duration_ns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the timeline over the width at hand."""
        glyphs = ASCII if options.ascii_only else UNICODE
        drawn = [row for row in fold(self._connections) if not row[1].before]
        if not drawn:
            return
        digits = len(str(drawn[-1][0]))
        labels = [_label(f"{number:>{digits}}", connection) for number, connection in drawn]
        room = max(_MIN_BAR, options.max_width // 3)
        label_width = min(max(label.cell_len for label in labels), room)
        bar_width = max(_MIN_BAR, options.max_width - label_width - 1)
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=label_width, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=bar_width, no_wrap=True, overflow="crop")
        for line in _scale(self._duration_ns, bar_width, glyphs):
            grid.add_row(Text(), line)
        bars = [
            bar(each, self._exchanges.get(each.id), self._duration_ns, bar_width, glyphs)
            for _, each in drawn
        ]
        for label, line in zip(labels, bars, strict=True):
            grid.add_row(label, line)
        used = {glyph for line in bars for glyph in line.plain}
        notes = [_legend(glyphs, used, options.max_width)]
        if len(self._connections) > len(drawn):
            notes = [*self._left_out(len(drawn)), *notes]
        yield Group(grid, *notes)

    def _left_out(self, drawn: int) -> list[Text]:
        before = sum(connection.before for connection in self._connections)
        notes = []
        if len(self._connections) - before > drawn:
            notes.append(folded_note(len(self._connections) - before, drawn))
        if before:
            text = f"{before:,} that ended before this execution began: not drawn"
            notes.append(Text(text, style=DIM))
        return notes


def bar(
    connection: Connection,
    exchanges: Sequence[Exchange] | None,
    duration_ns: int,
    width: int,
    glyphs: Glyphs,
) -> Text:
    """One connection as `width` cells, which stand for 0 to `duration_ns`."""

    def position(moment_ns: int) -> float:
        return min(1.0, max(0.0, moment_ns / duration_ns)) * width

    begin = position(connection.started_ns)
    end = position(connection.started_ns + connection.duration_ns)
    first = min(width - 1, floor(begin))
    last = max(first, min(width, ceil(end)) - 1)
    cells: list[tuple[str, str]] = [(" ", "")] * width
    for cell in range(first, last + 1):
        # What is left of a cell behind a phase is not worth a dash that looks like a whole one.
        if first == last or min(cell + 1, end) - max(cell, begin) >= 0.5:
            cells[cell] = (glyphs.life, DIM)
    covered: dict[int, dict[PhaseKind, float]] = {}
    for phase in phases(connection, exchanges):
        start, stop = position(phase.start_ns), position(phase.end_ns)
        for cell in range(floor(start), ceil(stop)):
            share = min(cell + 1.0, stop) - max(float(cell), start)
            if share > 0:
                shares = covered.setdefault(cell, {})
                shares[phase.kind] = shares.get(phase.kind, 0.0) + share
    for cell, shares in covered.items():
        kind = max(shares, key=lambda kind: shares[kind])
        cells[cell] = (_glyph(kind, sum(shares.values()), glyphs), _STYLES[kind])
    mark = _mark(connection, glyphs)
    if mark is not None:
        # Behind the bar, which stays to scale, unless that ends at the edge.
        cells[min(width - 1, last + 1)] = mark
    return Text.assemble(*cells)


def _glyph(kind: PhaseKind, covered: float, glyphs: Glyphs) -> str:
    eighths = round(covered * 8)
    if eighths > len(glyphs.slivers):
        return glyphs.phases[kind]
    return glyphs.slivers[max(0, eighths - 1)]


def _mark(connection: Connection, glyphs: Glyphs) -> tuple[str, str] | None:
    if connection.outcome in (Outcome.OPEN, Outcome.CONNECTING):
        return (glyphs.open, "bold")
    return None if connection.outcome is Outcome.OK else (glyphs.failed, BAD)


def _label(number: str, connection: Connection) -> Text:
    text = Text(f"{number} ", style=DIM, no_wrap=True, overflow="ellipsis")
    where = destination(connection.host, connection.address, connection.port, connection.protocol)
    where.style = "not dim"
    return text.append_text(where)


def _scale(duration_ns: int, width: int, glyphs: Glyphs) -> list[Text]:
    """Two lines: times, and the ticks they belong to."""
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
    return [Text("".join(names), style=DIM), Text("".join(axis), style=DIM)]


def _legend(glyphs: Glyphs, used: set[str], width: int) -> Text:
    """What the glyphs mean: the usual phases always, the others where they are used."""
    named = [
        (glyphs.phases[kind], _NAMES.get(kind, str(kind)), _STYLES[kind])
        for kind in PhaseKind
        if kind in _ALWAYS_NAMED or glyphs.phases[kind] in used
    ]
    others = [
        (glyphs.life, "open, idle", ""),
        (glyphs.failed, "failed", BAD),
        (glyphs.open, "not closed", "bold"),
    ]
    named += [other for other in others if other[0] in used]
    legend = Text(style=DIM)
    free = width  # cells left in the line
    for glyph, name, style in named:
        needed = len(f"  {glyph} {name}")
        if legend:
            legend.append("  " if needed <= free else "\n")
        free = (free if needed <= free else width + len("  ")) - needed
        legend.append(glyph, style=f"not dim {style}").append(f" {name}")
    return legend
