"""Finding executions in a real store."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
import support_traces as traces

from lambdatrace.analysis import lookup
from lambdatrace.analysis.compare import usual_and_slow
from lambdatrace.analysis.lookup import (
    find,
    read_slowest,
    read_usual_and_slow,
    read_window,
    recent,
)
from lambdatrace.analysis.skim import begins_with, duration_ns_of, function_of
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.times import Window
from lambdatrace.analysis.trace import read_trace
from lambdatrace.errors import CorruptItemError, NewerSchemaError, NotFoundError, UsageError
from lambdatrace.items import CHUNK, INDEX, SCHEMA_VERSION, SUMMARY, index_bucket, read_summary
from lambdatrace.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lambdatrace.items import Item
    from lambdatrace.model import Execution
    from lambdatrace.store.base import Store

NOW = traces.STARTED_NS
MINUTE = 60 * 1_000 * traces.MS
HOUR = Window(NOW - 60 * MINUTE, NOW)


def at(minutes_ago: int, execution_id: str, **changes: object) -> list[Item]:
    started = NOW - minutes_ago * MINUTE
    return traces.execution(execution_id=execution_id, started_ns=started, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = traces.write(
        tmp_path / "store.db",
        at(1, "aaaa-1", function="thumbnails"),
        at(2, "aaaa-2", duration_ns=9_000 * traces.MS),
        at(3, "bbbb-1"),
        at(600, "cccc-1"),
    )
    opened = open_store(url)
    yield opened
    opened.close()


def found_id(store: Store, wanted: str, function: str | None = None) -> str:
    return read_trace(find(store, wanted, HOUR, function).items).execution.execution_id


def test_an_exact_id_is_found_outside_the_window(store: Store) -> None:
    assert found_id(store, "cccc-1") == "cccc-1"


def test_a_unique_prefix(store: Store) -> None:
    assert found_id(store, "bb") == "bbbb-1"


def test_latest_and_slowest(store: Store) -> None:
    assert found_id(store, "@latest") == "aaaa-1"
    assert found_id(store, "@slowest") == "aaaa-2"
    assert found_id(store, "@latest", "checkout") == "aaaa-2"
    assert found_id(store, "@slowest", "thumbnails") == "aaaa-1"


def test_an_exact_id_needs_no_index() -> None:
    class WithoutIndex:
        def get(self, execution_id: str) -> list[Item]:
            return at(1, execution_id)

        def index(self, since_ns: int, until_ns: int) -> Iterator[Item]:
            raise AssertionError("the index was read")

        def close(self) -> None:
            """Nothing to release."""

    assert found_id(WithoutIndex(), "aaaa") == "aaaa"


def test_an_ambiguous_prefix_names_the_candidates(store: Store) -> None:
    with pytest.raises(UsageError, match="aaaa-1, aaaa-2"):
        find(store, "aaaa", HOUR)


@pytest.mark.parametrize(
    "wanted", ["dddd", "cccc", "x" * 5_000, "\udcff", "a\x1b[31m", index_bucket(NOW, 0)]
)
def test_unknown(store: Store, wanted: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find(store, wanted, HOUR)
    assert caught.value.hint


@pytest.mark.parametrize("wanted", ["", " ", "@last"])
def test_what_no_execution_can_be_called(store: Store, wanted: str) -> None:
    with pytest.raises(UsageError):
        find(store, wanted, HOUR)


@pytest.mark.parametrize("wanted", ["@latest", "@slowest"])
def test_an_empty_window(store: Store, wanted: str) -> None:
    with pytest.raises(NotFoundError, match="'nobody'"):
        find(store, wanted, HOUR, "nobody")


def test_of_several_executions_with_one_id_the_latest(tmp_path: Path) -> None:
    url = traces.write(
        tmp_path / "store.db",
        at(9, "same", status="error", duration_ns=9, function="first"),
        at(2, "same", status="ok", duration_ns=2),
    )
    found = find(open_store(url), "same", HOUR)
    assert found.attempts == 2
    assert read_trace(found.items).execution.status == "ok"
    slowest = find(open_store(url), "@slowest", HOUR)
    assert read_trace(slowest.items).execution.function == "first"


def test_events_without_a_summary(tmp_path: Path) -> None:
    items = traces.execution([traces.connection()] * 400, execution_id="cut")
    url = traces.write(tmp_path / "store.db", [item for item in items if item.kind == CHUNK])
    with pytest.raises(CorruptItemError, match="no summary"):
        find(open_store(url), "cut", HOUR)


def test_an_index_row_without_its_execution(tmp_path: Path) -> None:
    rows = [item for item in at(1, "gone") if item.kind == INDEX]
    url = traces.write(tmp_path / "store.db", rows)
    with pytest.raises(CorruptItemError, match="does not have it"):
        find(open_store(url), "@latest", HOUR)


def test_rows_that_cannot_be_read_do_not_hide_the_others(tmp_path: Path) -> None:
    newer, corrupt = at(1, "newer"), at(2, "corrupt")
    for item in newer:
        item.schema = SCHEMA_VERSION + 1
    for item in corrupt:
        item.body = b"{" if item.kind in (INDEX, SUMMARY) else item.body
    url = traces.write(tmp_path / "store.db", newer, corrupt, at(3, "good-1"))
    store = open_store(url)
    contents = read_window(store, HOUR)
    assert [one.execution_id for one in contents.executions] == ["good-1"]
    assert [type(one) for one in contents.unreadable] == [NewerSchemaError, CorruptItemError]
    assert found_id(store, "good") == "good-1"
    with pytest.raises(NewerSchemaError):  # what it stands for may be the one
        find(store, "nothing", HOUR)
    latest = find(store, "@latest", HOUR)
    assert latest.items[0].execution_id == "good-1"
    assert [type(error) for error in latest.left_out] == [NewerSchemaError, CorruptItemError]


def test_a_window_of_one_function(store: Store) -> None:
    assert len(read_window(store, HOUR).executions) == 3
    assert len(read_window(store, HOUR, "thumbnails").executions) == 1


def usual_for(store: Store, one: Execution) -> int:
    """How many executions say what is usual for this one."""
    return recent(store, one.started_at_ns, one.function).usual(one).executions


def test_comparable_executions_are_those_of_the_function_that_ended_well_in_the_day_before(
    tmp_path: Path,
) -> None:
    known = {"partition": traces.partition()}
    url = traces.write(
        tmp_path / "store.db",
        at(1, "later", **known),
        at(5, "this", **known),
        at(6, "one", **known),
        at(7, "failed", status="error", **known),
        at(8, "of-another", function="thumbnails", **known),
        at(9, "without"),
        at(10, "corrupt", duration_ns=-1, **known),
        at(23 * 60, "two", **known),
        at(25 * 60, "long-ago", **known),
    )
    opened = open_store(url)
    try:
        this = read_trace(opened.get("this")).execution
        assert usual_for(opened, this) == 2
        oldest = read_trace(opened.get("long-ago")).execution
        assert usual_for(opened, oldest) == 0
    finally:
        opened.close()


def opened_at(store: Store, name: str) -> int:
    """When an execution began."""
    return read_trace(store.get(name)).execution.started_at_ns


def test_what_is_usual_is_not_looked_for_without_end(tmp_path: Path) -> None:
    known = {"partition": traces.partition(), "duration_ns": 5}
    mine = [at(20 + n, f"mine-{n}", **known) for n in range(120)]
    others = [at(200, f"other-{n}", function="busy", **known) for n in range(600)]
    hidden = [at(300, "hidden", **known)]
    opened = open_store(traces.write(tmp_path / "store.db", at(1, "this"), *mine, *others, *hidden))
    try:
        this = read_trace(opened.get("this")).execution
        assert usual_for(opened, this) == 100
        first = read_trace(opened.get("mine-119")).execution
        assert usual_for(opened, first) == 0
        assert recent(opened, first.started_at_ns).is_cut
        assert not recent(opened, opened_at(opened, "hidden")).is_cut
        # As `list` has it.
        assert read_window(opened, Window(0, this.started_at_ns)).recent.is_cut
    finally:
        opened.close()


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Store]:
    """200 executions of two functions; the slowest are two of one length."""
    url = traces.write(
        tmp_path / "many.db",
        *(
            at(
                1,
                f"{n:04d}-é",
                function=("checkout", 'a "b"')[n % 2],
                duration_ns=(n * 37 % 200 + (n in (40, 42)) * 1_000) * traces.MS,
            )
            for n in range(200)
        ),
    )
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.mark.parametrize("glanced", [True, False])
def test_what_is_skimmed_is_what_is_read(many: Store, glanced: bool) -> None:
    for row in many.index(0, NOW):
        assert row.glance is not None
        if not glanced:
            row.glance = None
        one = read_execution(read_summary(row))
        assert function_of(row) == one.function
        assert duration_ns_of(row) == one.duration_ns
        assert begins_with(row, one.execution_id[:3])
        assert not begins_with(row, "x")


@pytest.mark.parametrize("function", [None, "checkout", 'a "b"', "none"])
@pytest.mark.parametrize("most", [1, 2, 7, 8, 99, 100, 101, 200, 500])
def test_the_slowest_are_those_of_all(many: Store, function: str | None, most: int) -> None:
    every = read_window(many, HOUR, function).executions
    ordered = sorted(every, key=lambda one: one.duration_ns, reverse=True)
    found = read_slowest(many, HOUR, function, most)
    assert found.executions == ordered[:most]
    assert found.more == max(0, len(every) - most)
    if function != "none":
        assert found_id(many, "@slowest", function) == ordered[0].execution_id


@pytest.mark.parametrize("function", [None, "checkout"])
def test_the_usual_and_the_slow_ones_are_those_of_all(
    tmp_path: Path, many: Store, function: str | None
) -> None:
    every = read_window(many, HOUR, function).executions
    usual, slow, contents = read_usual_and_slow(many, HOUR, function)
    assert (usual, slow) == usual_and_slow(every, lambda one: one.duration_ns)
    assert contents.unreadable == []
    assert len(contents.executions) == len(usual) + len(slow) < len(every) / 4

    # One that can be skimmed, and not read: all are read then, without it.
    [row] = [each for each in many.index(0, NOW) if begins_with(each, slow[0].execution_id)]
    file = sqlite3.connect(tmp_path / "many.db")
    file.execute(
        "UPDATE items SET body = ? WHERE execution_id = ? AND timestamp_nano = ? AND tie = ?",
        (row.body[: len(row.body) // 2], *row.key),
    )
    file.commit()
    file.close()
    usual, slow, contents = read_usual_and_slow(many, HOUR, function)
    left = read_window(many, HOUR, function)
    assert len(left.executions) == len(every) - 1
    assert (usual, slow) == usual_and_slow(left.executions, lambda one: one.duration_ns)
    assert len(contents.unreadable) == 1


def test_of_many_executions_few_are_read(many: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`show @slowest` is there within a second also where there are a hundred thousand."""
    read: list[object] = []

    def counted(summary: dict[str, object]) -> Execution:
        read.append(summary["execution_id"])
        return read_execution(summary)

    monkeypatch.setattr(lookup, "read_execution", counted)
    find(many, "@slowest", HOUR)
    assert len(read) < 20
    read.clear()
    find(many, "0123", HOUR)
    assert read == ["0123-é"]
    read.clear()
    read_slowest(many, HOUR, None, 3)
    assert len(read) == 3
    read.clear()
    assert read_window(many, HOUR, "checkout", 3).more == 97
    assert len(read) == 3
