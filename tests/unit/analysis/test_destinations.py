"""Destinations over many executions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.destinations import destination_rows
from lambdatrace.analysis.summary import read_execution

if TYPE_CHECKING:
    from lambdatrace.model import Execution

MS = traces.MS


def execution(*destinations: list[object], execution_id: str = "one") -> Execution:
    return read_execution(traces.summary(execution_id, destinations=list(destinations)))


def test_figures_are_summed_over_executions() -> None:
    rows = destination_rows(
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
    assert (first.connect_p50_ns, first.connect_p95_ns) == (10 * MS, 20 * MS)


def test_a_host_is_one_destination_whatever_its_addresses() -> None:
    rows = destination_rows(
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
    rows = destination_rows(
        [execution(traces.destination(port=53), traces.destination(port=53, protocol="udp"))]
    )
    assert sorted(row.protocol for row in rows) == ["tcp", "udp"]


def test_what_never_connected_has_no_connect_times() -> None:
    (row,) = destination_rows([execution(traces.destination(connect=[]))])
    assert (row.connect_p50_ns, row.connect_p95_ns, row.connect_p99_ns) == (None, None, None)


def test_quantiles_are_times_that_were_measured() -> None:
    executions = [execution(traces.destination(connect=[ms])) for ms in range(1, 101)]
    (row,) = destination_rows(executions)
    assert row.connect_p50_ns == 50 * MS
    assert row.connect_p95_ns == 95 * MS
    assert row.connect_p99_ns == 99 * MS


def test_a_selection_of_times_stands_for_all_connections() -> None:
    many = execution(traces.destination(connections=3_200, connect=[100] * 32))
    few = [execution(traces.destination(connect=[1])) for _ in range(100)]
    (row,) = destination_rows([many, *few])
    assert row.connect_p50_ns == 100 * MS


def test_nothing_in_nothing_out() -> None:
    assert destination_rows([]) == []
    assert destination_rows([execution()]) == []


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=31))
def test_quantiles_against_a_plain_definition(times_ns: list[int]) -> None:
    row = traces.destination(connections=len(times_ns))
    row[-1] = times_ns
    (found,) = destination_rows([execution(row)])
    ordered = sorted(times_ns)
    for share, value in ((50, found.connect_p50_ns), (99, found.connect_p99_ns)):
        assert value == ordered[-(-share * len(ordered) // 100) - 1]
