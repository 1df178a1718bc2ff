"""Where an execution's time went: its parts as bars, with what each went into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.parts import PartRow, part_rows, unknown_parts, why_unknown
from lambdatrace.cli.views.bars import share_bar
from lambdatrace.cli.views.grid import Grid, GridColumn
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import DIM, cut_middle, duration, duration_words, safe
from lambdatrace.model import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Execution, Pause

# The colours of the waterfall, which shows when these parts were.
STYLES = {
    Part.DNS: "bright_blue",
    Part.CONNECT: "yellow",
    Part.TLS: "green",
    Part.WAIT: "magenta",
    Part.TRANSFER: "cyan",
    Part.FILE: "bright_yellow",
    Part.SLEEP: "bright_yellow",
    Part.LOCK: "bright_yellow",
    Part.CPU: "bright_green",
    Part.RUNQUEUE: "red",
    Part.STEAL: "red",
    Part.OTHER: "white",
}
PART_WORDS = {
    Part.DNS: "looking names up",
    Part.CONNECT: "connecting",
    Part.TLS: "TLS handshakes",
    Part.WAIT: "waiting for answers",
    Part.TRANSFER: "sending and receiving",
    Part.FILE: "waiting for files",
    Part.SLEEP: "sleeping",
    Part.LOCK: "waiting for locks",
    Part.CPU: "running",
    Part.RUNQUEUE: "could have run, got no CPU",
    Part.STEAL: "its host took the CPU",
    Part.OTHER: "none of the others",
}
_NAMES = {Part.RUNQUEUE: "run queue", Part.CPU: "cpu"}
_LABEL = 9  # cells, as in the header
_MOST_BAR = 40
_LEAST_BAR = 12
_GAP = 2
_SHARE = len("100.0%")


class PartitionView:
    """The parts of an execution's time that are not 0, the largest first."""

    def __init__(self, execution: Execution, pauses: Iterable[Pause] = ()) -> None:
        self._execution = execution
        self._pauses = tuple(pauses)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the bars for the width at hand."""
        partition = self._execution.partition
        if partition is None:
            words = f"where the time went is not known: {why_unknown(self._execution)}"
            yield safe(words, DIM, limit=400)
            return
        rows = part_rows(partition, self._execution, self._pauses)
        time_width = max(len(duration_words(each.ns)) for each in rows) if rows else 0
        time_width = max(time_width, len(duration_words(self._execution.duration_ns)))
        left = options.max_width - (_LABEL + time_width + _SHARE + 4 * _GAP)
        width = min(_MOST_BAR, max(min(_LEAST_BAR, left), left * 2 // 5, 1))
        room = max(0, left - width)
        cells = [
            (
                Text(part_name(row.part)),
                duration(row.ns),
                Text(f"{row.permille / 10:.1f}%"),
                share_bar(
                    row.permille / 1_000,
                    width,
                    ascii_only=options.ascii_only,
                    style=STYLES[row.part],
                ),
                cut_middle(_subjects(row, room), room, ".." if options.ascii_only else "…"),
            )
            for row in rows
        ]
        if len(rows) > 1:
            whole = duration_words(self._execution.duration_ns)
            sums = Text("all"), Text(whole, style=DIM), Text("100.0%", style=DIM)
            cells.append((*sums, Text(), Text()))
        yield Grid(
            [
                GridColumn(_LABEL, DIM),
                GridColumn(time_width, justify="right"),
                GridColumn(_SHARE, justify="right"),
                GridColumn(width),
                GridColumn(room),
            ],
            cells,
        )
        if unknown := unknown_parts(partition):
            names = ", ".join(map(part_name, unknown))
            yield Text(f"unavailable: {names}", style=DIM)


def part_name(part: Part) -> str:
    """What a part is called in views."""
    return _NAMES.get(part, str(part))


def _subjects(row: PartRow, room: int) -> Text:
    """What a part went into: as much as fits, the times of each where there are several."""
    if not row.subjects:
        return Text(PART_WORDS[row.part], style=DIM)
    text = safe(row.subjects[0][0])
    for number, (subject, ns) in enumerate(row.subjects):
        if len(row.subjects) == 1:
            break
        told = Text().append_text(text) if number else Text()
        told.append(", " if number else "")
        told.append_text(safe(subject)).append(f" {duration_words(ns)}", style=DIM)
        if told.cell_len > room:
            break
        text = told
    return text
