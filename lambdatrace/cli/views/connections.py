"""The connections of one execution as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.analysis.phases import connect_ns, handshake_ns, transfer_ns, wait_ns
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
    process_text,
    safe,
    size,
)
from lambdatrace.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from lambdatrace.model import Connection, Exchange

# With fewer cells, the timeline alone says when a connection began and transferred; with even
# fewer, the numbers of bytes are left out. With many more there is room for what is seldom asked.
_ROOM_FOR_EXTRAS = 132
_ROOM_FOR_ALL_TIMES = 100
_ROOM_FOR_SIZES = 78
_ROOM_FOR_TOTALS = 60
_USUAL = 80  # cells of a terminal, at least
_PROCESS_COLUMN = 18
_TLS_COLUMN = 9
_STYLES = {Outcome.OK: GOOD, Outcome.OPEN: "", Outcome.CONNECTING: WARNING}
_UNREMARKABLE = frozenset({Outcome.OK, Outcome.OPEN})


class ConnectionTable:
    """One row for each connection, by start; as many columns as there is room for.

    `exchanges` are those of a connection, by its id, where they are known. `complete`: no
    connection of the execution is known to be missing.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        exchanges: Mapping[int, Sequence[Exchange]],
        complete: bool = True,
    ) -> None:
        self._connections = connections
        self._exchanges = exchanges
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
        columns = self._columns(width)
        table = new_table()
        table.add_column("#", justify="right", no_wrap=True)
        table.add_column("destination", overflow="fold", min_width=15 if width >= _USUAL else 10)
        for name in columns:
            if name == "process":
                table.add_column(name, overflow="fold", min_width=8)
            else:
                table.add_column(name, justify="right", no_wrap=True)
        table.add_column("outcome", overflow="fold", min_width=10)
        for position, connection in rows:
            where = destination(
                connection.host, connection.address, connection.port, connection.protocol
            )
            cells = [cell(connection) for cell in columns.values()]
            table.add_row(number(position), where, *cells, _outcome(connection))
        return table

    def _columns(self, width: int) -> dict[str, Callable[[Connection], Text]]:
        """The columns there is room for, between where to and what became of it."""
        processes = len({connection.process_id for connection in self._connections}) > 1
        tls = any(connection.tls_started_ns is not None for connection in self._connections)
        room = width - _PROCESS_COLUMN * processes - _TLS_COLUMN * tls
        every: list[tuple[bool, str, Callable[[Connection], Text]]] = [
            (processes, "process", _process),
            (room >= _ROOM_FOR_ALL_TIMES, "start", lambda each: duration(each.started_ns)),
            (True, "connect", _connect),
            (tls, "tls", _handshake),
            (tls and room >= _ROOM_FOR_EXTRAS, "version", lambda each: safe(each.tls_version)),
            (True, "wait", lambda each: duration(wait_ns(each, self._exchanges.get(each.id)))),
            (
                room >= _ROOM_FOR_ALL_TIMES,
                "transfer",
                lambda each: duration(transfer_ns(each, self._exchanges.get(each.id))),
            ),
            (room >= _ROOM_FOR_TOTALS, "total", lambda each: duration(each.duration_ns)),
            (room >= _ROOM_FOR_EXTRAS, "exchanges", _exchanges),
            (room >= _ROOM_FOR_SIZES, "out", lambda each: _transferred(each, each.bytes_out)),
            (room >= _ROOM_FOR_SIZES, "in", lambda each: _transferred(each, each.bytes_in)),
        ]
        return {name: cell for is_shown, name, cell in every if is_shown}


def _process(connection: Connection) -> Text:
    return process_text(connection.process_name, connection.process_id)


def _connect(connection: Connection) -> Text:
    """How long it tried: also where it failed, which the last column tells."""
    taken = connect_ns(connection)
    if connection.reused and taken is None:
        return Text("reused", style=DIM)
    return duration(connection.connect_ns if taken is None else taken)


def _handshake(connection: Connection) -> Text:
    taken = handshake_ns(connection)
    if connection.reused and taken is None and connection.tls_ns is not None:
        return Text("reused", style=DIM)
    return duration(connection.tls_ns if taken is None else taken)


def _is_shaking(connection: Connection) -> bool:
    return connection.tls_started_ns is not None and connection.tls_ns is None


def _exchanges(connection: Connection) -> Text:
    return safe(None) if connection.exchanges is None else number(connection.exchanges)


def _transferred(connection: Connection, count: int) -> Text:
    return size(count) if connection.transfers_seen else safe(None)


def _outcome(connection: Connection) -> Text:
    text = Text(str(connection.outcome), style=_STYLES.get(connection.outcome, BAD))
    if connection.outcome is Outcome.FAILED and connection.error:
        text.append(" ").append_text(safe(connection.error))
    if connection.tls_error is not None:
        failed = safe(f"TLS: {connection.tls_error}", BAD)
        # How the socket fared says little then, or the same.
        if connection.outcome in _UNREMARKABLE or connection.tls_error == connection.outcome:
            text = failed
        else:
            text.append(", ").append_text(failed)
    elif _is_shaking(connection) and connection.outcome is Outcome.OPEN:
        text = Text("TLS: not done", style=WARNING)
    if connection.retransmits:
        text.append(f", resent {connection.retransmits}", style=WARNING)
    if connection.stale:
        text.append(", stale", style=WARNING)
    if connection.before:
        text.append(", before", style=DIM)
    return text
