"""An execution's wall-clock time divided: what goes where, and that it always sums up."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_records import make

from lambdatrace import partition, wire
from lambdatrace.model import Part
from lambdatrace.partition import (
    CONNECT,
    CPU,
    DNS,
    FILE,
    LOCK,
    OTHER,
    RUNQUEUE,
    SLEEP,
    STEAL,
    TLS,
    TRANSFER,
    WAIT,
    Blame,
    Span,
)

START, END = 1_000_000, 2_000_000  # µs would do as well: nothing here knows a unit
TCP, UDP = wire.PROTOCOL_TCP, wire.PROTOCOL_UDP


def test_parts_are_those_of_the_model() -> None:
    assert tuple(Part) == partition.PARTS


def pause(waits: str, started: int, ended: int, **fields: Any) -> wire.PauseRecord:
    values = {"waits": wire.WAITS_NUMBERS[waits], "started": started, "ended": ended, **fields}
    return make(wire.PauseRecord, kind=wire.KIND_PAUSE, **values)


def connection(number: int, **fields: Any) -> wire.ConnectionRecord:
    values = {"family": 4, "protocol": TCP, "port": 443, **fields}
    values.setdefault("address", ipaddress.ip_address("192.0.2.7").packed)
    return make(wire.ConnectionRecord, id=number, **values)


def exchange(
    number: int, first_out: int, last_out: int, first_in: int = 0, last_in: int = 0
) -> Any:
    return make(
        wire.ExchangeRecord, connection=number, first_out=first_out, last_out=last_out,
        first_in=first_in, last_in=last_in,
    )  # fmt: skip


def seen(spans: list[Span]) -> list[tuple[int, int, int, str]]:
    return [(span.start, span.end, span.part, span.subject) for span in spans]


# ---- spans


def test_a_connections_life_in_spans() -> None:
    record = connection(
        1, started=10, established=20, tls_started=21, tls_ended=40, first_out=21, last_out=55,
        first_in=30, last_in=90, exchanges=1, closed=95,
    )  # fmt: skip
    found = partition.spans([record], [exchange(1, 50, 55, 80, 90)], [], {1: "api.example"}, END)
    name = "api.example:443"
    assert seen(found) == [
        (10, 20, CONNECT, name), (21, 40, TLS, name), (50, 55, TRANSFER, name),
        (55, 80, WAIT, name), (80, 90, TRANSFER, name),
    ]  # fmt: skip
    assert not any(span.loose for span in found)


def test_what_has_no_end_lasts_until_the_executions() -> None:
    records = [
        connection(1, started=10),
        connection(2, started=10, established=11, tls_started=12, first_out=12, last_out=13),
        connection(3, started=10, established=11, first_out=12, last_out=13, exchanges=1),
    ]
    found = partition.spans(records, [exchange(3, 12, 13)], [("name", 5, 0, 9)], {}, 100)
    assert seen(found) == [
        (5, 100, DNS, "name"), (10, 100, CONNECT, "192.0.2.7:443"),
        (10, 11, CONNECT, "192.0.2.7:443"), (12, 100, TLS, "192.0.2.7:443"),
        (10, 11, CONNECT, "192.0.2.7:443"), (12, 13, TRANSFER, "192.0.2.7:443"),
        (13, 100, WAIT, "192.0.2.7:443"),
    ]  # fmt: skip


@pytest.mark.parametrize(("told_apart", "told"), [(False, 0), (True, 1)])
def test_where_exchanges_are_missing_a_loose_span_stands_for_them(
    told_apart: bool, told: int
) -> None:
    record = connection(
        1, started=10, established=20, first_out=30, last_out=70, first_in=40, last_in=90,
        exchanges=2,
    )  # fmt: skip
    exchanges = [exchange(1, 30, 31, 40, 41)] * told
    found = partition.spans([record], exchanges, [], {}, END, told_apart)
    assert [(span.start, span.end, span.part) for span in found if span.loose] == [(30, 90, WAIT)]


def test_queries_have_their_names_and_their_server_where_no_name_was_read() -> None:
    server = {"port": 53, "protocol": UDP, "first_out": 30, "last_out": 30}
    records = [connection(1, **server, last_in=50), connection(2, **server)]
    found = partition.spans(records, [], [("a.example", 30, 50, 1)], {}, 100)
    assert seen(found) == [(30, 50, DNS, "a.example"), (30, 100, DNS, "192.0.2.7:53")]


def test_a_datagram_need_not_be_answered() -> None:
    record = connection(1, protocol=UDP, port=8125, first_out=30, last_out=30)
    assert partition.spans([record], [], [], {}, 100) == []


def test_what_ended_before_the_execution_is_left_out() -> None:
    record = connection(1, started=10, established=20, flags=wire.CONNECTION_BEFORE)
    assert partition.spans([record], [exchange(1, 12, 13, 14, 15)], [], {}, END) == []


def test_an_ipv6_address_stands_in_brackets() -> None:
    address = ipaddress.ip_address("2001:db8::7").packed
    assert partition.subject_of(connection(1, family=6, address=address), None) == (
        "[2001:db8::7]:443"
    )


# ---- blames


def blame(one: wire.PauseRecord, spans: list[Span], calls: Any = ()) -> tuple[int, str, int]:
    [found] = partition.blames([one], spans, calls)
    return found.part, found.subject, found.connection


def blocked(tid: int, started: int, ended: int, **fields: Any) -> wire.BlockedRecord:
    return make(wire.BlockedRecord, tid=tid, started=started, ended=ended, **fields)


@pytest.mark.parametrize(
    ("waits", "part"),
    [
        ("file", FILE), ("fault", FILE), ("sleep", SLEEP), ("lock", LOCK), ("child", OTHER),
        ("runqueue", RUNQUEUE), ("other", OTHER),
    ],
)  # fmt: skip
def test_what_is_not_the_network_is_told_by_the_kernel(waits: str, part: int) -> None:
    spans = [Span(0, 100, WAIT, "host:1", 1)]
    assert blame(pause(waits, 10, 50), spans)[0] == part


def test_a_receive_is_its_connections_whatever_else_is_under_way() -> None:
    spans = [Span(0, 52, WAIT, "first:1", 1), Span(0, 500, TLS, "second:1", 2)]
    one = pause("network", 10, 50, connection=2)
    assert blame(one, spans) == (TLS, "second:1", 2)
    # Its span is not known: it is still that connection's.
    assert blame(pause("network", 10, 50, connection=3, op=8), spans) == (WAIT, "recvfrom", 3)


def test_a_receive_of_what_nobody_asked_for_is_its_connections() -> None:
    """As of a greeting that does not come: an exchange is only told when there is one."""
    spans = partition.spans([connection(1, started=10, established=20)], [], [], {}, END)
    one = pause("network", 30, 900_000, connection=1, op=wire.OP_NUMBERS["recvfrom"])
    assert blame(one, spans) == (WAIT, "192.0.2.7:443", 1)


@pytest.mark.parametrize("waits", ["network", "poll"])
def test_who_is_woken_by_what_a_peer_says_first_waited_for_that(waits: str) -> None:
    ms = 1_000_000
    greeting = exchange(1, 0, 0, 600 * ms, 600 * ms)
    record = connection(1, started=1 * ms, established=2 * ms)
    spans = partition.spans([record], [greeting], [], {}, 900 * ms)
    number = 1 if waits == "network" else 0
    one = pause(waits, 3 * ms, 599 * ms, connection=number)
    assert blame(one, spans) == (WAIT, "192.0.2.7:443", 1)
    # Whatever ended long before was something else.
    if waits == "poll":
        assert blame(pause("poll", 3 * ms, 400 * ms), spans)[0] == OTHER


def test_a_poll_is_what_ended_first_after_it() -> None:
    spans = [Span(0, 500_000, WAIT, "slow:1", 1), Span(5, 150_000, WAIT, "quick:1", 2)]
    assert blame(pause("poll", 10, 149_000), spans)[1] == "quick:1"
    assert blame(pause("poll", 200_000, 400_000), spans)[1] == "slow:1"
    # The state changed, and then the thread was woken.
    spans = [Span(0, 99_990, CONNECT, "host:1", 1)]
    assert blame(pause("poll", 10, 100_000), spans)[0] == CONNECT


def test_of_spans_that_end_together_the_one_told_first_ended_a_poll() -> None:
    first, second = Span(0, 90, WAIT, "first:1", 1), Span(0, 90, WAIT, "second:1", 2)
    earlier = Span(-5, 90, WAIT, "earlier:1", 3)
    one = pause("poll", 10, 50)
    assert blame(one, [first, second, earlier])[1] == "first:1"
    assert blame(one, [earlier, second, first])[1] == "earlier:1"
    # Wherever in memory they are.
    assert blame(one, [second, first])[1] == "second:1"


def test_a_loose_span_is_second_choice() -> None:
    spans = [Span(0, 100, WAIT, "loose:1", 1, loose=True), Span(0, 900, CONNECT, "sure:1", 2)]
    assert blame(pause("poll", 10, 90), spans)[1] == "sure:1"
    assert blame(pause("poll", 10, 90), spans[:1])[1] == "loose:1"


@pytest.mark.parametrize(("result", "part"), [(0, SLEEP), (1, OTHER)])
def test_a_poll_with_nothing_under_way_was_a_sleep_if_its_time_ended_it(
    result: int, part: int
) -> None:
    calls = [blocked(7, 10, 60, result=result), blocked(8, 10, 60, result=1 - result)]
    op = wire.OP_NUMBERS["epoll_wait"]
    one = pause("poll", 10, 50, tid=7, op=op)
    assert blame(one, [], calls) == (part, "epoll_wait", 0)


def test_subjects_of_files_and_calls() -> None:
    calls = [blocked(7, 10, 60, path=b"/tmp/data\0")]
    op = wire.OP_NUMBERS["fsync"]
    assert blame(pause("file", 10, 50, tid=7, op=op), [], calls)[1] == "/tmp/data"
    assert blame(pause("file", 10, 50, tid=8, op=op), [], calls)[1] == "fsync"
    assert blame(pause("other", 10, 50, number=999), [])[1] == "syscall 999"
    assert blame(pause("fault", 10, 50), [])[1] == "page fault"


# ---- dividing


def divide(
    cpu: tuple[int, int, int, int] = (0, 0, 0, 0),
    steal: int | None = 0,
    pauses: tuple[wire.PauseRecord, ...] = (),
    spans: tuple[Span, ...] = (),
    **idle: int,
) -> partition.Division:
    figures = [idle.get(name, 0) for name in wire.WAITS[:8]]
    found = partition.blames(pauses, spans, ())
    return partition.divide((START, END), cpu, figures, steal, pauses, found, spans)


def named(division: partition.Division) -> dict[str, int]:
    return {name: ns for name, ns in zip(partition.PARTS, division.parts, strict=True) if ns}


def test_what_nothing_tells_of_is_other() -> None:
    assert named(divide()) == {"other": END - START}


def test_cpu_run_queue_and_what_was_stolen() -> None:
    division = divide((400_000, 300_000, 90_000, 50_000), steal=40_000)
    # A quarter of the CPU time ran beside other CPU time; so did what was stolen of it.
    assert named(division) == {
        "cpu": 270_000, "steal": 30_000, "runqueue": 50_000, "other": 650_000,
    }  # fmt: skip
    assert division.row()[STEAL] == 30_000
    assert divide((1, 1, 0, 0), steal=None).row()[STEAL] is None
    assert divide((500, 500, 0, 0), steal=10_000).parts[CPU] == 0


def test_sleep_lock_and_files_are_as_the_kernel_summed_them_up() -> None:
    division = divide(
        pauses=(pause("file", START, START + 40_000, op=wire.OP_NUMBERS["fsync"]),),
        sleep=100_000, lock=200_000, file=50_000, fault=10_000, child=5,
    )  # fmt: skip
    assert named(division) == {
        "sleep": 100_000, "lock": 200_000, "file": 60_000, "other": 640_000,
    }  # fmt: skip
    assert division.shares_row() == [["file", "fsync", 40_000]]


def test_the_network_is_divided_by_what_ended_each_pause() -> None:
    spans = (
        Span(START, START + 200_000, CONNECT, "a:1", 1),
        Span(START + 200_000, START + 900_000, WAIT, "a:1", 1),
    )
    pauses = (
        pause("poll", START, START + 200_000),
        pause("network", START + 200_500, START + 899_000, connection=1),
    )
    division = divide(pauses=pauses, spans=spans, poll=200_000, network=698_500)
    assert named(division) == {"connect": 200_000, "wait": 698_500, "other": 101_500}
    assert division.shares_row() == [["wait", "a:1", 698_500], ["connect", "a:1", 200_000]]


def test_short_pauses_are_spread_over_what_was_under_way() -> None:
    spans = (
        Span(START, START + 300_000, WAIT, "a:1", 1),
        Span(START + 300_000, START + 400_000, WAIT, "b:1", 2),
        Span(START + 400_000, START + 900_000, TRANSFER, "b:1", 2),
    )
    # The one that is long enough to be told takes its part of the span with it.
    told = (pause("network", START + 400_000, START + 900_000, connection=2),)
    division = divide(pauses=told, spans=spans, network=700_000)
    assert named(division) == {"wait": 200_000, "transfer": 500_000, "other": 300_000}
    assert division.shares == {
        (WAIT, "a:1"): 150_000, (WAIT, "b:1"): 50_000, (TRANSFER, "b:1"): 500_000,
    }  # fmt: skip


def test_a_pause_counts_within_the_execution_only() -> None:
    pauses = (pause("network", START - 500_000, START + 100_000, connection=1),)
    division = divide(pauses=pauses, network=100_000)
    assert named(division) == {"wait": 100_000, "other": 900_000}


MOMENTS = st.integers(START - 200_000, END + 200_000)
STRETCHES = st.tuples(MOMENTS, MOMENTS).map(sorted)
SPANS = st.lists(
    st.builds(
        lambda stretch, part, host, number, loose: Span(*stretch, part, host, number, loose),
        STRETCHES, st.sampled_from([DNS, CONNECT, TLS, WAIT, TRANSFER]),
        st.sampled_from(["a:1", "b:1"]), st.integers(0, 3), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip
FIGURES = st.integers(0, 3 * (END - START))


@st.composite
def disjoint_pauses(draw: st.DrawFn) -> list[wire.PauseRecord]:
    edges = sorted(draw(st.lists(MOMENTS, unique=True, max_size=24)))
    return [
        pause(
            draw(st.sampled_from(wire.WAITS)), start, end,
            connection=draw(st.integers(0, 3)), tid=draw(st.integers(0, 2)),
        )
        for start, end in zip(edges[::2], edges[1::2], strict=False)
    ]  # fmt: skip


@given(
    cpu=st.tuples(FIGURES, FIGURES, FIGURES, FIGURES),
    idle=st.lists(FIGURES, min_size=8, max_size=8),
    steal=st.none() | FIGURES,
    pauses=disjoint_pauses(),
    spans=SPANS,
    ended=st.integers(START, END),
)
def test_whatever_is_recorded_the_parts_sum_to_the_duration(
    cpu: tuple[int, ...],
    idle: list[int],
    steal: int | None,
    pauses: list[wire.PauseRecord],
    spans: list[Span],
    ended: int,
) -> None:
    found = partition.blames(pauses, spans, ())
    division = partition.divide((START, ended), cpu, idle, steal, pauses, found, spans)
    assert sum(division.parts) == ended - START
    assert all(ns >= 0 for ns in division.parts)
    assert all(ns >= 0 for ns in division.shares.values())
    known = {(span.part, span.subject) for span in spans}
    for (part, subject), _ in division.shares.items():
        assert (part, subject) in known or part in (WAIT, FILE, SLEEP, LOCK)


@given(pauses=disjoint_pauses(), spans=SPANS)
def test_every_pause_is_blamed_on_something_of_its_connection(
    pauses: list[wire.PauseRecord], spans: list[Span]
) -> None:
    found: list[Blame] = partition.blames(pauses, spans, ())
    assert len(found) == len(pauses)
    for each, why in zip(pauses, found, strict=True):
        if each.waits == wire.WAITS_NETWORK and each.connection:
            own = [span for span in spans if span.connection == each.connection]
            under_way = [span for span in own if span.start < each.ended <= span.end]
            if under_way:
                assert why.connection == each.connection
