"""The fault world for who can only look: what can be seen is named, and nobody is accused falsely.

A choice of its cases; `make verdicts ARGS=--proc` tries them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support_verdicts import Case, cases, judged, open_fault_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_world import World

CHOSEN = (
    "slow-dns", "refused", "syn-dropped", "slow-tls", "slow-first-byte", "packet-loss",
    "cpu-hog", "own-cpu", "own-competition", "sleep", "hangs", "healthy-destinations",
    "healthy-as-usual",
)  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with open_fault_world() as made:
        yield made


@pytest.fixture(scope="module")
def late() -> list[str]:
    """The cases that the agent came too late to see."""
    return []


@pytest.mark.parametrize("name", CHOSEN)
def test_what_the_verdict_says_is_so(made: World, name: str, late: list[str]) -> None:
    (case,) = [each for each in cases() if each.name == name]
    told = judged(made, case, "proc")
    assert not told.mistakes(), told.verdict["text"]
    if told.came_late:
        late.append(name)
    assert len(late) < len(CHOSEN) / 3, f"too late: {late}"


def test_every_kind_of_cause_is_tried_that_it_can_see() -> None:
    known: dict[str, Case] = {case.name: case for case in cases()}
    chosen = {known[name].expected("proc") for name in CHOSEN}
    assert chosen == {case.expected("proc") for case in known.values()}
    assert chosen == {None, "other", "runqueue", "cpu.own"}
