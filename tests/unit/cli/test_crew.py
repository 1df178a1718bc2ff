"""Counting in several processes gives what counting in one does."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest
import support_traces as traces

from lambdatrace.analysis.destinations import By, Tally
from lambdatrace.analysis.tallying import Tallied
from lambdatrace.analysis.times import Window
from lambdatrace.cli.crew import Crew
from lambdatrace.errors import StoreError
from lambdatrace.items import INDEX, row_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.items import Row

WINDOW = Window(traces.STARTED_NS, traces.STARTED_NS + traces.HOUR_NS)
COUNT = 3_000


def empty() -> list[Tallied]:
    return [Tallied(Tally(By.HOST, WINDOW)), Tallied(Tally(By.PORT, WINDOW), "checkout")]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    generator = random.Random(3)
    found = []
    for number in range(COUNT):
        row = traces.destination(
            f"10.0.0.{generator.randrange(4)}", generator.choice([80, 443]),
            time=generator.random() * 100, connect=[generator.random()],
            wait=[generator.random() for _ in range(8)], requests=generator.choice([8, 30]),
        )  # fmt: skip
        items = traces.execution(
            execution_id=f"e{number}", destinations=[row], started_ns=WINDOW.since_ns + number,
            function=generator.choice(["checkout", "other"]), destinations_left_out=number % 3,
        )  # fmt: skip
        found += [item for item in items if item.kind == INDEX]
    found[7].body = b"{"
    return [row_of(item) for item in found]


def counted(rows: Sequence[Row], workers: int) -> Sequence[Tallied]:
    with Crew(empty, workers) as crew:
        crew.tally_rows(0, [rows[:700], rows[700:]])
        crew.tally_rows(1, [rows[: COUNT // 2]])
        return crew.results()


@pytest.mark.parametrize("workers", [1, 3])
def test_several_count_as_one_does(rows: list[Row], workers: int) -> None:
    alone, together = counted(rows, 0), counted(rows, workers)
    for one, other in zip(alone, together, strict=True):
        assert one.tally.rows() == other.tally.rows()
        assert (one.executions, one.destinations_left_out) == (
            other.executions, other.destinations_left_out,
        )  # fmt: skip
        assert [str(error) for error in one.unreadable] == [
            str(error) for error in other.unreadable
        ]
    assert alone[0].executions == COUNT - 1
    assert len(alone[0].unreadable) == 1


def test_a_worker_that_dies_is_an_error(rows: list[Row]) -> None:
    def count() -> None:
        for _ in range(50):
            crew.tally_rows(0, [rows])
        crew.results()

    with Crew(empty, 1) as crew:
        os.kill(crew._workers[0]._pid, signal.SIGKILL)
        with pytest.raises(StoreError, match="ended early"):
            count()


def test_workers_are_ended_when_something_goes_wrong() -> None:
    crew = Crew(empty, 2)
    pids = [worker._pid for worker in crew._workers]
    with contextlib.suppress(ZeroDivisionError), crew:
        raise ZeroDivisionError
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
