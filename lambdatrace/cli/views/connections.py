"""The connections of one execution as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.analysis.phases import connect_ns, transfer_ns, wait_ns
from lambdatrace.cli.views.folding import Numbered, fold, folded_note
from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    GOOD,
    WARNING,
    destination,
    duration,
    number,
    safe,
    size,
)
from lambdatrace.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from lambdatrace.model import Connection

# With fewer cells, the timeline alone says when a connection began and transferred; with even
# fewer, the numbers of bytes are left out.
_ROOM_FOR_ALL_COLUMNS = 100
_ROOM_FOR_SIZES = 78
_PROCESS_COLUMN = 18
_STYLES = {Outcome.OK: GOOD, Outcome.OPEN: "", Outcome.CONNECTING: WARNING}


class ConnectionTable:
    """One row for each connection, by start; as many columns as there is room for.

    `complete`: no connection of the execution is known to be missing.
    """

    def __init__(self, connections: Sequence[Connection], complete: bool = True) -> None:
        self._connections = connections
        self._complete = complete

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        if not self._connections:
            unused = "no connections: this execution did not use the network"
            yield Text(unused if self._complete else "no connections were kept", style=DIM)
            return
        rows = fold(self._connections)
        yield self._table(rows, options.max_width)
        if len(rows) < len(self._connections):
            yield folded_note(len(self._connections), len(rows))

    def _table(self, rows: list[Numbered], width: int) -> Table:
        processes = len({connection.process_id for connection in self._connections}) > 1
        room = width - _PROCESS_COLUMN * processes
        wide, sizes = room >= _ROOM_FOR_ALL_COLUMNS, room >= _ROOM_FOR_SIZES
        table = new_table()
        table.add_column("#", justify="right", no_wrap=True)
        table.add_column("destination", overflow="fold", min_width=15)
        if processes:
            table.add_column("process", overflow="fold", min_width=8)
        for name in ("start",) * wide + ("connect", "wait") + ("transfer",) * wide:
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("total",) + ("out", "in") * sizes:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("outcome", overflow="fold", min_width=10)
        for position, connection in rows:
            cells = [
                number(position),
                destination(
                    connection.host, connection.address, connection.port, connection.protocol
                ),
            ]
            if processes:
                process = safe(connection.process_name)
                cells.append(process.append(f" {connection.process_id}", style=DIM))
            if wide:
                cells.append(duration(connection.started_ns))
            cells += [_connect(connection), duration(wait_ns(connection))]
            if wide:
                cells.append(duration(transfer_ns(connection)))
            cells.append(duration(connection.duration_ns))
            if sizes:
                cells += [size(connection.bytes_out), size(connection.bytes_in)]
            cells.append(_outcome(connection))
            table.add_row(*cells)
        return table


def _connect(connection: Connection) -> Text:
    """How long it tried: also where it failed, which the last column tells."""
    taken = connect_ns(connection)
    if connection.reused and taken is None:
        return Text("reused", style=DIM)
    return duration(connection.connect_ns if taken is None else taken)


def _outcome(connection: Connection) -> Text:
    text = Text(str(connection.outcome), style=_STYLES.get(connection.outcome, BAD))
    if connection.outcome is Outcome.FAILED and connection.error:
        text.append(" ").append_text(safe(connection.error))
    if connection.retransmits:
        text.append(f", resent {connection.retransmits}", style=WARNING)
    if connection.before:
        text.append(", before", style=DIM)
    return text
