"""The few figures that are stored in clear."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.agent import summary

SIZE = wire.ConnectionRecord.SIZE
V4 = socket.inet_aton("192.0.2.7").ljust(16, b"\0")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7")


def record(number: int = 1, **fields: Any) -> wire.ConnectionRecord:
    values = dict.fromkeys(wire.ConnectionRecord.NAMES, 0)
    values |= {"address": V4, "comm": bytes(16), "kind": wire.KIND_CONNECTION, "family": 4}
    values |= {"id": number, "protocol": 6, "port": 443, "started": 1000, **fields}
    return wire.ConnectionRecord(*values.values())


def rows(*records: wire.ConnectionRecord) -> list[list[Any]]:
    return summary.destinations(records, {}, 500, 9000)[0]


def test_connections_to_one_destination_are_one_row() -> None:
    (row,) = rows(
        record(1, established=1300, closed=2000, bytes_out=5, bytes_in=7, waited=100),
        record(2, established=1100, closed=2000, bytes_out=1, transferred=10),
        record(3, closed=1050, error=111),
    )
    assert row == [
        None, "192.0.2.7", 443, "tcp", 3, 1, 6, 7, 300 + 100 + 100 + 10 + 50, [100, 300],
    ]  # fmt: skip


def test_address_port_and_protocol_make_a_destination() -> None:
    made = rows(
        record(1),
        record(2, port=80),
        record(3, protocol=17),
        record(4, family=6, address=V6),
    )
    assert {tuple(row[:4]) for row in made} == {
        (None, "192.0.2.7", 443, "tcp"),
        (None, "192.0.2.7", 80, "tcp"),
        (None, "192.0.2.7", 443, "udp"),
        (None, "2001:db8::7", 443, "tcp"),
    }


def test_a_reused_connection_was_not_connected_again() -> None:
    (row,) = rows(record(established=1300, waited=40, flags=wire.CONNECTION_REUSED, last_in=1))
    assert (row[8], row[9]) == (40, [])


def test_the_destinations_with_the_most_time_are_kept() -> None:
    count = summary.MAX_DESTINATIONS + 5
    records = [record(n, port=n, established=1000 + n, closed=8000) for n in range(1, count + 1)]
    kept, left_out = summary.destinations(records, {}, 500, 9000)
    assert left_out == 5
    assert [row[2] for row in kept] == list(range(count, 5, -1))
    # Still a summary of about a kB (DESIGN.md).
    assert len(json.dumps(kept)) < 1_500


def test_many_connect_times_are_thinned_to_their_quantiles() -> None:
    (row,) = rows(*(record(n, established=1000 + n, closed=8000) for n in range(1, 1001)))
    times = row[9]
    assert len(times) == summary.MAX_CONNECT_TIMES
    assert (times[0], times[-1]) == (1, 1000)
    assert times == sorted(times)
    assert abs(times[len(times) // 2] - 500) < 1000 / summary.MAX_CONNECT_TIMES


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({}, False),
        ({"error": 111}, True),
        ({"flags": wire.CONNECTION_ABANDONED}, True),
        ({"flags": wire.CONNECTION_OPEN | wire.CONNECTION_REUSED}, False),
    ],
)
def test_what_a_failure_is(fields: dict[str, int], failed: bool) -> None:
    assert summary.is_failed(record(**fields)) is failed


def test_only_counters_that_rose_are_told() -> None:
    before = tuple(range(len(wire.COUNTERS)))
    now = (before[0] + 3, *before[1:-1], before[-1] + 1)
    assert summary.lost_since(before, now) == {wire.COUNTERS[0]: 3, wire.COUNTERS[-1]: 1}
    assert summary.lost_since(before, before) == {}


def test_the_clocks_and_the_time_to_live() -> None:
    before = time.time_ns()
    now = time.monotonic_ns() + summary.clock_offset()
    # Taken in between, whatever the machine does meanwhile; a wall clock may be set by some ms.
    assert before - 10**9 <= now <= time.time_ns() + 10**9
    day = 86_400
    assert int(time.time()) + 3 * day <= summary.expires_at(3) + 1
    assert summary.expires_at(4) - summary.expires_at(3) in (day, day - 1, day + 1)


def test_what_the_agent_has_cost() -> None:
    cpu, peak = summary.own_cost()
    assert cpu > 0
    assert peak > 1 << 20  # bytes


@settings(deadline=None)
@given(st.lists(st.binary(min_size=SIZE, max_size=SIZE), max_size=20))
def test_any_record_can_be_summed_up(data: list[bytes]) -> None:
    records = [wire.ConnectionRecord.unpack(each) for each in data]
    kept, left_out = summary.destinations(records, {}, 5, 2**40)
    assert len(kept) <= summary.MAX_DESTINATIONS
    assert sum(row[4] for row in kept) <= len(records)
    assert left_out >= 0
    json.dumps(kept)
