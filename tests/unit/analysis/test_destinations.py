"""Destinations over many executions."""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.destinations import CELLS, By, Tally, add_executions, stored_row
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.times import Window

if TYPE_CHECKING:
    from lambdatrace.model import Execution

MS = traces.MS


def execution(*destinations: list[object], execution_id: str = "one") -> Execution:
    return read_execution(traces.summary(execution_id, destinations=list(destinations)))


def test_figures_are_summed_over_executions() -> None:
    rows = traces.destination_rows(
        [
            execution(
                traces.destination(time=30, connect=[10]), traces.destination(port=80, time=5)
            ),
            # The same id once more: Lambda's retry of an asynchronous execution.
            execution(traces.destination(time=10, connect=[20], errors=1, connections=2)),
        ]
    )  # fmt: skip
    assert [(row.port, row.executions, row.connections) for row in rows] == [
        (443, 2, 3),
        (80, 1, 1),
    ]
    first = rows[0]
    assert (first.host, first.address, first.addresses) == (None, "10.0.0.7", 1)
    assert (first.errors, first.bytes_out, first.bytes_in) == (1, 200, 4_000)
    assert first.time_ns == 40 * MS
    assert (first.connect.p50, first.connect.p95) == (10 * MS, 20 * MS)


def test_a_host_is_one_destination_whatever_its_addresses() -> None:
    rows = traces.destination_rows(
        [
            execution(
                traces.destination("10.0.0.1", host="db.internal", connections=2),
                traces.destination("10.0.0.2", host="db.internal", connections=5),
                traces.destination("10.0.0.1", time=1),
            )
        ]
    )
    assert [(row.host, row.address, row.addresses) for row in rows] == [
        ("db.internal", "10.0.0.2", 2),
        (None, "10.0.0.1", 1),
    ]


def test_protocols_are_apart() -> None:
    rows = traces.destination_rows(
        [execution(traces.destination(port=53), traces.destination(port=53, protocol="udp"))]
    )
    assert sorted(row.protocol for row in rows) == ["tcp", "udp"]


def test_what_never_connected_has_no_connect_times() -> None:
    (row,) = traces.destination_rows([execution(traces.destination(connect=[]))])
    assert (row.connect.p50, row.connect.p95, row.connect.p99) == (None, None, None)


def test_quantiles_are_times_that_were_measured() -> None:
    executions = [execution(traces.destination(connect=[ms])) for ms in range(1, 101)]
    (row,) = traces.destination_rows(executions)
    assert row.connect.p50 == 50 * MS
    assert row.connect.p95 == 95 * MS
    assert row.connect.p99 == 99 * MS


def test_a_selection_of_times_stands_for_all_connections() -> None:
    many = execution(traces.destination(connections=3_200, connect=[100] * 32))
    few = [execution(traces.destination(connect=[1])) for _ in range(100)]
    (row,) = traces.destination_rows([many, *few])
    assert row.connect.p50 == 100 * MS


def test_nothing_in_nothing_out() -> None:
    assert traces.destination_rows([]) == []
    assert traces.destination_rows([execution()]) == []


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=31))
def test_quantiles_against_a_plain_definition(times_ns: list[int]) -> None:
    row = traces.destination(connections=len(times_ns))
    row[9] = times_ns
    (found,) = traces.destination_rows([execution(row)])
    ordered = sorted(times_ns)
    for share, value in ((50, found.connect.p50), (99, found.connect.p99)):
        assert value == ordered[-(-share * len(ordered) // 100) - 1]


def tallied(*executions: Execution, by: By = By.HOST, span_ns: int = traces.HOUR_NS) -> Tally:
    tally = Tally(by, Window(traces.STARTED_NS, traces.STARTED_NS + span_ns - 1))
    add_executions(tally, executions)
    return tally


def test_phases_reuse_and_requests() -> None:
    rows = [
        traces.destination(connections=3, reused=2, wait=[3, 5], requests=2, tls=[30], dns=[1]),
        traces.destination(connections=1, wait=[100], connect=[]),
    ]
    (row,) = traces.destination_rows([execution(row) for row in rows])
    assert (row.reused, row.reuse_ratio, row.requests) == (2, 0.5, 3)
    assert (row.wait.p50, row.wait.p99) == (5 * MS, 100 * MS)
    assert (row.tls.p50, row.dns.p50) == (30 * MS, 1 * MS)


def test_thinned_waits_stand_for_all_requests() -> None:
    many = execution(traces.destination(wait=[50] * 8, requests=80))
    few = [execution(traces.destination(wait=[1])) for _ in range(79)]
    (row,) = traces.destination_rows([many, *few])
    assert (row.wait.p50, row.wait.p99) == (50 * MS, 50 * MS)
    (row,) = traces.destination_rows([many, *few, *few])
    assert row.wait.p50 == 1 * MS


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (By.HOST, [("db", "10.0.0.2", 443, "tcp"), (None, "10.0.0.3", 80, "tcp")]),
        (By.ADDRESS, [("db", "10.0.0.1", 443, "tcp"), ("db", "10.0.0.2", 443, "tcp"),
                      (None, "10.0.0.3", 80, "tcp")]),
        (By.PORT, [(None, None, 443, "tcp"), (None, None, 80, "tcp")]),
        (By.FUNCTION, [(None, None, None, None)]),
    ],
)  # fmt: skip
def test_what_is_taken_together(by: By, expected: list[object]) -> None:
    one = execution(
        traces.destination("10.0.0.1", host="db", time=30),
        traces.destination("10.0.0.2", host="db", time=20, connections=2),
        traces.destination("10.0.0.3", 80, time=10),
    )
    rows = tallied(one, by=by).rows()
    assert [(row.host, row.address, row.port, row.protocol) for row in rows] == expected
    assert [row.function for row in rows] == (
        ["checkout"] if by is By.FUNCTION else [None] * len(rows)
    )
    assert all(row.executions == 1 for row in rows)
    assert sum(row.share for row in rows) == pytest.approx(1)


def test_change_is_of_the_time_an_execution_takes() -> None:
    before = tallied(execution(traces.destination(time=10)), execution(traces.destination(time=30)))
    now = tallied(execution(traces.destination(time=30)), execution(traces.destination(port=1)))
    by_port = {row.port: row.change for row in now.rows(before)}
    assert by_port == {443: 0.5, 1: None}


@pytest.mark.parametrize("by", list(By))
def test_the_order_is_not_that_of_reading(by: By) -> None:
    """Of rows with as much time; several processes read, and who is first is chance."""
    rows = [
        traces.destination(address, port, host=host, protocol=protocol)
        for address in ("10.0.0.1", "10.0.0.2")
        for port in (53, 80)
        for host in ("db", None)
        for protocol in ("tcp", "udp")
    ]
    found = [
        read_execution(traces.summary(function=name, destinations=rows[::order]))
        for name, order in (("a", 1), ("b", -1))
    ]
    assert tallied(*found, by=by).rows() == tallied(*found[::-1], by=by).rows()


def test_cells_are_stretches_of_the_window() -> None:
    at = [0, 1, CELLS - 1]
    step = traces.HOUR_NS // CELLS
    found = [
        read_execution(
            traces.summary(started_ns=traces.STARTED_NS + n * step, destinations=[
                traces.destination(time=10)])
        )
        for n in at
    ]  # fmt: skip
    (row,) = tallied(*found).rows()
    assert [n for n, time_ns in enumerate(row.cells) if time_ns] == at
    assert sum(row.cells) == row.time_ns == 30 * MS


ROWS = st.builds(
    traces.destination,
    st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    st.sampled_from([80, 443]),
    host=st.none() | st.just("a.test"),
    connections=st.integers(1, 50),
    time=st.floats(0, 10_000),
    connect=st.lists(st.floats(0, 10_000), max_size=32),
    wait=st.lists(st.floats(0, 10_000), max_size=8),
    requests=st.integers(0, 50),
)


@given(st.lists(st.lists(ROWS, max_size=3), min_size=1, max_size=6), st.integers(0, 6))
def test_tallies_of_halves_make_the_tally_of_the_whole(rows: list[list[object]], at: int) -> None:
    found = [execution(*each) for each in rows]
    halves = tallied(*found[:at])
    halves.merge(marshal.loads(marshal.dumps(tallied(*found[at:]).portable())))
    assert halves.rows() == tallied(*found).rows()


@given(ROWS)
def test_rows_are_read_as_they_are_stored(row: list[object]) -> None:
    (figures,) = execution(row).destinations
    again = stored_row(figures)
    assert execution(again).destinations == (figures,)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 5), (1, None), (1, 5), (2, "443"), (2, 70_000), (3, "sctp"), (4, -1), (4, "1"), (5, 1.5),
     (8, 2**64), (9, [-1]), (9, 5), (9, ["1"]), (12, None), (0, []), (3, {})],
)  # fmt: skip
def test_a_corrupt_destination_is_counted_and_hides_no_other(place: int, value: object) -> None:
    bad = traces.destination(wait=[1], requests=1)
    bad[place] = value
    tally = Tally(By.HOST, Window(0, 1))
    tally.add(0, "f", [traces.destination(port=1), bad, traces.destination(port=2)])
    assert sorted(row.port or 0 for row in tally.rows() if row.connections) == [1, 2]
    assert tally.corrupt == 1


def test_rows_of_an_impossible_length() -> None:
    tally = Tally(By.HOST, Window(0, 1))
    tally.add(0, "f", [[], [None, "a", 1, "tcp"], [None, "a", 1, "tcp", *[0] * 12], "text"])
    assert not [row for row in tally.rows() if row.connections]
    assert tally.corrupt == 4
