"""Records become connections: times, outcomes, names; and bytes that are no records."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.analysis.linux import ERRNO_NAMES, errno_name
from lambdatrace.analysis.phases import phases
from lambdatrace.analysis.trace import (
    SyscallTotals,
    read_records,
    read_trace,
    syscall_totals,
)
from lambdatrace.errors import CorruptItemError, NewerSchemaError
from lambdatrace.items import CHUNK, SUMMARY
from lambdatrace.model import Connection, Outcome, Protocol, Syscall

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
    assert [one.host for one in decoded(*records, destinations=names)] == ["api.internal", None]


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


def test_missing_chunks_are_counted() -> None:
    items = [item for item in traces.execution(traces.pipeline()) if item.kind != CHUNK]
    assert read_trace(items).missing_chunks == 1


def test_items_without_one_summary_are_corrupt() -> None:
    items = [item for item in traces.execution() if item.kind != SUMMARY]
    with pytest.raises(CorruptItemError):
        read_trace(items)


def test_newer_items_are_refused() -> None:
    items = traces.execution()
    items[0].schema = 2
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


@pytest.mark.skipif(sys.platform != "linux", reason="compares with the machine's own numbers")
def test_errno_names_are_those_of_linux() -> None:
    aliases = {"EDEADLOCK", "ENOTSUP"}
    for number, name in errno.errorcode.items():
        assert name in aliases or ERRNO_NAMES[number] == name
    assert errno_name(0) == "errno 0"
