"""Each cause of the fault world is named for what it is, and healthy executions are not accused.

`make verdicts` prints what each was taken for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support_verdicts import Case, cases, fault_world, judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_world import World

# Where `show` has the rows that evidence refers to.
ARRAYS = {
    "connection": "connections",
    "namelookup": "namelookups",
    "exchange": "exchanges",
    "blocked": "blocked",
    "pause": "pauses",
    "process": "processes",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fault_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_verdict_is_right(made: World, case: Case) -> None:
    told = judged(made, case)
    assert not told.mistakes(), told.verdict["text"]
    verdict, document = told.verdict, told.document
    assert 0 <= verdict["share"] <= 1
    assert (verdict["destination"] or "") in verdict["text"]
    if case.cause is not None:
        assert verdict["evidence"]
    for row in verdict["evidence"]:
        kind, number = row["kind"], row["number"]
        rows = [document["execution"]] if kind == "execution" else document[ARRAYS[kind]]
        assert 1 <= number <= len(rows)


def test_there_are_all_the_causes_that_the_product_promises_to_tell_apart() -> None:
    promised = {case.cause for case in cases()}
    assert len(promised) >= 18
    assert sum(case.cause is None for case in cases()) >= 3
