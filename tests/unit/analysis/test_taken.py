"""What `stats` reads of an index row without reading all of it is what reading all of it tells."""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as some

from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.taken import Taken, taken
from lambdatrace.items import row_of, summary_items
from lambdatrace.model import Part, Status

if TYPE_CHECKING:
    from lambdatrace.items import Row

PARTS = some.lists(
    some.none() | some.integers(0, 2**60), min_size=len(Part), max_size=len(Part)
) | some.none()  # fmt: skip
SUMMARIES = some.fixed_dictionaries(
    {
        "function": some.text(min_size=1, max_size=8) | some.sampled_from(['"status":"ok"', "\\"]),
        "duration_ns": some.integers(0, 2**60),
        "status": some.sampled_from(sorted(Status)),
        "cold_start": some.booleans(),
        "partition": PARTS,
    }
)


def row(**changes: Any) -> Row:
    """The index row of a summary."""
    return row_of(summary_items({**traces.summary(**changes), "chunks": 0}, 0)[1])


def known(found: Taken) -> tuple[Any, ...]:
    columns = {name: sorted(column) for name, column in found.columns.items()}
    return columns, found.functions, found.statuses, found.cold_starts


@given(some.lists(SUMMARIES, max_size=4), some.integers(0, 4))
def test_rows_tell_what_whole_summaries_do(summaries: list[dict[str, Any]], at: int) -> None:
    rows = [row(**each) for each in summaries]
    whole = taken(read_execution(traces.summary(**each)) for each in summaries)
    together = Taken()
    for some_rows in (rows[:at], rows[at:]):
        part = Taken()
        part.add(some_rows)
        assert not part.unreadable
        together.merge(marshal.loads(marshal.dumps(part.portable())))
    assert known(together) == known(whole)


def test_an_older_agent_did_not_tell_parts() -> None:
    found = Taken()
    found.add([row(duration_ns=5)])
    assert "partition" not in traces.summary()
    assert [each.tolist() for each in found.columns.values()] == [[5]] + [[-1]] * len(Part)


def test_of_one_function_only() -> None:
    found = Taken("checkout")
    found.add([row(function="checkout"), row(function="other")])
    assert found.functions == {"checkout": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"duration_ns": -1}, {"duration_ns": None}, {"duration_ns": "5"}, {"duration_ns": 2**61},
        {"duration_ns": 1.5}, {"status": "fine"}, {"status": None}, {"cold_start": 1},
        {"partition": [1, 2]}, {"partition": [[]] * 12}, {"partition": ["1"] * 12},
        {"partition": [-5] * 12}, {"function": 5},
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_left_out_and_said(changes: dict[str, Any]) -> None:
    found = Taken()
    found.add([row(**changes), row()])
    assert len(found.durations_ns) == 1
    assert len(found.unreadable) == 1
