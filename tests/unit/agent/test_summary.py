"""The few figures that are stored in clear."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_records import make

from lambdatrace import dns, wire
from lambdatrace.agent import summary
from lambdatrace.agent.attribution import Cut
from lambdatrace.agent.names import Lookup

SIZE = wire.ConnectionRecord.SIZE
V4 = socket.inet_aton("192.0.2.7").ljust(16, b"\0")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7")


def record(number: int = 1, **fields: Any) -> wire.ConnectionRecord:
    values = {"address": V4, "kind": wire.KIND_CONNECTION, "family": 4, "protocol": 6, "port": 443}
    return make(wire.ConnectionRecord, id=number, **{"started": 1000, **values, **fields})


def edge(**fields: Any) -> wire.EdgeRecord:
    return make(wire.EdgeRecord, kind=wire.KIND_EDGE, **fields)


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
        0, 1, [0],
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


US = 1_000


def lookup(name: str, started: int, answered: int) -> Lookup:
    question = dns.Message()
    question.name = name
    found = Lookup(question, make(wire.TextRecord, family=4, time=started))
    found.answered = answered
    return found


def test_each_request_is_a_wait() -> None:
    found = [
        make(wire.ExchangeRecord, connection=1, first_out=5 * US, last_out=7 * US, first_in=9 * US),
        make(wire.ExchangeRecord, connection=1, first_out=2 * US, last_out=3 * US),  # unanswered
        make(wire.ExchangeRecord, connection=1, first_in=4 * US),  # the peer spoke first
        make(wire.ExchangeRecord, connection=9, first_out=4 * US),  # not among these connections
    ]
    fields = {"established": 2000, "closed": 50 * US, "waited": 999_999}
    (row,) = summary.destinations([record(1, **fields)], {}, 4 * US, 90 * US, found)[0]
    assert row[10:] == [0, 2, [2, 46]]


def test_a_connection_without_exchanges_waited_as_its_sums_say() -> None:
    (row,) = rows(record(1, protocol=17, waited=12 * US), record(2, protocol=17))
    assert row[10:] == [0, 1, [12]]
    # They hold the handshake.
    (row,) = rows(record(tls_started=2 * US, tls_ended=12 * US, waited=10 * US))
    assert row[10:] == [0, 0, [], [10]]


def test_what_a_connection_that_was_only_looked_at_waited_for_is_known_while_it_is_there() -> None:
    fields = {"flags": wire.SAMPLED_CONNECTION, "established": 100, "bytes_out": 7, "last_out": 600}
    (row,) = rows(record(1, started=100, **fields))
    assert (row[4], row[6], row[8], row[12]) == (1, 7, 8400, [8])  # until the end, 9000
    # Between two looks it was answered, or was not, and went.
    (row,) = rows(record(1, started=100, closed=700, **fields))
    assert (row[4], row[6], row[8]) == (1, 7, 0)
    assert not any(row[9:])


def test_reused_connections_and_their_handshakes_of_before() -> None:
    fields = {"established": 1300, "tls_started": 2 * US, "tls_ended": 12 * US}
    (row,) = rows(record(1, flags=wire.CONNECTION_REUSED, **fields), record(2, **fields))
    assert row[9:] == [[300], 1, 0, [], [10]]


def test_looking_a_name_up_belongs_to_one_of_its_destinations() -> None:
    connections = [
        record(1, established=2000, waited=7 * US), record(2, port=80, established=1900),
        record(3, port=81, established=1001),
    ]  # fmt: skip
    lookups = [lookup("a.test", 0, 3 * US), lookup("a.test", 0, 0), lookup("c.test", 0, 9)]
    made, _ = summary.destinations(
        connections, {1: "a.test", 2: "a.test", 3: "b.test"}, 0, 90 * US, (), lookups
    )
    assert [row[14:] for row in made] == [[[3, 90]], [], []]


def test_more_than_eight_waits_are_thinned_and_counted() -> None:
    found = [
        make(wire.ExchangeRecord, connection=1, first_out=1, last_out=US, first_in=US * (n + 1))
        for n in range(1, 101)
    ]
    (row,) = summary.destinations([record(1)], {}, 0, 9 * US, found)[0]
    assert row[11] == 100
    assert (len(row[12]), row[12][0], row[12][-1]) == (8, 1, 100)


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


def test_cpu_is_what_rose_between_the_edges() -> None:
    before = edge(cpu=100, cpu_wall=90, runqueue=10, runqueue_wall=5)
    after = edge(cpu=150, cpu_wall=120, runqueue=17, runqueue_wall=6)
    assert summary.cpu(before, after) == [50, 30, 7, 1]
    # An execution whose beginning was not seen: since its branch began.
    assert summary.cpu(None, after) == [150, 120, 17, 6]
    assert summary.cpu(before, None) is None
    # What two CPUs wrote at once may be a few ns short.
    assert summary.cpu(after, before) == [0, 0, 0, 0]


def test_folded_is_what_rose_and_only_that() -> None:
    before = edge(folded_exchanges=5, folded_blocked=2, folded_texts=1)
    assert summary.folded(before, edge(folded_exchanges=9, folded_blocked=2)) == {"exchanges": 4}
    assert summary.folded(None, before) == {"exchanges": 5, "blocked": 2, "texts": 1}
    assert summary.folded(before, before) == {}
    assert summary.folded(None, None) == {}


def test_what_cannot_be_seen_into() -> None:
    assert summary.unseen(None) == []
    assert summary.unseen(edge()) == []
    assert summary.unseen(edge(flags=wire.UNSEEN_IO_URING | 9)) == ["io_uring"]


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"exit_code": 3}, [3, 0, 0]),
        ({"flags": 11}, [0, 11, 0]),
        ({"flags": 9 | wire.ENDING_OUT_OF_MEMORY}, [0, 9, 1]),
        ({"flags": 64 | wire.UNSEEN_IO_URING}, [0, 64, 0]),
    ],
)
def test_how_a_process_ended(fields: dict[str, int], ending: list[int]) -> None:
    own = edge(tgid=100, branch=100, **fields)
    cut = Cut("id", 100, 0, "kernel")
    assert summary.ending(cut) is None
    cut.records.processes += [edge(tgid=101, branch=100, parent=100, exit_code=77), own]
    assert summary.ending(cut) == ending
    row = {"parent": 50, "born": 1000, "time": 3000, "text": b"sh\xff\0junk".ljust(96, b"\0")}
    for name, value in row.items():
        setattr(own, name, value)
    assert summary.process_row(own) == [
        100, 50, "sh\N{REPLACEMENT CHARACTER}", 1000, 3000, *ending,
    ]  # fmt: skip


def test_a_child_that_ended_is_no_ending_of_the_execution() -> None:
    cut = Cut("id", 100, 0, "kernel")
    cut.records.processes.append(edge(tgid=101, branch=100, parent=100, exit_code=1))
    assert summary.ending(cut) is None


@given(st.binary(min_size=wire.EdgeRecord.SIZE, max_size=wire.EdgeRecord.SIZE))
def test_any_edge_makes_figures_and_a_row(data: bytes) -> None:
    one = wire.EdgeRecord.unpack(data)
    cut = Cut("id", 100, 0, "kernel")
    cut.records.processes.append(one)
    told = [
        summary.cpu(edge(cpu=5), one), summary.folded(None, one), summary.ending(cut),
        summary.process_row(one), summary.unseen(one),
    ]  # fmt: skip
    json.dumps(told)


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
    assert cpu <= summary.cpu_of(os.getpid()) <= summary.own_cost()[0]
    assert summary.cpu_of(2**22 + 1) == 0  # the kernel gives no such number
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
