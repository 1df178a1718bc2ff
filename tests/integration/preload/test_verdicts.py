"""The fault world for a function without any privilege: the same verdicts, as far as can be seen.

A choice of its cases, one of each kind; `tests/support_verdicts.py --preload` tries them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support_verdicts import Case, cases, judged, open_fault_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_world import World

CHOSEN = (
    "slow-dns", "no-such-name", "refused", "syn-dropped", "slow-tls", "slow-first-byte",
    "packet-loss", "cpu-hog", "sleep", "lock", "fsync", "stale", "hangs", "healthy-destinations",
)  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with open_fault_world() as made:
        yield made


@pytest.mark.parametrize("name", CHOSEN)
def test_the_verdict_is_what_can_be_seen(made: World, name: str) -> None:
    (case,) = [each for each in cases() if each.name == name]
    told = judged(made, case, "preload")
    assert not told.mistakes(), told.verdict["text"]
    why = told.document["execution"]["backend_why"]
    assert why == "asked for" if case.as_root else "EPERM" in why


def test_every_case_is_one_of_the_fault_world() -> None:
    known: dict[str, Case] = {case.name: case for case in cases()}
    assert set(CHOSEN) <= set(known)
    assert not any(known[name].preloaded for name in CHOSEN if name != "cpu-hog")
