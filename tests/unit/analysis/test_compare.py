"""Two executions, or the slow and the usual ones, side by side."""

from __future__ import annotations

from typing import Any

import pytest
import support_traces as traces

from lambdatrace.analysis.compare import compare, usual_and_slow
from lambdatrace.analysis.summary import read_execution
from lambdatrace.errors import NotFoundError
from lambdatrace.model import Execution, Part

MS = traces.MS


def execution(ms: float, *destinations: list[Any], name: str = "a", **changes: Any) -> Execution:
    return read_execution(
        traces.summary(name, duration_ns=round(ms * MS), destinations=[*destinations], **changes)
    )


def partition(**parts: float) -> list[int | None]:
    return [round(parts.get(part, 0) * MS) if part != "steal" else None for part in Part]


def test_two_executions() -> None:
    a = execution(100, traces.destination(time=10, wait=[5]), partition=partition(cpu=90, wait=10))
    b = execution(
        300,
        traces.destination(time=200, wait=[150, 40], connections=2),
        traces.destination(port=80, time=5),
        name="b",
        partition=partition(cpu=95, wait=205),
    )
    found = compare([a], [b])
    assert (found.a.execution_id, found.b.execution_id) == ("a", "b")
    first, second = found.parts[:2]
    assert (first.part, first.a_ns, first.b_ns, first.difference_ns) == (
        Part.WAIT, 10 * MS, 205 * MS, 195 * MS,
    )  # fmt: skip
    assert (second.part, second.difference_ns) == (Part.CPU, 5 * MS)
    assert next(row for row in found.parts if row.part is Part.STEAL).difference_ns is None
    same, new = found.places
    assert (same.port, same.difference_ns) == (443, 190 * MS)
    assert same.b is not None
    assert (same.b.connections, same.b.requests, same.b.longest_wait_ns) == (2, 2, 150 * MS)
    assert (new.port, new.a, new.difference_ns) == (80, None, 5 * MS)


def test_what_differs_most_comes_first_whether_more_or_less() -> None:
    a = execution(1, partition=partition(dns=500, tls=10))
    b = execution(1, partition=partition(dns=1, tls=30))
    assert [row.part for row in compare([a], [b]).parts[:2]] == [Part.DNS, Part.TLS]


def test_addresses_of_a_host_are_one_place() -> None:
    a = execution(
        1, traces.destination("10.0.0.1", host="db"), traces.destination("10.0.0.2", host="db")
    )
    (place,) = compare([a], [a]).places
    assert (place.host, place.a and place.a.connections) == ("db", 2)


def test_means_of_several() -> None:
    side = [
        execution(100, traces.destination(time=10, wait=[4])),
        execution(200, partition=partition(cpu=30)),
    ]
    found = compare(side, side).a
    assert (found.execution_id, found.executions, found.duration_ns) == (None, 2, 150 * MS)
    (figures,) = found.places.values()
    assert (figures.time_ns, figures.connections, figures.longest_wait_ns) == (5 * MS, 0.5, 4 * MS)
    # Of those of which it is known.
    assert found.parts[Part.CPU] == 30 * MS
    assert found.parts[Part.STEAL] is None


def parted(executions: list[Execution]) -> tuple[list[Execution], list[Execution]]:
    return usual_and_slow(executions, lambda one: one.duration_ns)


def test_the_usual_and_the_slow_ones() -> None:
    usual, slow = parted([execution(ms) for ms in range(1, 201)])
    assert [one.duration_ns // MS for one in slow] == [199, 200]
    assert [one.duration_ns // MS for one in usual] == list(range(81, 121))
    usual, slow = parted([execution(ms) for ms in range(10)])
    assert ([len(usual), len(slow)], slow[0].duration_ns) == ([2, 1], 9 * MS)


def test_too_few_to_compare() -> None:
    with pytest.raises(NotFoundError, match="9 executions are too few"):
        parted([execution(1)] * 9)
