"""Records become connections: times, outcomes, names; and bytes that are no records."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st
from support import require

from lambdatrace import items as stored
from lambdatrace import wire
from lambdatrace.analysis.linux import ERRNO_NAMES, errno_name, signal_name
from lambdatrace.analysis.phases import phases
from lambdatrace.analysis.trace import (
    SyscallTotals,
    elsewhere_left_out,
    read_records,
    read_trace,
    syscall_totals,
)
from lambdatrace.errors import CorruptItemError, NewerSchemaError
from lambdatrace.items import CHUNK, SCHEMA_VERSION, SUMMARY, make_items, pack_records
from lambdatrace.model import (
    Blocked,
    BlockedKind,
    Connection,
    Elsewhere,
    Ending,
    Exchange,
    Outcome,
    Process,
    Protocol,
    Syscall,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.items import Item

MS = traces.MS


def decoded(*records: bytes, **changes: object) -> list[Connection]:
    return list(read_trace(traces.execution(records, **changes)).connections)


def test_times_are_relative_to_the_execution() -> None:
    (one,) = decoded(
        traces.connection(
            started=27, established=78, first_out=80, last_out=82, first_in=1_240, last_in=1_310,
            closed=1_312, bytes_out=5, bytes_in=9,
        )
    )  # fmt: skip
    assert (one.started_ns, one.connect_ns, one.duration_ns) == (27 * MS, 51 * MS, 1_285 * MS)
    assert (one.first_out_ns, one.last_out_ns) == (80 * MS, 82 * MS)
    assert (one.first_in_ns, one.last_in_ns) == (1_240 * MS, 1_310 * MS)
    assert (one.outcome, one.error, one.reused) == (Outcome.OK, None, False)
    assert (one.protocol, one.process_name, one.host) == (Protocol.TCP, "python3", None)


def test_what_happened_before_is_negative_and_open_lasts_until_the_end() -> None:
    flags = wire.CONNECTION_REUSED | wire.CONNECTION_OPEN
    (one,) = decoded(traces.connection(started=-900, established=-880, flags=flags))
    assert (one.started_ns, one.connect_ns, one.duration_ns) == (-900 * MS, 20 * MS, 2_900 * MS)
    assert one.reused
    assert one.outcome is Outcome.OPEN


@pytest.mark.parametrize(
    ("record", "outcome", "error"),
    [
        ({"established": 1, "closed": 2}, Outcome.OK, None),
        ({"established": 1, "flags": wire.CONNECTION_OPEN}, Outcome.OPEN, None),
        ({"flags": wire.CONNECTION_OPEN}, Outcome.CONNECTING, None),
        ({"closed": 2}, Outcome.ABANDONED, None),
        ({"closed": 2, "flags": wire.CONNECTION_ABANDONED}, Outcome.ABANDONED, None),
        ({"established": 1, "closed": 2, "flags": wire.CONNECTION_RESET}, Outcome.RESET, None),
        ({"closed": 2, "error": 111}, Outcome.REFUSED, "ECONNREFUSED"),
        ({"flags": wire.CONNECTION_OPEN, "error": 111}, Outcome.REFUSED, "ECONNREFUSED"),
        ({"closed": 2, "error": 104}, Outcome.RESET, "ECONNRESET"),
        ({"closed": 2, "error": 110}, Outcome.TIMEOUT, "ETIMEDOUT"),
        ({"closed": 2, "error": 101}, Outcome.UNREACHABLE, "ENETUNREACH"),
        ({"closed": 2, "error": 113}, Outcome.UNREACHABLE, "EHOSTUNREACH"),
        ({"closed": 2, "error": 13}, Outcome.FAILED, "EACCES"),
        ({"closed": 2, "error": 999}, Outcome.FAILED, "errno 999"),
        ({"closed": 2, "protocol": socket.IPPROTO_UDP}, Outcome.OK, None),
    ],
)
def test_outcomes(record: dict[str, int], outcome: Outcome, error: str | None) -> None:
    (one,) = decoded(traces.connection(**record))
    assert (one.outcome, one.error) == (outcome, error)


def test_unknown_is_none_and_not_zero() -> None:
    (one,) = decoded(traces.connection(closed=3))
    assert one.connect_ns is None
    assert [one.first_out_ns, one.last_out_ns, one.first_in_ns, one.last_in_ns] == [None] * 4


def test_addresses_and_names() -> None:
    first, second = decoded(
        traces.connection(1, "2001:db8::17", comm=b"w\xff\xfe\0junk"),
        traces.connection(2, "10.0.0.7", started=1),
    )
    assert first.address == "2001:db8::17"
    assert first.process_name == "w\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert second.address == "10.0.0.7"


def test_a_host_name_comes_from_the_summary_unless_two_share_an_address() -> None:
    records = [traces.connection(1, port=443), traces.connection(2, port=444, started=1)]
    names = [
        traces.destination(port=443, host="api.internal"),
        traces.destination(port=444, host="a.internal"),
        traces.destination(port=444, host="b.internal"),
    ]
    # An older agent's: it did not name each connection.
    body = pack_records(wire.KIND_CONNECTION, wire.ConnectionRecord.SIZE, b"".join(records))
    items = make_items(traces.summary(connections=2, destinations=names), {}, 0, None, [body])
    found = read_trace(items).connections
    assert [one.host for one in found] == ["api.internal", None]


def test_connections_come_by_start() -> None:
    assert [one.id for one in decoded(*traces.pipeline())] == [4, 1, 2, 3, 5]


def test_syscalls_come_by_start_and_as_totals() -> None:
    records = [
        traces.syscall("write", started=2, result=10),
        traces.syscall("connect", started=1, result=-errno.EINPROGRESS, duration=0.07),
        traces.syscall("write", started=3, result=-errno.EAGAIN),
        traces.syscall("write", started=4, result=-errno.EPIPE),
        traces.syscall("recvmmsg", started=5, result=2, connection=0),
    ]
    items = traces.execution([], records, level="syscalls")
    trace = read_trace(items)
    assert [one.op for one in trace.syscalls] == ["connect", "write", "write", "write", "recvmmsg"]
    assert trace.syscalls[1] == Syscall("write", 7, 1, 100, 100, 2 * MS, 10_000, 10)
    assert trace.syscalls[4].connection_id is None
    assert syscall_totals(read_records(items)) == (
        SyscallTotals("connect", 1, 0, None, 70_000),
        SyscallTotals("write", 3, 1, 10, 30_000),
        SyscallTotals("recvmmsg", 1, 0, None, 10_000),
    )


def test_exchanges_come_by_start_with_their_times() -> None:
    records = [
        traces.exchange(
            1, first_out=80, last_out=82, first_in=90, last_in=95, bytes_out=7, bytes_in=9, sends=2,
            receives=3, retransmits=1,
        ),
        traces.exchange(2, first_out=10, last_out=10),  # no answer
        traces.exchange(3, first_out=None, first_in=20, last_in=21, bytes_out=0, sends=0),
        traces.exchange(4, first_out=-900, first_in=-890),  # before the execution began
    ]  # fmt: skip
    found = read_trace(traces.execution([], exchanges=records)).exchanges
    assert [each.connection_id for each in found] == [4, 2, 3, 1]
    assert found[3] == Exchange(1, 80 * MS, 2 * MS, 8 * MS, 5 * MS, 7, 9, 2, 3, 1)
    assert (found[1].wait_ns, found[1].transfer_ns) == (None, None)
    # A server that spoke first was not asked anything.
    assert (found[2].started_ns, found[2].wait_ns, found[2].transfer_ns) == (20 * MS, None, MS)
    assert (found[0].started_ns, found[0].wait_ns) == (-900 * MS, 10 * MS)


@pytest.mark.parametrize(
    ("told", "completed", "flags", "count"),
    [
        (1, 0, 0, 1),
        (3, 2, 0, 3),
        (0, 0, 0, 0),
        (2, 999, 0, 1_000),  # folded: counted, and not told one by one
        # Completed in this execution was what an earlier one told of.
        (1, 1, wire.CONNECTION_REUSED, 1),
        (3, 3, wire.CONNECTION_REUSED, 3),
        # Opened earlier and not used then.
        (3, 2, wire.CONNECTION_REUSED, 3),
    ],
)
def test_how_many_exchanges_a_connection_had(
    told: int, completed: int, flags: int, count: int
) -> None:
    record = traces.connection(1, established=1, exchanges=completed, flags=flags)
    records = [traces.exchange(1, first_out=10 + number, first_in=11) for number in range(told)]
    others = [traces.exchange(2, first_out=1)]
    (one,) = read_trace(traces.execution([record], exchanges=records + others)).connections
    assert one.exchanges == count


def test_what_a_group_that_was_off_left_behind_is_not_shown() -> None:
    # Then a connection is one long exchange, and nobody looked at the signals.
    items = traces.execution(
        [traces.connection(1, established=1)], exchanges=[traces.exchange(1)],
        details={"processes": [traces.process()]}, capture=["dns"],
    )  # fmt: skip
    trace = read_trace(items)
    assert (trace.exchanges, trace.processes) == ((), ())
    assert trace.connections[0].exchanges is None


TLS = {"established": 1, "tls_started": 2}
DONE = {**TLS, "tls_ended": 22}


def with_tls(
    record: dict[str, Any], row: object = None, exchanges: tuple[bytes, ...] = ()
) -> Connection:
    details = {} if row is None else {"tls": {"1": row}}
    items = traces.execution([traces.connection(1, **record)], exchanges=exchanges, details=details)
    (one,) = read_trace(items).connections
    return one


def test_a_handshake() -> None:
    one = with_tls(DONE, ["api.example", "1.3", ""])
    assert (one.tls_started_ns, one.tls_ns) == (2 * MS, 20 * MS)
    assert (one.tls_server_name, one.tls_version, one.tls_error) == ("api.example", "1.3", None)
    plain = with_tls({"established": 1})
    assert [plain.tls_started_ns, plain.tls_ns, plain.tls_version, plain.tls_error] == [None] * 4


ENCRYPTED_ALERT = traces.exchange(1, first_out=23, bytes_out=24)


@pytest.mark.parametrize(
    ("record", "row", "exchanges", "error"),
    [
        # An alert in the clear is the reason, if that was the end of it.
        (TLS | {"closed": 9}, ["a", "", "unknown_ca"], (), "unknown_ca"),
        (TLS | {"closed": 9, "flags": wire.CONNECTION_RESET}, ["a", "", "unknown_ca"], (),
         "unknown_ca"),
        # Else it was a warning: things went on.
        (DONE | {"closed": 30}, ["a", "1.2", "unrecognized_name"], (), None),
        (TLS | {"flags": wire.CONNECTION_OPEN}, ["a", "", "unrecognized_name"], (), None),
        # No alert, no application data.
        (TLS | {"closed": 9}, ["a", "", ""], (), "closed"),
        (TLS | {"closed": 9}, None, (), "closed"),
        (TLS | {"closed": 9, "error": errno.ECONNRESET}, None, (), "reset"),
        (TLS | {"closed": 9, "flags": wire.CONNECTION_RESET}, None, (), "reset"),
        (TLS | {"flags": wire.CONNECTION_OPEN}, None, (), None),  # still under way
        # TLS 1.3: a client's alert is encrypted, and all it said after the handshake.
        (DONE | {"closed": 30}, ["a", "1.3", ""], (ENCRYPTED_ALERT,), "encrypted alert"),
        (DONE, ["a", "1.3", ""], (ENCRYPTED_ALERT,), None),
        (DONE | {"closed": 30}, ["a", "1.3", ""],
         (traces.exchange(1, first_out=23, bytes_out=25),), None),
        (DONE | {"closed": 30}, ["a", "1.3", ""],
         (traces.exchange(1, first_out=23, bytes_out=24, first_in=25, bytes_in=9, receives=1),),
         None),
        (DONE | {"closed": 30}, ["a", "1.3", ""],
         (traces.exchange(1, first_out=23, bytes_out=24, sends=2),), None),
        # A request before it: then it is the usual end of a connection, close_notify.
        (DONE | {"closed": 30, "exchanges": 1}, ["a", "1.3", ""],
         (traces.exchange(1, first_out=22, first_in=23, receives=1), ENCRYPTED_ALERT), None),
        (DONE | {"closed": 30}, ["a", "1.3", ""], (), None),
        # No TLS, no error of it.
        ({"established": 1, "closed": 9}, None, (ENCRYPTED_ALERT,), None),
    ],
)  # fmt: skip
def test_what_went_wrong_with_a_handshake(
    record: dict[str, Any], row: object, exchanges: tuple[bytes, ...], error: str | None
) -> None:
    assert with_tls(record, row, exchanges).tls_error == error


@pytest.mark.parametrize("row", [7, None, [], ["a", "1.3"], ["a", 1.3, ""], {"a": 1}, [None] * 3])
def test_a_handshake_that_is_not_stored_as_it_should_be_is_not_known(row: object) -> None:
    one = with_tls(DONE, row)
    assert (one.tls_server_name, one.tls_version, one.tls_error) == (None, None, None)
    assert one.tls_ns == 20 * MS


@pytest.mark.parametrize(
    ("flags", "by"),
    [
        (0, None),
        (wire.CONNECTION_SELF_CLOSED, "function"),
        (wire.CONNECTION_PEER_CLOSED, "peer"),
        (wire.CONNECTION_RESET, "peer"),
        (wire.CONNECTION_PEER_CLOSED | wire.CONNECTION_SELF_CLOSED, "peer"),
        (wire.CONNECTION_HALF_CLOSED | wire.CONNECTION_SELF_CLOSED, "function"),
    ],
)
def test_who_closed_a_connection(flags: int, by: str | None) -> None:
    (one,) = decoded(traces.connection(established=1, closed=9, flags=flags))
    assert one.closed_by == by


GONE = wire.CONNECTION_PEER_CLOSED
DIED = wire.CONNECTION_BEFORE | wire.CONNECTION_RESET


@pytest.mark.parametrize(
    ("record", "exchanges", "stale"),
    [
        # A request on a connection that had answered, and then its end instead of an answer.
        ({"exchanges": 1, "flags": GONE}, [(1, 2), (5, None)], True),
        ({"exchanges": 1, "flags": wire.CONNECTION_RESET}, [(1, 2), (5, None)], True),
        ({"exchanges": 1, "error": errno.EPIPE}, [(1, 2), (5, None)], True),
        ({"flags": GONE | wire.CONNECTION_REUSED}, [(5, None)], True),
        # Answered, or never asked, or never answered at all.
        ({"exchanges": 1, "flags": GONE}, [(1, 2), (5, 6)], False),
        ({"flags": GONE | wire.CONNECTION_REUSED}, [], False),
        ({"flags": GONE}, [(5, None)], False),
        ({"error": errno.ECONNRESET}, [(5, None)], False),
        # Given up by the function itself.
        ({"exchanges": 1}, [(1, 2), (5, None)], False),
        # Reset while it was kept: told of in an earlier execution; and in its own, during init.
        ({"flags": DIED, "first_in": 2}, [], True),
        ({"flags": DIED, "first_in": 2, "bytes_in": 7}, [], False),
        ({"flags": DIED}, [], False),
    ],
)
def test_a_stale_connection(
    record: dict[str, int], exchanges: list[tuple[float, float | None]], stale: bool
) -> None:
    told = [traces.exchange(1, first_out=out, first_in=into) for out, into in exchanges]
    items = traces.execution(
        [traces.connection(1, established=0.5, closed=9, **record)], exchanges=told
    )
    (one,) = read_trace(items).connections
    assert one.stale is stale


def test_what_waited_comes_by_start() -> None:
    records = [
        traces.blocked("fsync", started=20, ended=35, waited=12, fd=9, path=b"/tmp/a\0junk"),
        traces.blocked("wait4", started=5, ended=8, fd=-1, result=4242, tid=101),
    ]
    first, second = read_trace(traces.execution([], blocked=records)).blocked
    assert second == Blocked(
        "fsync", BlockedKind.FILE, 9, "/tmp/a", 100, 100, 20 * MS, 15 * MS, 12 * MS, 0
    )
    assert first == Blocked(
        "wait4", BlockedKind.CHILD, None, None, 100, 101, 5 * MS, 3 * MS, 3 * MS, 4242
    )


@pytest.mark.parametrize(
    ("op", "path", "kind"),
    [
        ("nanosleep", b"", BlockedKind.SLEEP),
        ("clock_nanosleep", b"", BlockedKind.SLEEP),
        ("futex", b"", BlockedKind.LOCK),
        ("flock", b"/tmp/lock", BlockedKind.LOCK),
        ("fcntl", b"", BlockedKind.LOCK),
        ("fsync", b"/tmp/a", BlockedKind.FILE),
        ("fsync", b"", BlockedKind.FILE),
        ("openat", b"/tmp/fifo", BlockedKind.FILE),
        ("read", b"/tmp/a", BlockedKind.FILE),
        ("read", b"", BlockedKind.OTHER),  # a pipe, a terminal, or a socket that was accepted
        ("write", b"", BlockedKind.OTHER),
        ("wait4", b"", BlockedKind.CHILD),
        ("waitid", b"", BlockedKind.CHILD),
        ("poll", b"", BlockedKind.POLL),
        ("epoll_wait", b"", BlockedKind.POLL),
        ("accept4", b"", BlockedKind.NETWORK),
        ("io_uring_setup", b"", BlockedKind.OTHER),
    ],
)
def test_what_it_waited_for(op: str, path: bytes, kind: BlockedKind) -> None:
    (one,) = read_trace(traces.execution([], blocked=[traces.blocked(op, path=path)])).blocked
    assert (one.op, one.kind) == (op, kind)


def test_every_operation_that_may_block_is_of_a_kind() -> None:
    # What only begins or ends something, and is told by another record when it takes long.
    quick = {
        "none", "socket", "shutdown", "getsockopt", "dup", "dup3", "close_range", "exit_group",
        "io_uring_setup",
    }  # fmt: skip
    for op in set(wire.OPS) - quick:
        record = traces.blocked(op, path=b"/tmp/a")
        (one,) = read_trace(traces.execution([], blocked=[record])).blocked
        assert one.kind is not BlockedKind.OTHER, op


def test_syscalls_without_a_name_and_page_faults() -> None:
    records = [
        traces.blocked("none", started=1, number=16),
        traces.blocked("none", started=2, number=wire.BLOCKED_FAULT, fd=-1),
    ]
    first, second = read_trace(traces.execution([], blocked=records)).blocked
    assert (first.op, first.kind) == ("syscall 16", BlockedKind.OTHER)
    assert (second.op, second.kind) == ("page fault", BlockedKind.FAULT)


def test_processes_that_ended_come_by_start() -> None:
    rows = [
        traces.process(201, started=10, ended=30, exit_code=2, name="gzip"),
        traces.process(202, parent=201, started=-5, ended=12, signal=11),
        traces.process(203, started=40, ended=41, signal=9, out_of_memory=True),
        traces.process(204, started=50, ended=51, signal=64),
    ]
    found = read_trace(traces.execution([], details={"processes": rows})).processes
    assert found == (
        Process(202, 201, "sh", -5 * MS, 17 * MS, Ending(None, "SIGSEGV", False)),
        Process(201, 100, "gzip", 10 * MS, 20 * MS, Ending(2, None, False)),
        Process(203, 100, "sh", 40 * MS, MS, Ending(None, "SIGKILL", True)),
        Process(204, 100, "sh", 50 * MS, MS, Ending(None, "signal 64", False)),
    )


def written_with(details: dict[str, Any]) -> Iterator[list[Item]]:
    """Items with details that no agent writes: in a chunk of their own, and in the summary's."""
    text = json.dumps(details).encode()
    layout = wire.ConnectionRecord
    yield make_items(
        traces.summary(connections=1), {}, 0, None,
        [
            pack_records(wire.KIND_CONNECTION, layout.SIZE, traces.connection()),
            pack_records(wire.KIND_DETAILS, 1, text),
        ],
    )  # fmt: skip
    whole, row = traces.execution([traces.connection()])
    own, rest, lower = stored._split_summary(whole)
    whole.body = b"LTs3" + stored._deflate(own + b"\0" + text + rest) + lower
    yield [whole, row]


def test_what_other_extensions_did_is_in_no_list_of_the_functions() -> None:
    rows = [
        traces.elsewhere("agentd", host="in.example", started=-5, established=None, error=111),
        traces.elsewhere(closed=None),
    ]
    details = {"extensions": rows, "extensions_left_out": 3}
    records = read_records(traces.execution([traces.connection()], details=details))
    found = read_trace(traces.execution([traces.connection()], details=details))
    assert len(found.connections) == 1
    common = ("192.0.2.7", 443, Protocol.TCP)
    assert found.elsewhere == (
        Elsewhere("agentd", 77, "in.example", *common, -5 * MS, None, 14 * MS, 310, 4_200,
                  "ECONNREFUSED"),
        Elsewhere("telegraf", 77, None, *common, MS, MS, None, 310, 4_200, None),
    )  # fmt: skip
    assert elsewhere_left_out(records) == 3


@pytest.mark.parametrize(
    "details",
    [
        {"processes": 7},
        {"processes": [7]},
        {"processes": [[1, 2, "sh"]]},
        {"processes": [[*traces.process(), 0]]},
        {"processes": [["1", *traces.process()[1:]]]},
        {"processes": [[*traces.process()[:2], None, *traces.process()[3:]]]},
        {"processes": [[*traces.process()[:5], -1, 0, 0]]},
        {"processes": [[*traces.process()[:5], 0, True, 0]]},
        {"extensions": [7]},
        {"extensions": [traces.elsewhere()[:-1]]},
        {"extensions": [[*traces.elsewhere()[:5], 99, *traces.elsewhere()[6:]]]},
        {"extensions": [[*traces.elsewhere()[:6], "1", *traces.elsewhere()[7:]]]},
        {"tls": 1},
        {"tls": ["a"]},
        {"hosts": 1},
    ],
)
def test_details_that_are_not_as_they_should_be_are_corrupt(details: dict[str, Any]) -> None:
    for items in written_with(details):
        with pytest.raises(CorruptItemError):
            read_trace(items)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    st.dictionaries(st.sampled_from(["lookups", "hosts", "tls", "processes", "extensions"]), _JSON)
)
def test_any_details_are_read_or_corrupt(details: dict[str, Any]) -> None:
    for items in written_with(details):
        with contextlib.suppress(CorruptItemError):
            read_trace(items)


def test_missing_chunks_are_counted() -> None:
    many = [traces.connection(number) for number in range(400)]
    items = traces.execution(many)
    assert read_trace(items).missing_chunks == 0
    trace = read_trace(item for item in items if item.kind != CHUNK)
    assert (trace.missing_chunks, trace.connections) == (1, ())


def test_what_an_earlier_state_of_an_execution_left_is_not_read() -> None:
    # Written before its deadline with a chunk, then again without one.
    early = traces.execution([traces.connection(number) for number in range(400)])
    late = traces.execution([traces.connection(401)])
    stored = {item.key: item for item in early + late}
    assert [connection.id for connection in read_trace(stored.values()).connections] == [401]


def test_items_without_one_summary_are_corrupt() -> None:
    items = [item for item in traces.execution() if item.kind != SUMMARY]
    with pytest.raises(CorruptItemError):
        read_trace(items)


def test_newer_items_are_refused() -> None:
    items = traces.execution()
    items[0].schema = SCHEMA_VERSION + 1
    with pytest.raises(NewerSchemaError):
        read_trace(items)


@pytest.mark.parametrize("field", [("kind", 9), ("family", 5), ("protocol", 99), ("started", 0)])
def test_a_record_that_is_no_connection_is_corrupt(field: tuple[str, int]) -> None:
    record = wire.ConnectionRecord.unpack(traces.connection())
    setattr(record, *field)
    with pytest.raises(CorruptItemError, match="no connection"):
        decoded(record.pack())


@given(st.binary(min_size=wire.ConnectionRecord.SIZE, max_size=wire.ConnectionRecord.SIZE))
def test_arbitrary_bytes_are_a_connection_or_corrupt(data: bytes) -> None:
    """As they are, and with the four fields right that are checked first."""
    record = wire.ConnectionRecord.unpack(data)
    record.kind, record.family, record.protocol = 1, 4 + 2 * (data[0] % 2), 6 + 11 * (data[1] % 2)
    record.started = record.started or 1
    (one,) = decoded(record.pack())
    assert one.duration_ns >= 0
    assert one.connect_ns is None or one.connect_ns >= 0
    assert all(phase.start_ns <= phase.end_ns for phase in phases(one))
    with contextlib.suppress(CorruptItemError):
        decoded(data)


@given(st.binary(min_size=wire.SyscallRecord.SIZE, max_size=wire.SyscallRecord.SIZE))
def test_arbitrary_bytes_are_a_syscall(data: bytes) -> None:
    items = traces.execution([], [data])
    assert len(read_trace(items).syscalls) == 1
    assert syscall_totals(read_records(items))[0].count == 1


@given(st.binary(min_size=wire.ExchangeRecord.SIZE, max_size=wire.ExchangeRecord.SIZE))
def test_arbitrary_bytes_are_an_exchange(data: bytes) -> None:
    record = traces.connection(int.from_bytes(data[4:8], "little"), tls_started=1, tls_ended=2)
    trace = read_trace(traces.execution([record], exchanges=[data]))
    (one,) = trace.exchanges
    assert one.request_ns >= 0
    assert one.wait_ns is None or one.wait_ns >= 0
    assert one.transfer_ns is None or one.transfer_ns >= 0
    assert trace.connections[0].exchanges == 1


@given(st.binary(min_size=wire.BlockedRecord.SIZE, max_size=wire.BlockedRecord.SIZE))
def test_arbitrary_bytes_are_something_that_waited(data: bytes) -> None:
    (one,) = read_trace(traces.execution([], blocked=[data])).blocked
    assert one.duration_ns >= 0
    assert one.kind in BlockedKind
    assert one.op
    assert one.path is None or one.path.encode() is not None


def test_signal_names_are_those_of_linux() -> None:
    require(sys.platform == "linux", "this compares with the machine's own numbers")
    aliases = {"SIGRTMIN", "SIGRTMAX"}
    for number in signal.Signals:
        assert number.name in aliases or signal_name(number) == number.name
    assert signal_name(200) == "signal 200"


def test_errno_names_are_those_of_linux() -> None:
    require(sys.platform == "linux", "this compares with the machine's own numbers")
    aliases = {"EDEADLOCK", "ENOTSUP"}
    for number, name in errno.errorcode.items():
        assert name in aliases or ERRNO_NAMES[number] == name
    assert errno_name(0) == "errno 0"
