"""Destinations over many executions as a table: what `top-destinations` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import BAD, destination, duration, number, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.analysis.destinations import DestinationRow

# Below this many cells the median and the bytes are left to --output json.
_ROOM_FOR_ALL_COLUMNS = 110


class DestinationTable:
    """One row for each destination, in the order given."""

    def __init__(self, rows: Sequence[DestinationRow]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        wide = options.max_width >= _ROOM_FOR_ALL_COLUMNS
        table = new_table()
        table.add_column("destination", overflow="fold", min_width=15)
        table.add_column("execs" if not wide else "executions", justify="right", no_wrap=True)
        table.add_column("conns", justify="right", no_wrap=True)
        table.add_column("errors", justify="right", no_wrap=True)
        for name in ("out", "in") * wide + ("connect p50",) * wide:
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("p95", "p99") if wide else ("conn. p95", "p99"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        for row in self._rows:
            where = destination(row.host, row.address, row.port, row.protocol)
            cells = [where, number(row.executions), number(row.connections)]
            cells.append(number(row.errors, BAD))
            if wide:
                cells += [size(row.bytes_out), size(row.bytes_in), duration(row.connect_p50_ns)]
            cells += [duration(row.connect_p95_ns), duration(row.connect_p99_ns)]
            cells.append(duration(row.time_ns))
            table.add_row(*cells)
        yield table
