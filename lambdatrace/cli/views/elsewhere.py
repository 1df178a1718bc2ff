"""What other extensions of the environment connected to, as a table of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    GOOD,
    destination,
    duration,
    process_text,
    safe,
    size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Elsewhere

MAX_ROWS = 15
_ROOM_FOR_ALL_COLUMNS = 100


class ElsewhereTable:
    """One row for each connection, by start; `left_out` were not stored."""

    def __init__(self, connections: Sequence[Elsewhere], left_out: int) -> None:
        self._connections = connections
        self._left_out = left_out

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        wide = options.max_width >= _ROOM_FOR_ALL_COLUMNS
        table = new_table()
        table.add_column("other extensions", overflow="fold", min_width=10)
        table.add_column("destination", overflow="fold", min_width=12)
        for name in ("start", "connect", "total", "out", "in") if wide else ("total", "out", "in"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("outcome", overflow="fold", min_width=7)
        for each in self._connections[:MAX_ROWS]:
            moments = [each.started_ns, each.connect_ns] if wide else []
            table.add_row(
                process_text(each.process_name, each.process_id),
                destination(each.host, each.address, each.port, each.protocol),
                *map(duration, [*moments, each.duration_ns]),
                size(each.bytes_out),
                size(each.bytes_in),
                _outcome(each),
            )
        yield table
        more = max(0, len(self._connections) - MAX_ROWS)
        if more:
            yield Text(f"… and {more:,} more, --output json has them all", style=DIM)
        if self._left_out:
            yield Text(f"… and {self._left_out:,} that were not stored", style=DIM)


def _outcome(connection: Elsewhere) -> Text:
    if connection.error:
        return safe(connection.error, BAD)
    return Text("open", style=DIM) if connection.duration_ns is None else Text("ok", style=GOOD)
