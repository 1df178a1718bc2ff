"""Executions as they arrive, a line each: their columns cannot wait to see what comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.executions import verdict_text
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import BAD, DIM, duration, moment, safe, status_style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Execution, Verdict

_CLOCK = len("2026-11-22 ")
# Cells of each; from so many on the whole id fits.
_START, _ID, _FUNCTION, _TOOK, _STATUS = 9, 8, 14, 11, 10
_ROOM_FOR_WHOLE_IDS = 120
_WHOLE_ID, _WHOLE_FUNCTION = 36, 24
# In fewer than so many how long it took, or the verdict, would be cut off: there is no start, and
# less of the name.
_ROOM_FOR_STARTS = 76
_SHORT_FUNCTION, _SHORT_TOOK = 8, 9


class ExecutionLines:
    """One line for each of `executions` with its verdict; names of columns above the first ones."""

    def __init__(
        self, executions: Sequence[Execution], verdicts: Sequence[Verdict], *, is_first: bool
    ) -> None:
        self._executions = executions
        self._verdicts = verdicts
        self._is_first = is_first

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines, each cut to the width at hand."""
        whole = options.max_width >= _ROOM_FOR_WHOLE_IDS
        if whole:
            widths = (_START, _WHOLE_ID, _WHOLE_FUNCTION, _TOOK, _STATUS)
        elif options.max_width >= _ROOM_FOR_STARTS:
            widths = (_START, _ID, _FUNCTION, _TOOK, _STATUS)
        else:
            widths = (0, _ID, _SHORT_FUNCTION, _SHORT_TOOK, _STATUS)
        if self._is_first:
            names = ("start UTC", "execution" if whole else "id", "function", "took", "status")
            head = [Text(name, style=DIM) for name in names]
            yield _line(head, Text("verdict", style=DIM), widths)
        for execution, verdict in zip(self._executions, self._verdicts, strict=True):
            cells = [
                moment(execution.started_at_ns)[_CLOCK:],
                safe(execution.execution_id[: widths[1]]),
                safe(execution.function),
                duration(execution.duration_ns),
                Text(str(execution.status), style=status_style(execution.status)),
            ]
            rest = verdict_text(execution, verdict)
            if execution.errors:
                rest = Text(f"{execution.errors:,} failed ", style=BAD).append_text(rest)
            yield _line(cells, rest, widths)


def _line(cells: Sequence[Text], rest: Text, widths: Sequence[int]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        if not width:
            continue
        cell.truncate(width, overflow="ellipsis")
        if place == 3:  # figures
            cell.pad_left(width - cell.cell_len)
        else:
            cell.pad_right(width - cell.cell_len)
        line.append_text(cell).append("  ")
    return line.append_text(rest)
