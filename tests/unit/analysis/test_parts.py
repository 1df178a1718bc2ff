"""The parts of an execution's time as rows: shares that sum to all of it, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.parts import part_rows, unknown_parts, why_unknown
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.trace import read_trace
from lambdatrace.model import Part

MS = traces.MS


def partition(**ns: int | None) -> list[int | None]:
    return [ns.get(part, 0) for part in Part]


@given(st.lists(st.integers(0, 2**50) | st.none(), min_size=12, max_size=12))
def test_shares_sum_to_all_of_it(values: list[int | None]) -> None:
    execution = read_execution(traces.summary(partition=values))
    assert execution.partition is not None
    rows = part_rows(execution.partition, execution, ())
    assert [row.ns for row in rows] == sorted((ns for ns in values if ns), reverse=True)
    assert sum(row.permille for row in rows) == (1_000 if rows else 0)
    whole = sum(row.ns for row in rows)
    for row in rows:
        assert abs(row.permille - 1_000 * row.ns / whole) < 1
    assert unknown_parts(execution.partition) == [
        part for part, ns in zip(Part, values, strict=True) if ns is None
    ]


def test_subjects_stand_with_their_part_the_largest_first() -> None:
    trace = read_trace(
        traces.execution(
            partition=partition(wait=90, file=5, other=20),
            shares=[["wait", "a:1", 30], ["file", "/tmp/a", 5], ["wait", "b:2", 60]],
            blocked=[traces.blocked("wait4", fd=-1)],
            pauses=[
                traces.pause("child", ended=10, op="wait4"),
                traces.pause("child", started=20, ended=40, op="wait4"),
            ],
        )
    )
    assert trace.execution.partition is not None
    rows = part_rows(trace.execution.partition, trace.execution, trace.pauses)
    assert {row.part: row.subjects for row in rows} == {
        Part.WAIT: (("b:2", 60), ("a:1", 30)),
        # Of which no summary tells.
        Part.OTHER: (("wait4", 30 * MS),),
        Part.FILE: (("/tmp/a", 5),),
    }


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"capture": ["dns"]}, "group cpu was not recorded"),
        ({"capture": [], "unavailable": {"cpu": "no tracepoint"}}, "recorded: no tracepoint"),
        ({"cpu": None, "edges": "extension"}, "Extensions API"),
        ({"cpu": None}, "nothing was seen of its threads"),
        ({}, "older"),
    ],
)
def test_why_nothing_is_known(changes: dict[str, Any], why: str) -> None:
    assert why in why_unknown(read_execution(traces.summary(**changes)))
