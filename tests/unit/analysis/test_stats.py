"""Distributions, histograms, limits, and the largest part."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.largest import Largest, largest
from lambdatrace.analysis.quantiles import nearest_rank
from lambdatrace.analysis.slo import broken, parse_slo, taken_ns
from lambdatrace.analysis.stats import distributions, histogram
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.taken import taken
from lambdatrace.errors import UsageError
from lambdatrace.model import Execution, Part

MS = traces.MS


def execution(ms: float = 2_000, wait: float | None = None, **changes: Any) -> Execution:
    if wait is not None:
        others = [0] * len(Part)
        others[list(Part).index(Part.WAIT)] = round(wait * MS)
        others[list(Part).index(Part.CPU)] = round((ms - wait) * MS)
        changes["partition"] = [*others[:10], None, 0]
    return read_execution(traces.summary(duration_ns=round(ms * MS), **changes))


def test_distributions_of_the_whole_and_of_each_part() -> None:
    rows = distributions(
        taken([execution(100 + n, wait=n) for n in range(1, 101)] + [execution(5)])
    )
    by_name = {row.name: row for row in rows}
    assert [row.name for row in rows] == ["total", *Part]
    assert (by_name["total"].count, by_name["wait"].count) == (101, 100)
    wait = by_name["wait"]
    assert (wait.p50, wait.p90, wait.p99, wait.max) == (50 * MS, 90 * MS, 99 * MS, 100 * MS)
    assert wait.share == pytest.approx(5_050 / 15_050)
    assert by_name["total"].share == 1
    steal = by_name["steal"]
    assert (steal.count, steal.p50, steal.share) == (0, None, None)


@given(st.lists(st.lists(st.none() | st.integers(0, 2**60), min_size=12, max_size=12)))
def test_distributions_are_those_of_what_is_known(partitions: list[list[int | None]]) -> None:
    executions = [
        read_execution(traces.summary(duration_ns=n + 1, partition=partition))
        for n, partition in enumerate(partitions)
    ]
    rows = {row.name: row for row in distributions(taken(executions))}
    for place, part in enumerate(Part):
        known = {n: row[place] for n, row in enumerate(partitions) if row[place] is not None}
        values = sorted(known.values())
        row = rows[part]
        assert row.count == len(values)
        assert (row.p50, row.p99) == (nearest_rank(values, 50), nearest_rank(values, 99))
        assert row.max == max(values, default=None)
        whole = sum(n + 1 for n in known)
        assert row.share == (sum(values) / whole if whole else None)


def test_nothing_has_no_distribution() -> None:
    assert all(
        row.count == 0 and row.p50 is None and row.share is None for row in distributions(taken([]))
    )
    assert histogram([]) == []


TIMES = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)


@given(TIMES, st.integers(1, 20))
def test_every_value_is_in_its_bin(values: list[int], count: int) -> None:
    bins = histogram(values, count)
    assert len(bins) <= count
    assert sum(each.count for each in bins) == len(values)
    assert (bins[0].from_ns, bins[-1].to_ns) == (min(values), max(values) + 1)
    for one, other in pairwise(bins):
        assert one.to_ns == other.from_ns
    for each in bins:
        assert each.count == sum(each.from_ns <= value < each.to_ns for value in values)


@given(TIMES, st.sampled_from([1, 50, 90, 95, 99, 100]))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    values.sort()
    found = nearest_rank(values, percent)
    assert found in values
    assert found is not None
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (None, {}),
        ("total=500", {"total": 500 * MS}),
        (" total = 500 , connect=0.5", {"total": 500 * MS, "connect": 500_000}),
        ("runqueue=0", {"runqueue": 0}),
    ],
)
def test_limits(text: str | None, limits: dict[str, int]) -> None:
    assert parse_slo(text) == limits


@pytest.mark.parametrize(
    "text", ["", "total", "total=", "total=-1", "total=1,total=2", "net=1", "total=1ms", "p99=1"]
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(UsageError, match="is not a limit"):
        parse_slo(text)


def test_broken_limits() -> None:
    found = taken_ns(execution(200, wait=150))
    assert broken({"total": 200 * MS, "wait": 149 * MS, "steal": 0, "dns": 0}, found) == ["wait"]
    assert broken({"wait": 0}, taken_ns(execution(200))) == []


def test_the_largest_part_and_what_most_of_it_went_into() -> None:
    shares = [["cpu", "", 5], ["wait", "api:443", 80 * MS], ["wait", "db:5432", 70 * MS]]
    found = largest(execution(200, wait=150, shares=shares))
    assert found == Largest(Part.WAIT, "api:443", 150 * MS)
    assert largest(execution(200, wait=10)) == Largest(Part.CPU, None, 190 * MS)
    assert largest(execution(200)) is None
    assert largest(execution(0, wait=0)) is None
