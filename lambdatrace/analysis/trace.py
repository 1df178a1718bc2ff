"""The items of one execution as a Trace: where the kernel's bytes become connections.

Records count time on the machine's own clock (CLOCK_MONOTONIC). Everything here is relative to the
execution's start, which the summary gives on both clocks.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, TypeVar

from lambdatrace import items as stored
from lambdatrace import partition, wire
from lambdatrace.analysis.linux import ERRNO_NUMBERS, errno_name
from lambdatrace.analysis.summary import Fields, read_ending, read_execution, summary_fields
from lambdatrace.errors import CorruptItemError
from lambdatrace.model import (
    Blocked,
    BlockedKind,
    Connection,
    Elsewhere,
    Exchange,
    Execution,
    Namelookup,
    Outcome,
    Part,
    Pause,
    Process,
    Protocol,
    Syscall,
    Trace,
)
from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lambdatrace.items import Item

AnyRecord = TypeVar("AnyRecord", bound=wire.Record)

_PROTOCOLS = {wire.PROTOCOL_TCP: Protocol.TCP, wire.PROTOCOL_UDP: Protocol.UDP}
_PARTS = tuple(map(Part, partition.PARTS))
_KINDS = {
    number: BlockedKind(wire.WAITS[number])
    for number in {*wire.WAITS_OF.values(), wire.WAITS_OTHER}
}
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
_PROCESS_LENGTH = 8  # values of a process, items.py
_ELSEWHERE_LENGTH = 12  # values of a connection of another extension, items.py
# An encrypted alert: a record's header, its two bytes, and a tag. TLS 1.3 adds the type of what is
# encrypted (RFC 8446, 5.2), AES-GCM in TLS 1.2 a nonce of 8 bytes (RFC 5288, 3).
_ALERT_BYTES = frozenset({5 + 2 + 16, 5 + 2 + 1 + 16, 5 + 8 + 2 + 16})
_BYTE_OPS = frozenset(
    ("sendto", "sendmsg", "write", "writev", "sendfile", "recvfrom", "recvmsg", "read", "readv")
)


class Records(Value):
    """What an execution's items hold, its records still as bytes."""

    execution: Execution
    origin_ns: int  # the execution's start on the clock of the records
    by_kind: Mapping[int, bytes]  # wire.KIND_* -> records back to back
    details: dict[str, Any]  # as items.py describes them, not yet checked
    missing_chunks: int  # event chunks the summary promises and the items lack
    _decoded: dict[int, list[Any]]

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was recorded is known to be missing."""
        return self.execution.dropped.is_whole and not self.missing_chunks

    @property
    def all_exchanges_kept(self) -> bool:
        """Whether every exchange has a record of its own."""
        return self.is_whole and not self.execution.folded.get("exchanges")

    def decoded(self, kind: int, record: type[AnyRecord]) -> list[AnyRecord]:
        """The records of one kind; decoded once, for it is what takes most time."""
        if kind not in self._decoded:
            self._decoded[kind] = list(record.iter_unpack(self.by_kind[kind]))
        return self._decoded[kind]


class SyscallTotals(Value):
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
    promised = fields.integer("chunks")
    # Chunks above are of an earlier state of the execution: it was written before its deadline,
    # then again with fewer.
    items = [item for item in items if item.kind != stored.CHUNK or item.tie <= promised]
    by_kind = stored.read_chunks(items)
    chunks = sum(item.kind == stored.CHUNK for item in items)
    return Records(
        execution=execution,
        origin_ns=fields.integer("monotonic_ns", 2**63),
        by_kind=by_kind,
        details=stored.read_details(by_kind[wire.KIND_DETAILS]),
        missing_chunks=max(0, promised - chunks),
        _decoded={},
    )


def read_trace(items: Iterable[Item]) -> Trace:
    """The items of one execution, decoded. Raises CorruptItemError or NewerSchemaError."""
    records = read_records(items)
    return replaced(without_syscalls(records), syscalls=tuple(syscalls(records)))


def without_syscalls(records: Records) -> Trace:
    """An execution, decoded but for its syscalls, of which there may be hundreds of thousands.

    Raises CorruptItemError.
    """
    found, told = connections_and_exchanges(records)
    return Trace(
        execution=records.execution,
        connections=found,
        namelookups=namelookups(records),
        exchanges=told,
        blocked=blocked(records),
        pauses=pauses(records),
        processes=processes(records),
        syscalls=(),
        elsewhere=elsewhere(records),
        missing_chunks=records.missing_chunks,
    )


def connections(records: Records) -> tuple[Connection, ...]:
    """The connections of an execution by start. Raises CorruptItemError."""
    return connections_and_exchanges(records)[0]


def exchanges(records: Records) -> tuple[Exchange, ...]:
    """The exchanges of an execution by start; none where they were not told apart.

    Raises CorruptItemError.
    """
    return connections_and_exchanges(records)[1]


def connections_and_exchanges(
    records: Records,
) -> tuple[tuple[Connection, ...], tuple[Exchange, ...]]:
    """Both, each by start: one is not known without the other. Raises CorruptItemError."""
    hosts = _Hosts(records)
    told: dict[int, list[Exchange]] = {}
    for exchange in _decoded_exchanges(records):
        told.setdefault(exchange.connection_id, []).append(exchange)
    decoded = []
    for record in records.decoded(wire.KIND_CONNECTION, wire.ConnectionRecord):
        own = told.get(record.id, [])
        ends = own and record.tls_ended and record.closed
        parting = own.pop() if ends and _is_alert(own[-1]) else None
        decoded.append(_connection(record, records, hosts, own, parting))
    rest = [exchange for own in told.values() for exchange in own]
    return (
        tuple(sorted(decoded, key=lambda connection: (connection.started_ns, connection.id))),
        tuple(sorted(rest, key=lambda row: (row.started_ns, row.connection_id))),
    )


def namelookups(records: Records) -> tuple[Namelookup, ...]:
    """The namelookups of an execution by start. Raises CorruptItemError."""
    fields = Fields(records.details, records.execution.execution_id)
    found = fields.array(records.details.get("lookups", []), "lookups")
    rows = [_namelookup(row, fields, records) for row in found]
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


def _is_alert(exchange: Exchange) -> bool:
    """Whether this is how TLS ends, well or badly, rather than a request."""
    alone = exchange.sends == 1 and not exchange.receives
    return alone and exchange.bytes_out in _ALERT_BYTES


def _decoded_exchanges(records: Records) -> tuple[Exchange, ...]:
    if "exchanges" not in records.execution.capture:
        return ()
    rows = [
        Exchange(
            connection_id=record.connection,
            started_ns=(record.first_out or record.first_in) - records.origin_ns,
            request_ns=max(0, record.last_out - record.first_out),
            wait_ns=max(0, record.first_in - record.last_out)
            if record.first_in and record.last_out
            else None,
            transfer_ns=max(0, record.last_in - record.first_in) if record.first_in else None,
            bytes_out=record.bytes_out,
            bytes_in=record.bytes_in,
            sends=record.sends,
            receives=record.receives,
            retransmits=record.retransmits,
        )
        for record in records.decoded(wire.KIND_EXCHANGE, wire.ExchangeRecord)
    ]
    return tuple(sorted(rows, key=lambda row: (row.started_ns, row.connection_id)))


def blocked(records: Records) -> tuple[Blocked, ...]:
    """The syscalls of an execution that waited, by start."""
    rows = [
        _blocked(record, records.origin_ns)
        for record in records.decoded(wire.KIND_BLOCKED, wire.BlockedRecord)
    ]
    return tuple(sorted(rows, key=lambda row: (row.started_ns, row.thread_id)))


def _blocked(record: wire.BlockedRecord, origin_ns: int) -> Blocked:
    path = record.path.split(b"\0", 1)[0].decode("utf-8", "replace") or None
    is_fault = record.number == wire.BLOCKED_FAULT
    op = "page fault" if is_fault else _op_name(record.op)
    if not record.op and not is_fault:
        op = f"syscall {record.number}"
    return Blocked(
        op=op,
        kind=BlockedKind.FAULT if is_fault else _blocked_kind(op, path),
        fd=None if record.fd < 0 else record.fd,
        path=path,
        process_id=record.tgid,
        thread_id=record.tid,
        started_ns=record.started - origin_ns,
        duration_ns=max(0, record.ended - record.started),
        blocked_ns=record.waited,
        result=record.result,
    )


def _blocked_kind(op: str, path: str | None) -> BlockedKind:
    kind = _KINDS[wire.WAITS_OF.get(op, wire.WAITS_OTHER)]
    # A descriptor without a path may be a pipe, a terminal, or a socket that was accepted.
    if kind is BlockedKind.FILE and path is None and op in _BYTE_OPS:
        return BlockedKind.OTHER
    return kind


def pauses(records: Records) -> tuple[Pause, ...]:
    """The pauses of an execution by start, each with what it went into. Raises CorruptItemError.

    Only what lies within the execution is told.
    """
    found = sorted(
        records.decoded(wire.KIND_PAUSE, wire.PauseRecord),
        key=lambda record: record.ended,
    )
    if not found:
        return ()
    origin, end = records.origin_ns, records.execution.duration_ns
    candidates = _spans(records)
    calls = records.decoded(wire.KIND_BLOCKED, wire.BlockedRecord)
    rows = []
    for record, blame in zip(found, partition.blames(found, candidates, calls), strict=True):
        started, ended = max(0, record.started - origin), min(end, record.ended - origin)
        if ended > started:
            part = _PARTS[blame.part]
            rows.append(
                Pause(
                    part=part,
                    subject="" if part is Part.RUNQUEUE else blame.subject,
                    op=_pause_op(record),
                    connection_id=blame.connection or None,
                    process_id=record.tgid,
                    thread_id=record.tid or None,
                    started_ns=started,
                    duration_ns=ended - started,
                    cpu_idle=bool(record.idle) if part is Part.RUNQUEUE else None,
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.started_ns, row.duration_ns)))


def _pause_op(record: wire.PauseRecord) -> str | None:
    if record.waits in (wire.WAITS_FAULT, wire.WAITS_RUNQUEUE):
        return None
    return _op_name(record.op) if record.op else f"syscall {record.number}"


def _spans(records: Records) -> list[partition.Span]:
    """What connections and namelookups were at, as the agent knew it."""
    lookups = [
        (row.name, started, started + row.duration_ns if row.duration_ns else 0, row.connection_id)
        for row in namelookups(records)
        for started in (row.started_ns + records.origin_ns,)
    ]
    return partition.spans(
        records.decoded(wire.KIND_CONNECTION, wire.ConnectionRecord),
        records.decoded(wire.KIND_EXCHANGE, wire.ExchangeRecord),
        lookups,
        _Hosts(records).known(),
        records.origin_ns + records.execution.duration_ns,
        "exchanges" in records.execution.capture,
    )


def processes(records: Records) -> tuple[Process, ...]:
    """The processes of an execution that ended, by start. Raises CorruptItemError."""
    if "processes" not in records.execution.capture:
        return ()  # that they ended was seen, by which signal was not
    fields = Fields(records.details, records.execution.execution_id)
    rows = []
    for row in fields.array(records.details.get("processes", []), "processes"):
        values = fields.array(row, "processes")
        if len(values) != _PROCESS_LENGTH:
            fields.refuse("a process is not as long as it should be")
        process, parent, name, born, ended, *ending = values
        begun = fields.check_integer(born, "processes", 2**63)
        over = fields.check_integer(ended, "processes", 2**63)
        rows.append(
            Process(
                process_id=fields.check_integer(process, "processes"),
                parent_id=fields.check_integer(parent, "processes"),
                name=fields.check_text(name, "processes"),
                started_ns=begun - records.origin_ns,
                duration_ns=max(0, over - begun),
                ending=read_ending(*fields.integers(ending, "processes", 3)),
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.started_ns, row.process_id)))


def elsewhere(records: Records) -> tuple[Elsewhere, ...]:
    """What other extensions connected to, by start. Raises CorruptItemError."""
    fields = Fields(records.details, records.execution.execution_id)
    rows = []
    for row in fields.array(records.details.get("extensions", []), "extensions"):
        values = fields.array(row, "extensions")
        if len(values) != _ELSEWHERE_LENGTH:
            fields.refuse("a connection of an extension is not as long as it should be")
        name, process, host, address, port, protocol, *moments, bytes_out, bytes_in, error = values
        known = _PROTOCOLS.get(fields.check_integer(protocol, "extensions"))
        if known is None:
            fields.refuse("a connection of an extension has a protocol that is not known")
        started, established, closed = (
            fields.check_integer(moment, "extensions", 2**63) for moment in moments
        )
        code = fields.check_integer(error, "extensions")
        rows.append(
            Elsewhere(
                process_name=fields.check_text(name, "extensions"),
                process_id=fields.check_integer(process, "extensions"),
                host=None if host is None else fields.check_text(host, "extensions"),
                address=fields.check_text(address, "extensions"),
                port=fields.check_integer(port, "extensions"),
                protocol=known,
                started_ns=started - records.origin_ns,
                connect_ns=established - started if established >= started else None,
                duration_ns=max(0, closed - started) if closed else None,
                bytes_out=fields.check_integer(bytes_out, "extensions", 2**63),
                bytes_in=fields.check_integer(bytes_in, "extensions", 2**63),
                error=errno_name(code) if code else None,
            )
        )
    return tuple(rows)


def elsewhere_left_out(records: Records) -> int:
    """How many more connections of other extensions there were. Raises CorruptItemError."""
    fields = Fields(records.details, records.execution.execution_id)
    return fields.check_integer(records.details.get("extensions_left_out", 0), "extensions")


def syscalls(records: Records) -> Iterator[Syscall]:
    """The syscalls of an execution by start."""
    for row in syscall_rows(records):
        yield Syscall(*row)


def syscall_rows(
    records: Records,
) -> Iterator[tuple[str, int, int | None, int, int, int, int, int]]:
    """The values of `Syscall`, in its order: for those who have no time for an object each.

    By start; the kernel emits them by end. No more than the starts is held: there may be millions.
    """
    record, data = wire.SyscallRecord, records.by_kind[wire.KIND_SYSCALL]
    started = record.NAMES.index("started")
    starts = array("Q", (row[started] for row in record.STRUCT.iter_unpack(data)))
    for place in sorted(range(len(starts)), key=starts.__getitem__):
        row = record.STRUCT.unpack_from(data, place * record.SIZE)
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
    for row in wire.SyscallRecord.STRUCT.iter_unpack(records.by_kind[wire.KIND_SYSCALL]):
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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


class _Hosts:
    """The name a connection was opened for: its own, else that of its destination if it has one."""

    def __init__(self, records: Records) -> None:
        fields = Fields({"hosts": {}, "tls": {}, **records.details}, records.execution.execution_id)
        self._by_connection = fields.mapping("hosts")
        self._tls = fields.mapping("tls")
        self._by_destination: dict[tuple[str, int, Protocol], str | None] = {}
        for figures in records.execution.destinations:
            key = (figures.address, figures.port, figures.protocol)
            known = self._by_destination.get(key, figures.host)
            self._by_destination[key] = figures.host if known == figures.host else None

    def of(self, connection: int, address: str, port: int, protocol: Protocol) -> str | None:
        host = self._own(connection) if self._by_connection or self._tls else None
        return host if host is not None else self._by_destination.get((address, port, protocol))

    def known(self) -> dict[int, str]:
        """The names of connections that have one of their own. Raises CorruptItemError."""
        numbers = {int(text) for text in (*self._tls, *self._by_connection) if _is_number(text)}
        names = {number: self._own(number) for number in numbers}
        return {number: name for number, name in names.items() if name is not None}

    def _own(self, connection: int) -> str | None:
        name = self._by_connection.get(str(connection)) or self.tls(connection)[0]
        return name if isinstance(name, str) else None

    def tls(self, connection: int) -> tuple[str | None, str | None, str | None]:
        """(server name, version, alert), None where one is not known."""
        row = self._tls.get(str(connection)) if self._tls else None
        if not isinstance(row, list) or [type(each) for each in row] != [str, str, str]:
            return None, None, None
        return row[0] or None, row[1] or None, row[2] or None


def _connection(
    record: wire.ConnectionRecord,
    records: Records,
    hosts: _Hosts,
    told: list[Exchange],
    parting: Exchange | None,
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

    origin = records.origin_ns
    # 0 stands for never. There may be very many: a function would take half as long again.
    first_out, last_out, first_in, last_in, tls_started, closed = [
        moment - origin if moment else None
        for moment in (
            record.first_out, record.last_out, record.first_in, record.last_in,
            record.tls_started, record.closed,
        )
    ]  # fmt: skip
    started = record.started - origin
    ended = records.execution.duration_ns if closed is None else closed
    address = wire.address_text(record.family, record.address)
    sampled = bool(record.flags & wire.SAMPLED_CONNECTION)
    known = record.established >= record.started + sampled
    outcome = _outcome(record, protocol)
    established, resent = record.established, record.retransmits
    is_gone = outcome is Outcome.GONE
    if is_gone and not established:
        # For so long it was seen to be connecting.
        known, established = True, record.closed
    told_apart = protocol is Protocol.TCP and "exchanges" in records.execution.capture
    server_name, version, alert = hosts.tls(record.id)
    return Connection(
        id=record.id,
        host=hosts.of(record.id, address, record.port, protocol),
        address=address,
        port=record.port,
        local_port=record.local_port or None,
        protocol=protocol,
        process_id=record.tgid,
        thread_id=None if sampled else record.tid,
        process_name=record.comm.split(b"\0", 1)[0].decode("utf-8", "replace"),
        fd=record.fd,
        started_ns=started,
        connect_ns=established - record.started if known else None,
        first_out_ns=first_out,
        last_out_ns=last_out,
        first_in_ns=first_in,
        last_in_ns=last_in,
        duration_ns=max(0, ended - started),
        bytes_out=record.bytes_out,
        bytes_in=record.bytes_in,
        waited_ns=record.waited,
        transferred_ns=record.transferred,
        sends=None if sampled else record.sends,
        receives=None if sampled else record.receives,
        retransmits=None if (sampled and record.fd < 0) or (is_gone and not resent) else resent,
        exchanges=_count_exchanges(record, told, parting) if told_apart else None,
        tls_started_ns=tls_started,
        tls_ns=record.tls_ended - record.tls_started if record.tls_ended else None,
        tls_version=version,
        tls_server_name=server_name,
        tls_error=_tls_error(record, alert, outcome, parting),
        outcome=outcome,
        error=errno_name(record.error) if record.error else None,
        closed_by=_closed_by(record),
        stale=_is_stale(record, outcome, told) if told_apart else None,
        reused=bool(record.flags & wire.CONNECTION_REUSED),
        before=bool(record.flags & wire.CONNECTION_BEFORE),
        sampled=sampled,
    )


def _count_exchanges(
    record: wire.ConnectionRecord, told: list[Exchange], parting: Exchange | None
) -> int:
    # The record counts those that another followed. On a connection from an earlier execution the
    # first of them was begun there, and told there as its latest.
    own_latest = told and not parting and not record.flags & wire.CONNECTION_REUSED
    return max(len(told), record.exchanges + bool(own_latest))


def _tls_error(
    record: wire.ConnectionRecord, alert: str | None, outcome: Outcome, parting: Exchange | None
) -> str | None:
    if not record.tls_started:
        return None
    if record.tls_ended:
        # In TLS 1.3 a client's alert may be encrypted. Its length tells it, and that nothing else
        # was said after the handshake: behind a request it is close_notify.
        used = record.exchanges or record.flags & wire.CONNECTION_REUSED
        return "encrypted alert" if parting and not used else None
    # After a mere warning the handshake would have gone on.
    if alert and (record.closed or record.error):
        return alert
    if outcome is Outcome.RESET:
        return "reset"
    return "closed" if record.closed else None


def _closed_by(record: wire.ConnectionRecord) -> str | None:
    if record.flags & (wire.CONNECTION_PEER_CLOSED | wire.CONNECTION_RESET):
        return "peer"
    if record.closed and record.flags & wire.CONNECTION_OPEN:
        return None  # it was the end of its process that closed it
    return "function" if record.flags & wire.CONNECTION_SELF_CLOSED else None


def _is_stale(record: wire.ConnectionRecord, outcome: Outcome, told: list[Exchange]) -> bool:
    """Whether a connection that had answered before was dead when it was to serve again."""
    # Told of before, and nothing more came of it: the peer reset it while it was kept.
    if record.flags & wire.CONNECTION_BEFORE and outcome is Outcome.RESET:
        return bool(record.first_in and not record.bytes_out and not record.bytes_in)
    used_before = record.exchanges or record.flags & wire.CONNECTION_REUSED
    in_vain = bool(told) and told[-1].bytes_out > 0 and told[-1].wait_ns is None
    gone = outcome is Outcome.RESET or bool(record.flags & wire.CONNECTION_PEER_CLOSED)
    return bool(used_before and in_vain and gone)


def _outcome(record: wire.ConnectionRecord, protocol: Protocol) -> Outcome:
    ended = record.closed and not record.flags & wire.CONNECTION_OPEN
    if ended and record.flags & wire.SAMPLED_CONNECTION:
        return Outcome.GONE
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
