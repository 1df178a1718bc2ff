"""Every record of one execution, as lists: what `show --events` adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.phases import connect_ns, handshake_ns, transfer_ns, wait_ns
from lambdatrace.cli.views.listing import Column, Listing
from lambdatrace.cli.views.outcomes import connection_outcome, lookup_answer
from lambdatrace.cli.views.processes import process_list
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    counted,
    destination,
    duration,
    number,
    process_text,
    safe,
    size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType

    from lambdatrace.analysis.trace import SyscallTotals
    from lambdatrace.model import Blocked, Connection, Exchange, Namelookup, Pause, Trace

_NAME = 20  # cells that a name, a path or a destination keeps at least
_OUTCOME = 16


def event_lists(
    trace: Trace,
    exchanges: Mapping[int, Sequence[Exchange]],
    totals: Sequence[SyscallTotals],
    names: Mapping[int, str],
) -> list[RenderableType]:
    """A list for each kind of which there is something.

    `exchanges` are those of a connection, by its id, where all are known; `totals` the syscalls by
    name; `names` those of processes by id.
    """
    connections = trace.connections
    found: list[tuple[Sequence[object], Callable[[], RenderableType]]] = [
        (trace.namelookups, lambda: namelookup_list(trace.namelookups)),
        (connections, lambda: connection_list(connections, exchanges)),
        (trace.exchanges, lambda: exchange_list(trace.exchanges, connections)),
        (trace.blocked, lambda: blocked_list(trace.blocked, names)),
        (trace.pauses, lambda: pause_list(trace.pauses, connections)),
        (trace.processes, lambda: process_list(trace.processes)),
        (totals, lambda: syscall_list(totals)),
    ]
    return [listing() for rows, listing in found if rows]


def namelookup_list(lookups: Sequence[Namelookup]) -> Listing:
    """One row for each question, by start."""
    return Listing(
        counted(len(lookups), "namelookup"),
        [
            _numbers("n", len(lookups)),
            Column("name", [safe(each.name or ".") for each in lookups], right=False, least=_NAME),
            Column("type", [safe(each.type) for each in lookups], right=False),
            Column("server", [safe(each.server) for each in lookups], 3, right=False, least=15),
            Column("start", [duration(each.started_ns) for each in lookups], 2),
            Column("took", [duration(each.duration_ns) for each in lookups]),
            Column("process", [_pid(each.process_id) for each in lookups], 4),
            Column(
                "answer", [lookup_answer(each) for each in lookups], right=False, least=_OUTCOME
            ),
        ],
    )


def connection_list(
    connections: Sequence[Connection], exchanges: Mapping[int, Sequence[Exchange]]
) -> Listing:
    """One row for each connection, by start.

    `exchanges` are those of a connection, by its id, where they are known.
    """
    where = [destination(each.host, each.address, each.port, each.protocol) for each in connections]
    processes = [process_text(each.process_name, each.process_id) for each in connections]
    waits = [duration(wait_ns(each, exchanges.get(each.id))) for each in connections]
    transfers = [duration(transfer_ns(each, exchanges.get(each.id))) for each in connections]
    return Listing(
        counted(len(connections), "connection"),
        [
            _numbers("c", len(connections)),
            Column("destination", where, right=False, least=_NAME),
            Column("address", [_address(each) for each in connections], 9, right=False),
            Column("process", processes, 6, right=False, least=12),
            Column("start", [duration(each.started_ns) for each in connections], 5),
            Column("connect", [_connect(each) for each in connections]),
            Column("tls", [_handshake(each) for each in connections], 1),
            Column("version", [_or_blank(each.tls_version) for each in connections], 8),
            Column("wait", waits),
            Column("transfer", transfers, 4),
            Column("total", [duration(each.duration_ns) for each in connections], 2),
            Column("exchanges", [_exchanges(each) for each in connections], 7),
            Column("out", [_transferred(each, each.bytes_out) for each in connections], 3),
            Column("in", [_transferred(each, each.bytes_in) for each in connections], 3),
            Column(
                "outcome",
                [connection_outcome(each) for each in connections],
                right=False,
                least=_OUTCOME,
            ),
        ],
    )


def exchange_list(exchanges: Sequence[Exchange], connections: Sequence[Connection]) -> Listing:
    """One row for each exchange, by start."""
    numbers = {each.id: f"c{place}" for place, each in enumerate(connections, 1)}
    by_id = {each.id: each for each in connections}
    return Listing(
        counted(len(exchanges), "exchange"),
        [
            _numbers("e", len(exchanges)),
            Column(
                "on", [safe(numbers.get(each.connection_id)) for each in exchanges], right=False
            ),
            Column(
                "destination",
                [_where(by_id.get(each.connection_id)) for each in exchanges],
                2,
                right=False,
                least=_NAME,
            ),
            Column("start", [duration(each.started_ns) for each in exchanges]),
            Column("request", [duration(each.request_ns) for each in exchanges]),
            Column("wait", [duration(each.wait_ns) for each in exchanges]),
            Column("transfer", [duration(each.transfer_ns) for each in exchanges]),
            Column("out", [size(each.bytes_out) for each in exchanges]),
            Column("in", [size(each.bytes_in) for each in exchanges]),
            Column("sends", [number(each.sends) for each in exchanges], 4),
            Column("receives", [number(each.receives) for each in exchanges], 4),
            Column("resent", [_count(each.retransmits) for each in exchanges], 3),
        ],
    )


def blocked_list(blocked: Sequence[Blocked], names: Mapping[int, str]) -> Listing:
    """One row for each syscall that waited, by start; `names` are those of processes by id."""
    threads = [
        process_text(names.get(each.process_id), each.process_id, each.thread_id)
        for each in blocked
    ]
    return Listing(
        counted(len(blocked), "wait in a syscall", "waits in syscalls"),
        [
            _numbers("b", len(blocked)),
            Column("syscall", [safe(each.op) for each in blocked], right=False),
            Column("kind", [Text(str(each.kind)) for each in blocked], 2, right=False),
            Column("on", [_target(each) for each in blocked], 1, right=False, least=_NAME),
            Column("thread", threads, 4, right=False, least=12),
            Column("start", [duration(each.started_ns) for each in blocked]),
            Column("took", [duration(each.duration_ns) for each in blocked], 5),
            Column("asleep", [duration(each.blocked_ns) for each in blocked]),
            Column("result", [Text(str(each.result)) for each in blocked], 3),
        ],
    )


def pause_list(pauses: Sequence[Pause], connections: Sequence[Connection]) -> Listing:
    """One row for each stretch in which no thread ran, by start."""
    numbers = {each.id: f"c{place}" for place, each in enumerate(connections, 1)}
    return Listing(
        counted(len(pauses), "pause"),
        [
            _numbers("p", len(pauses)),
            Column("counts as", [Text(str(each.part)) for each in pauses], right=False),
            Column(
                "for", [_or_blank(each.subject) for each in pauses], 1, right=False, least=_NAME
            ),
            Column("on", [_or_blank(_numbered(numbers, each)) for each in pauses], 2, right=False),
            Column("syscall", [_or_blank(each.op) for each in pauses], 3, right=False),
            Column("thread", [_pid(each.thread_id) for each in pauses], 4),
            Column("start", [duration(each.started_ns) for each in pauses]),
            Column("took", [duration(each.duration_ns) for each in pauses]),
        ],
    )


def syscall_list(totals: Sequence[SyscallTotals]) -> Listing:
    """One row for each syscall's name (level `syscalls`)."""
    count = sum(each.count for each in totals)
    return Listing(
        counted(count, "syscall on a socket", "syscalls on sockets"),
        [
            Column("syscall", [safe(each.op) for each in totals], right=False),
            Column("calls", [number(each.count) for each in totals]),
            Column("errors", [number(each.errors, BAD) for each in totals]),
            Column("bytes", [_bytes(each.bytes) for each in totals]),
            Column("time", [duration(each.time_ns) for each in totals]),
        ],
    )


def _numbers(letter: str, count: int) -> Column:
    return Column("#", [Text(f"{letter}{place}", style=DIM) for place in range(1, count + 1)])


def _pid(process: int | None) -> Text:
    return Text() if process is None else Text(str(process), style=DIM)


def _or_blank(text: str | None) -> Text:
    return safe(text) if text else Text()


def _count(value: int) -> Text:
    return number(value) if value else Text()


def _bytes(count: int | None) -> Text:
    return safe(None) if count is None else size(count)


def _where(connection: Connection | None) -> Text:
    if connection is None:
        return Text()
    return destination(connection.host, connection.address, connection.port, connection.protocol)


def _address(connection: Connection) -> Text:
    return Text() if connection.host is None else safe(connection.address)


def _connect(connection: Connection) -> Text:
    taken = connect_ns(connection)
    if connection.reused and taken is None:
        return Text("reused", style=DIM)
    return duration(taken)


def _handshake(connection: Connection) -> Text:
    taken = handshake_ns(connection)
    if connection.reused and taken is None and connection.tls_ns is not None:
        return Text("reused", style=DIM)
    if connection.tls_started_ns is None:
        return Text()
    return duration(connection.tls_ns if taken is None else taken)


def _exchanges(connection: Connection) -> Text:
    return safe(None) if connection.exchanges is None else number(connection.exchanges)


def _transferred(connection: Connection, count: int) -> Text:
    known = connection.known(count)
    return safe(None) if known is None else size(known)


def _target(row: Blocked) -> Text:
    if row.path is not None:
        return safe(row.path)
    return Text() if row.fd is None else Text(f"fd {row.fd}", style=DIM)


def _numbered(numbers: Mapping[int, str], pause: Pause) -> str | None:
    return None if pause.connection_id is None else numbers.get(pause.connection_id)
