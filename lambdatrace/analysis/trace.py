"""The items of one execution as a Trace: where the kernel's bytes become connections.

Records count time on the machine's own clock (CLOCK_MONOTONIC). Everything here is relative to the
execution's start, which the summary gives on both clocks.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from lambdatrace import items as stored
from lambdatrace import wire
from lambdatrace.analysis.linux import ERRNO_NUMBERS, errno_name
from lambdatrace.analysis.summary import Fields, read_execution, summary_fields
from lambdatrace.errors import CorruptItemError
from lambdatrace.model import (
    Connection,
    Execution,
    Namelookup,
    Outcome,
    Protocol,
    Syscall,
    Trace,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.items import Item

_PROTOCOLS = {socket.IPPROTO_TCP: Protocol.TCP, socket.IPPROTO_UDP: Protocol.UDP}
_OUTCOMES = {
    "ECONNREFUSED": Outcome.REFUSED,
    "ECONNRESET": Outcome.RESET,
    "EPIPE": Outcome.RESET,
    "ETIMEDOUT": Outcome.TIMEOUT,
    "EHOSTUNREACH": Outcome.UNREACHABLE,
    "ENETUNREACH": Outcome.UNREACHABLE,
    "EHOSTDOWN": Outcome.UNREACHABLE,
    "ENETDOWN": Outcome.UNREACHABLE,
}
# A non-blocking socket's way of saying "later": how every event loop works, not a failure.
_NOT_YET = frozenset({-ERRNO_NUMBERS["EAGAIN"], -ERRNO_NUMBERS["EINPROGRESS"]})
# Calls whose result is a number of bytes; the *mmsg calls return messages, connect returns 0.
_LOOKUP_LENGTH = 11  # values of a namelookup, items.py
_BYTE_OPS = frozenset(
    ("sendto", "sendmsg", "write", "writev", "sendfile", "recvfrom", "recvmsg", "read", "readv")
)


@dataclass(frozen=True, slots=True)
class Records:
    """What an execution's items hold, its records still as bytes."""

    execution: Execution
    origin_ns: int  # the execution's start on the clock of the records
    connections: bytes
    syscalls: bytes
    names: dict[str, Any]  # as items.py describes them, not yet checked
    missing_chunks: int  # event chunks the summary promises and the items lack


@dataclass(frozen=True, slots=True)
class SyscallTotals:
    """All calls of one name in one execution, taken together."""

    op: str
    count: int
    errors: int  # without EAGAIN and EINPROGRESS, which only mean "later"
    bytes: int | None  # None for calls whose result does not count bytes
    time_ns: int


def read_records(items: Iterable[Item]) -> Records:
    """Take the items of one execution apart, decoding no record yet.

    Raises CorruptItemError or NewerSchemaError.
    """
    items = list(items)
    summaries = [item for item in items if item.kind == stored.SUMMARY]
    if len(summaries) != 1:
        raise CorruptItemError(f"an execution has {len(summaries)} summaries instead of one")
    summary = stored.read_summary(summaries[0])
    execution = read_execution(summary)
    fields = summary_fields(summary)
    connections, syscalls = stored.read_chunks(items)
    chunks = sum(item.kind == stored.CHUNK for item in items)
    return Records(
        execution=execution,
        origin_ns=fields.integer("monotonic_ns", 2**63),
        connections=connections,
        syscalls=syscalls,
        names=stored.read_names(items),
        missing_chunks=max(0, fields.integer("chunks") - chunks),
    )


def read_trace(items: Iterable[Item]) -> Trace:
    """The items of one execution, decoded. Raises CorruptItemError or NewerSchemaError."""
    records = read_records(items)
    return Trace(
        execution=records.execution,
        connections=connections(records),
        namelookups=namelookups(records),
        syscalls=tuple(syscalls(records)),
        missing_chunks=records.missing_chunks,
    )


def connections(records: Records) -> tuple[Connection, ...]:
    """The connections of an execution by start. Raises CorruptItemError."""
    hosts = _Hosts(records)
    decoded = [
        _connection(record, records, hosts)
        for record in wire.ConnectionRecord.iter_unpack(records.connections)
    ]
    return tuple(sorted(decoded, key=lambda connection: (connection.started_ns, connection.id)))


def namelookups(records: Records) -> tuple[Namelookup, ...]:
    """The namelookups of an execution by start. Raises CorruptItemError."""
    fields = Fields(records.names, records.execution.execution_id)
    rows = [
        _namelookup(row, fields, records) for row in fields.array(fields.get("lookups"), "names")
    ]
    return tuple(sorted(rows, key=lambda row: (row.started_ns, row.name, row.type)))


def _namelookup(row: Any, fields: Fields, records: Records) -> Namelookup:
    values = fields.array(row, "names")
    if len(values) != _LOOKUP_LENGTH:
        fields.refuse("a namelookup is not as long as it should be")
    name, kind, server, started, answered, attempts, answer, truncated, found, tgid, owner = values
    begun = fields.check_integer(started, "names", 2**63)
    ended = fields.check_integer(answered, "names", 2**63)
    addresses = [fields.check_text(address, "names") for address in fields.array(found, "names")]
    return Namelookup(
        name=fields.check_text(name, "names"),
        type=fields.check_text(kind, "names"),
        server=fields.check_text(server, "names"),
        started_ns=begun - records.origin_ns,
        duration_ns=max(0, ended - begun) if ended else None,
        attempts=fields.check_integer(attempts, "names"),
        answer=None if answer is None else fields.check_text(answer, "names"),
        truncated=bool(truncated),
        addresses=tuple(addresses),
        process_id=fields.check_integer(tgid, "names"),
        connection_id=fields.check_integer(owner, "names"),
    )


def syscalls(records: Records) -> Iterator[Syscall]:
    """The syscalls of an execution by start."""
    for row in syscall_rows(records):
        yield Syscall(*row)


def syscall_rows(
    records: Records,
) -> Iterator[tuple[str, int, int | None, int, int, int, int, int]]:
    """The values of `Syscall`, in its order: for those who have no time for an object each.

    By start; the kernel emits them by end.
    """
    started = wire.SyscallRecord.NAMES.index("started")
    rows = wire.SyscallRecord.STRUCT.iter_unpack(records.syscalls)
    for row in sorted(rows, key=itemgetter(started)):
        _, op, _, connection, tgid, tid, fd, result, start, duration = row
        yield (
            _op_name(op), fd, connection or None, tgid, tid,
            start - records.origin_ns, duration, result,
        )  # fmt: skip


def syscall_totals(records: Records) -> tuple[SyscallTotals, ...]:
    """Syscalls by name, the most time first.

    No object is made for a record: an execution may have hundreds of thousands.
    """
    found: dict[int, list[int]] = {}
    for row in wire.SyscallRecord.STRUCT.iter_unpack(records.syscalls):
        _, op, _, _, _, _, _, result, _, duration = row
        totals = found.get(op)
        if totals is None:
            totals = found[op] = [0, 0, 0, 0]
        totals[0] += 1
        totals[3] += duration
        if result >= 0:
            totals[2] += result
        elif result not in _NOT_YET:
            totals[1] += 1
    rows = []
    for op, (count, errors, total_bytes, time_ns) in found.items():
        name = _op_name(op)
        counted = total_bytes if name in _BYTE_OPS else None
        rows.append(SyscallTotals(name, count, errors, counted, time_ns))
    return tuple(sorted(rows, key=lambda row: (-row.time_ns, row.op)))


def _op_name(number: int) -> str:
    return wire.OPS[number] if number < len(wire.OPS) else f"syscall {number}"


class _Hosts:
    """The name a connection was opened for: its own, else that of its destination if it has one."""

    def __init__(self, records: Records) -> None:
        fields = Fields(records.names, records.execution.execution_id)
        self._by_connection = fields.mapping("hosts")
        self._by_destination: dict[tuple[str, int, Protocol], str | None] = {}
        for figures in records.execution.destinations:
            key = (figures.address, figures.port, figures.protocol)
            known = self._by_destination.get(key, figures.host)
            self._by_destination[key] = figures.host if known == figures.host else None

    def of(self, connection: int, address: str, port: int, protocol: Protocol) -> str | None:
        host = self._by_connection.get(str(connection))
        if isinstance(host, str):
            return host
        return self._by_destination.get((address, port, protocol))


def _connection(
    record: wire.ConnectionRecord,
    records: Records,
    hosts: _Hosts,
) -> Connection:
    protocol = _PROTOCOLS.get(record.protocol)
    if (
        record.kind != wire.KIND_CONNECTION
        or record.family not in (4, 6)
        or protocol is None
        or not record.started
    ):
        raise CorruptItemError(
            f"execution {records.execution.execution_id!r} holds a record that is no connection",
            "nothing of it can be trusted; look at another one: lambdatrace list",
        )

    def relative(moment: int) -> int | None:
        return moment - records.origin_ns if moment else None

    started = record.started - records.origin_ns
    ended = relative(record.closed)
    if ended is None:
        ended = records.execution.duration_ns
    address = wire.address_text(record.family, record.address)
    known = record.established >= record.started
    return Connection(
        id=record.id,
        host=hosts.of(record.id, address, record.port, protocol),
        address=address,
        port=record.port,
        local_port=record.local_port or None,
        protocol=protocol,
        process_id=record.tgid,
        thread_id=record.tid,
        process_name=record.comm.split(b"\0", 1)[0].decode("utf-8", "replace"),
        fd=record.fd,
        started_ns=started,
        connect_ns=record.established - record.started if known else None,
        first_out_ns=relative(record.first_out),
        last_out_ns=relative(record.last_out),
        first_in_ns=relative(record.first_in),
        last_in_ns=relative(record.last_in),
        duration_ns=max(0, ended - started),
        bytes_out=record.bytes_out,
        bytes_in=record.bytes_in,
        waited_ns=record.waited,
        transferred_ns=record.transferred,
        sends=record.sends,
        receives=record.receives,
        retransmits=record.retransmits,
        outcome=_outcome(record, protocol),
        error=errno_name(record.error) if record.error else None,
        reused=bool(record.flags & wire.CONNECTION_REUSED),
        before=bool(record.flags & wire.CONNECTION_BEFORE),
    )


def _outcome(record: wire.ConnectionRecord, protocol: Protocol) -> Outcome:
    # An error outlives the rest: a refused socket that is never closed is refused, not open.
    if record.error:
        return _OUTCOMES.get(errno_name(record.error), Outcome.FAILED)
    if record.flags & wire.CONNECTION_RESET:
        return Outcome.RESET
    if record.flags & wire.CONNECTION_ABANDONED:
        return Outcome.ABANDONED
    # A UDP socket is ready at once; TCP is when the handshake is through.
    ready = protocol is Protocol.UDP or record.established
    if record.flags & wire.CONNECTION_OPEN or not record.closed:
        return Outcome.OPEN if ready else Outcome.CONNECTING
    return Outcome.OK if ready else Outcome.ABANDONED
