"""The items of one execution as a Trace: where the kernel's bytes become connections.

Records count time on the machine's own clock (CLOCK_MONOTONIC). Everything here is relative to the
execution's start, which the summary gives on both clocks.
"""

from __future__ import annotations

from array import array
from itertools import starmap
from operator import attrgetter, itemgetter
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
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lambdatrace.items import Item

AnyRecord = TypeVar("AnyRecord", bound=wire.Record)
AnyRow = TypeVar("AnyRow")

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
# Taken out of their enums once: Python 3.11 takes as long for that as for a call.
_TCP = Protocol.TCP
_OK, _OPEN, _RESET, _GONE = Outcome.OK, Outcome.OPEN, Outcome.RESET, Outcome.GONE
_RUNQUEUE = Part.RUNQUEUE
# Where these stand in a record.
_ID, _CLOSED, _TLS_ENDED = map(wire.ConnectionRecord.NAMES.index, ("id", "closed", "tls_ended"))
# What a pause waited in that is no syscall.
_OF_NO_CALL = frozenset({wire.WAITS_FAULT, wire.WAITS_RUNQUEUE})
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

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was recorded is known to be missing."""
        return self.execution.dropped.is_whole and not self.missing_chunks

    @property
    def all_exchanges_kept(self) -> bool:
        """Whether every exchange has a record of its own."""
        return self.is_whole and not self.execution.folded.get("exchanges")

    def rows(self, kind: int, record: type[wire.Record]) -> Iterator[tuple[Any, ...]]:
        """The values of the records of one kind, as their layout orders them.

        There may be 100,000: none is kept, and an object for each took longer than all the rest.
        """
        return record.STRUCT.iter_unpack(self.by_kind[kind])


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
    try:
        return _records(items)
    except CorruptItemError as error:
        # Which one it is, its items do not all know.
        names = {item.execution_id for item in items if item.kind != stored.INDEX}
        if len(names) != 1 or repr(name := names.pop()) in error.message:
            raise
        message = f"execution {name!r} cannot be read: {error.message}"
        raise CorruptItemError(message, error.hint) from error


def _records(items: list[Item]) -> Records:
    summaries = [item for item in items if item.kind == stored.SUMMARY]
    if len(summaries) != 1:
        raise CorruptItemError(f"it has {len(summaries)} summaries instead of one")
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
    exchanges = _decoded_exchanges(records)
    told: dict[int, list[Exchange]] = {}
    for exchange in exchanges:
        told.setdefault(exchange.connection_id, []).append(exchange)
    reader = _ConnectionReader(records)
    decoded, partings = [], set()
    for row in records.rows(wire.KIND_CONNECTION, wire.ConnectionRecord):
        own = told.get(row[_ID])
        parting = None
        if own and row[_TLS_ENDED] and row[_CLOSED] and _is_alert(own[-1]):
            parting = own.pop()
            partings.add(id(parting))
        decoded.append(reader.read(row, own or (), parting))
    if partings:
        exchanges = [each for each in exchanges if id(each) not in partings]
    return tuple(_by(decoded, "started_ns", "id")), tuple(exchanges)


def _by(rows: list[AnyRow], first: str, second: str) -> list[AnyRow]:
    """Rows sorted in place by two of their fields."""
    # Twice by a number takes less than once by two.
    rows.sort(key=attrgetter(second))
    rows.sort(key=attrgetter(first))
    return rows


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


def _decoded_exchanges(records: Records) -> list[Exchange]:
    """The exchanges by start."""
    if "exchanges" not in records.execution.capture:
        return []
    origin = records.origin_ns
    rows = records.rows(wire.KIND_EXCHANGE, wire.ExchangeRecord)
    # By position: there may be very many, and to give each field by its name takes most of it.
    found = [
        Exchange(
            connection,
            (first_out or first_in) - origin,
            last_out - first_out if last_out > first_out else 0,
            (first_in - last_out if first_in > last_out else 0) if first_in and last_out else None,
            (last_in - first_in if last_in > first_in else 0) if first_in else None,
            bytes_out,
            bytes_in,
            sends,
            receives,
            retransmits,
        )
        for (
            _, _, _, connection, _, _, first_out, last_out, first_in, last_in, bytes_out, bytes_in,
            sends, receives, retransmits, _,
        ) in rows
    ]  # fmt: skip
    return _by(found, "started_ns", "connection_id")


def blocked(records: Records) -> tuple[Blocked, ...]:
    """The syscalls of an execution that waited, by start."""
    origin = records.origin_ns
    # There may be very many, and of few files.
    known: dict[tuple[int, int, bytes], tuple[str, BlockedKind, str | None]] = {}
    found = []
    for row in records.rows(wire.KIND_BLOCKED, wire.BlockedRecord):
        _, op, number, fd, tgid, tid, _, result, started, ended, waited, path = row
        key = op, number, path
        call = known.get(key)
        if call is None:
            call = known[key] = _blocked_call(op, number, path)
        name, kind, text = call
        found.append(
            Blocked(
                name,
                kind,
                None if fd < 0 else fd,
                text,
                tgid,
                tid,
                started - origin,
                ended - started if ended > started else 0,
                waited,
                result,
            )
        )
    return tuple(_by(found, "started_ns", "thread_id"))


def _blocked_call(op: int, number: int, path: bytes) -> tuple[str, BlockedKind, str | None]:
    """(its name, what it waits for, the path of its file)."""
    text = path.split(b"\0", 1)[0].decode("utf-8", "replace") or None
    if number == wire.BLOCKED_FAULT:
        return "page fault", BlockedKind.FAULT, text
    name = _call_name(op, number)
    return name, _blocked_kind(name, text), text


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
        records.rows(wire.KIND_PAUSE, wire.PauseRecord),
        key=itemgetter(wire.PauseRecord.NAMES.index("ended")),
    )
    if not found:
        return ()
    origin, end = records.origin_ns, records.execution.duration_ns
    waits_at = wire.PauseRecord.NAMES.index("waits")
    on_network = any(row[waits_at] in partition.NETWORK for row in found)
    blames = partition.blames(
        list(_views(wire.PauseRecord, found)),
        _spans(records) if on_network else (),
        _views(wire.BlockedRecord, records.rows(wire.KIND_BLOCKED, wire.BlockedRecord)),
    )
    rows = []
    for row, blame in zip(found, blames, strict=True):
        _, waits, op, idle, _, tgid, tid, _, number, started, ended = row
        begun = started - origin if started > origin else 0
        over = min(end, ended - origin)
        if over > begun:
            part = _PARTS[blame.part]
            waits_for_cpu = part is _RUNQUEUE
            rows.append(
                Pause(
                    part,
                    "" if waits_for_cpu else blame.subject,
                    None if waits in _OF_NO_CALL else _call_name(op, number),
                    blame.connection or None,
                    tgid,
                    tid or None,
                    begun,
                    over - begun,
                    bool(idle) if waits_for_cpu else None,
                )
            )
    return tuple(_by(rows, "started_ns", "duration_ns"))


def _call_name(op: int, number: int) -> str:
    return _op_name(op) if op else f"syscall {number}"


_VIEWS: dict[type[wire.Record], Any] = {}


def _views(record: type[AnyRecord], rows: Iterable[tuple[Any, ...]]) -> Iterator[AnyRecord]:
    """Rows under the names of their fields, as records but only to be read: that takes less."""
    view = _VIEWS.get(record)
    if view is None:
        kind: Any = type(Value)
        fields = {"__annotations__": dict(record.__annotations__)}
        view = _VIEWS[record] = kind(record.__name__, (Value,), fields)
    return starmap(view, rows)


def _spans(records: Records) -> list[partition.Span]:
    """What connections and namelookups were at, as the agent knew it."""
    lookups = [
        (row.name, started, started + row.duration_ns if row.duration_ns else 0, row.connection_id)
        for row in namelookups(records)
        for started in (row.started_ns + records.origin_ns,)
    ]
    return partition.spans(
        _views(wire.ConnectionRecord, records.rows(wire.KIND_CONNECTION, wire.ConnectionRecord)),
        list(_views(wire.ExchangeRecord, records.rows(wire.KIND_EXCHANGE, wire.ExchangeRecord))),
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

    @property
    def any_own(self) -> bool:
        """Whether connections may have a name of their own, or something is known of their TLS."""
        return bool(self._by_connection or self._tls)

    def of_destination(self, address: str, port: int, protocol: Protocol) -> str | None:
        """That of all connections to a destination that have none of their own."""
        return self._by_destination.get((address, port, protocol))

    def known(self) -> dict[int, str]:
        """The names of connections that have one of their own. Raises CorruptItemError."""
        numbers = {int(text) for text in (*self._tls, *self._by_connection) if _is_number(text)}
        names = {number: self.own(number) for number in numbers}
        return {number: name for number, name in names.items() if name is not None}

    def own(self, connection: int) -> str | None:
        """That of a connection that has one of its own."""
        name = self._by_connection.get(str(connection)) or self.tls(connection)[0]
        return name if isinstance(name, str) else None

    def tls(self, connection: int) -> tuple[str | None, str | None, str | None]:
        """(server name, version, alert), None where one is not known."""
        row = self._tls.get(str(connection)) if self._tls else None
        if not isinstance(row, list) or [type(each) for each in row] != [str, str, str]:
            return None, None, None
        return row[0] or None, row[1] or None, row[2] or None


class _ConnectionReader:
    """Makes connections of records; what many have in common is found out once."""

    def __init__(self, records: Records) -> None:
        execution = records.execution
        self._hosts = _Hosts(records)
        self._are_named = self._hosts.any_own
        self._execution_id = execution.execution_id
        self._origin = records.origin_ns
        self._duration = execution.duration_ns
        self._tells_exchanges = "exchanges" in execution.capture
        self._places: dict[tuple[int, bytes, int, int], tuple[str, Protocol, str | None]] = {}
        self._names: dict[bytes, str] = {}

    def read(
        self, row: tuple[Any, ...], told: Sequence[Exchange], parting: Exchange | None
    ) -> Connection:
        """A connection. `told` are its exchanges, without the one it parted with.

        Raises CorruptItemError.
        """
        (
            kind, family, number, _, identity, tgid, tid, _, fd, local_port, port, error, flags,
            packed, started, established, first_out, last_out, first_in, last_in, closed,
            bytes_out, bytes_in, waited, transferred, sends, receives, resent, exchanges, comm,
            tls_started, tls_ended,
        ) = row  # fmt: skip
        place = self._places.get((family, packed, port, number))
        address, protocol, host = place or self._place(family, packed, port, number)
        if kind != wire.KIND_CONNECTION or not started:
            raise self._no_connection()
        name = self._names.get(comm)
        if name is None:
            name = self._names[comm] = comm.split(b"\0", 1)[0].decode("utf-8", "replace")
        server_name = version = alert = None
        if self._are_named:
            host = self._hosts.own(identity) or host
            server_name, version, alert = self._hosts.tls(identity)

        origin = self._origin
        begun = started - origin
        ended = closed - origin if closed else self._duration
        is_sampled = bool(flags & wire.SAMPLED_CONNECTION)
        is_known = established >= started + is_sampled
        outcome = _outcome(protocol, flags, error, established, closed)
        is_gone = outcome is _GONE
        if is_gone and not established:
            # For so long it was seen to be connecting.
            is_known, established = True, closed
        count = stale = tls_error = None
        if self._tells_exchanges and protocol is _TCP:
            count, stale = exchanges, False
            # The record counts those that another followed. On a connection from an earlier
            # execution the first of them was begun there, and told there as its latest.
            if told:
                own_latest = not parting and not flags & wire.CONNECTION_REUSED
                count = max(len(told), exchanges + own_latest)
            if flags & wire.CONNECTION_BEFORE and outcome is _RESET:
                # Told of before, and nothing more came of it: the peer reset it while it was kept.
                stale = bool(first_in and not bytes_out and not bytes_in)
            elif told:
                stale = _is_stale(flags, exchanges, outcome, told[-1])
        if tls_started:
            # In TLS 1.3 a client's alert may be encrypted. Its length tells it, and that nothing
            # else was said after the handshake: behind a request it is close_notify.
            used = exchanges or flags & wire.CONNECTION_REUSED
            if not tls_ended:
                tls_error = _tls_error(alert, closed, error, outcome)
            elif parting and not used:
                tls_error = "encrypted alert"
        # By position: there may be very many, and to give each field by its name takes twice as
        # long as all the rest.
        return Connection(
            identity,
            host,
            address,
            port,
            local_port or None,
            protocol,
            tgid,
            None if is_sampled else tid,
            name,
            fd,
            begun,
            established - started if is_known else None,
            first_out - origin if first_out else None,  # 0 stands for never
            last_out - origin if last_out else None,
            first_in - origin if first_in else None,
            last_in - origin if last_in else None,
            ended - begun if ended > begun else 0,
            bytes_out,
            bytes_in,
            waited,
            transferred,
            None if is_sampled else sends,
            None if is_sampled else receives,
            None if (is_sampled and fd < 0) or (is_gone and not resent) else resent,
            count,
            tls_started - origin if tls_started else None,
            tls_ended - tls_started if tls_ended else None,
            version,
            server_name,
            tls_error,
            outcome,
            errno_name(error) if error else None,
            _closed_by(flags, closed) if flags else None,
            stale,
            bool(flags & wire.CONNECTION_REUSED),
            bool(flags & wire.CONNECTION_BEFORE),
            is_sampled,
        )

    def _place(
        self, family: int, packed: bytes, port: int, number: int
    ) -> tuple[str, Protocol, str | None]:
        """(address, protocol, host) of a destination. Raises CorruptItemError."""
        protocol = _PROTOCOLS.get(number)
        if family not in (4, 6) or protocol is None:
            raise self._no_connection()
        address = wire.address_text(family, packed)
        place = address, protocol, self._hosts.of_destination(address, port, protocol)
        self._places[family, packed, port, number] = place
        return place

    def _no_connection(self) -> CorruptItemError:
        return CorruptItemError(
            f"execution {self._execution_id!r} holds a record that is no connection",
            "nothing of it can be trusted; look at another one: lambdatrace list",
        )


def _tls_error(alert: str | None, closed: int, error: int, outcome: Outcome) -> str | None:
    """What is known to have ended a handshake that was not done."""
    # After a mere warning it would have gone on.
    if alert and (closed or error):
        return alert
    if outcome is Outcome.RESET:
        return "reset"
    return "closed" if closed else None


def _closed_by(flags: int, closed: int) -> str | None:
    if flags & (wire.CONNECTION_PEER_CLOSED | wire.CONNECTION_RESET):
        return "peer"
    if closed and flags & wire.CONNECTION_OPEN:
        return None  # it was the end of its process that closed it
    return "function" if flags & wire.CONNECTION_SELF_CLOSED else None


def _is_stale(flags: int, exchanges: int, outcome: Outcome, latest: Exchange) -> bool:
    """Whether a connection that had answered before was dead when it was to serve again."""
    used_before = exchanges or flags & wire.CONNECTION_REUSED
    in_vain = latest.bytes_out > 0 and latest.wait_ns is None
    gone = outcome is Outcome.RESET or flags & wire.CONNECTION_PEER_CLOSED
    return bool(used_before and in_vain and gone)


def _outcome(protocol: Protocol, flags: int, error: int, established: int, closed: int) -> Outcome:
    ended = closed and not flags & wire.CONNECTION_OPEN
    if ended and flags & wire.SAMPLED_CONNECTION:
        return _GONE
    # An error outlives the rest: a refused socket that is never closed is refused, not open.
    if error:
        return _OUTCOMES.get(errno_name(error), Outcome.FAILED)
    if flags & wire.CONNECTION_RESET:
        return _RESET
    if flags & wire.CONNECTION_ABANDONED:
        return Outcome.ABANDONED
    # A UDP socket is ready at once; TCP is when the handshake is through.
    ready = established or protocol is not _TCP
    if ended:
        return _OK if ready else Outcome.ABANDONED
    return _OPEN if ready else Outcome.CONNECTING
