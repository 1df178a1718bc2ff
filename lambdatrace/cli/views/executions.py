"""Many executions as a table: what `list` shows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.execution import status_style
from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import BAD, DIM, WARNING, duration, moment, number, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Execution

# With fewer cells than this an id is cut to what `show` needs to find it, and a time to minutes.
_ROOM_FOR_WHOLE_IDS = 116
# From this many on there is room for everything.
_ROOM_FOR_ALL_COLUMNS = 140
_SHORTEST_ID = 8
_WHOLE_ID = 40  # a request id has 36 characters; folded, longer ones would be unreadable
_YEAR = len("2026-")
_SECONDS = len(":00")


class ExecutionTable:
    """One row for each of `executions`; short ids stay unique among `ids`."""

    def __init__(self, executions: Sequence[Execution], ids: Sequence[str]) -> None:
        self._executions = executions
        self._ids = ids

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        whole = options.max_width >= _ROOM_FOR_WHOLE_IDS
        wide = options.max_width >= _ROOM_FOR_ALL_COLUMNS
        length = _WHOLE_ID if whole else unique_length(self._ids)
        shown = [execution.execution_id[:length] for execution in self._executions]
        dropped = any(execution.dropped.total for execution in self._executions)
        table = new_table()
        table.add_column("execution", no_wrap=True)
        table.add_column("function", overflow="fold", min_width=8)
        table.add_column("started UTC", no_wrap=True)
        table.add_column("took", justify="right", no_wrap=True)
        table.add_column("status", no_wrap=True)
        if wide:
            table.add_column("start", no_wrap=True)
        counts = ("conns", "errors", "dropped") if whole else ("conns", "err", "drop")
        for name in counts if dropped else counts[:2]:
            table.add_column(name, justify="right", no_wrap=True)
        for execution_id, execution in zip(shown, self._executions, strict=True):
            started = moment(execution.started_at_ns)
            cells = [
                safe(execution_id),
                safe(execution.function),
                started if wide else started[_YEAR : len(started) - (0 if whole else _SECONDS)],
                duration(execution.duration_ns),
                Text(str(execution.status), style=status_style(execution.status)),
            ]
            if wide:
                cells.append(Text("cold" if execution.cold_start else "warm", style=DIM))
            cells += [number(execution.connections), number(execution.errors, BAD)]
            if dropped:
                cells.append(number(execution.dropped.total, WARNING))
            table.add_row(*cells)
        yield table


def unique_length(ids: Sequence[str]) -> int:
    """How many characters tell all these ids apart; at least eight."""
    ordered = sorted(set(ids))
    needed = _SHORTEST_ID
    for one, other in pairwise(ordered):
        common = 0
        for a, b in zip(one, other, strict=False):
            if a != b:
                break
            common += 1
        needed = max(needed, common + 1)
    return needed
