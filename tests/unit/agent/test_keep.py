"""Which executions' events are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.agent import keep
from lambdatrace.agent.keep import FEW, RECENT, Keep

MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "policy"),
    [("", "all"), ("all", "all"), ("slow", "slow"), ("errors", "errors"), ("1/1", "1/1"),
     ("1/100", "1/100"), ("1/007", "1/7"), ("1/1000000", "1/1000000")],
)  # fmt: skip
def test_what_a_user_may_say(text: str, policy: str) -> None:
    assert keep.read(text) == (policy, "")


@pytest.mark.parametrize(
    "text", ["ALL", "none", "2/3", "1/0", "1/", "1/-1", "1/1.5", "1/1000001", "1", "1/٣", "0.1"]
)
def test_nonsense_keeps_all_and_is_told(text: str) -> None:
    policy, wrong = keep.read(text)
    assert policy == "all"
    assert wrong.startswith(f"LAMBDATRACE_KEEP={text!r} is not ")


@given(st.text())
def test_any_text_is_a_policy(text: str) -> None:
    policy, _ = keep.read(text)
    Keep(policy).decide("id", False, 5)


@given(st.text(), st.booleans(), st.integers(0))
def test_all_keeps_all(request_id: str, has_failed: bool, duration: int) -> None:
    assert Keep("all").decide(request_id, has_failed, duration)


@given(st.booleans(), st.integers(0))
def test_errors_keeps_what_failed(has_failed: bool, duration: int) -> None:
    assert Keep("errors").decide("id", has_failed, duration) is has_failed


def test_slow_keeps_all_while_few_are_known() -> None:
    policy = Keep("slow")
    assert all(policy.decide(str(number), False, MS) for number in range(FEW))
    assert not policy.decide("next", False, MS)


def test_slow_keeps_what_is_above_nearly_all_of_the_latest() -> None:
    policy = Keep("slow")
    for duration in range(1, 101):
        policy.decide("id", False, duration * MS)
    assert policy.threshold_ns() == 95 * MS
    assert not policy.decide("id", False, 95 * MS)
    assert policy.decide("id", False, 97 * MS)


def test_slow_follows_a_function_that_changes() -> None:
    policy = Keep("slow")
    for _ in range(RECENT):
        policy.decide("id", False, 10 * MS)
    # All of these are slow at first, and then they are what is usual.
    kept = [policy.decide("id", False, 50 * MS) for _ in range(RECENT)]
    assert kept[:5] == [True] * 5
    assert not any(kept[6:])


def test_slow_keeps_failures_and_learns_nothing_from_them() -> None:
    policy = Keep("slow")
    for _ in range(RECENT):
        policy.decide("id", False, 10 * MS)
    assert all(policy.decide("id", True, 30_000 * MS) for _ in range(RECENT))
    assert policy.threshold_ns() == 10 * MS


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**62)), max_size=300))
def test_slow_agrees_with_its_definition(history: list[tuple[bool, int]]) -> None:
    policy = Keep("slow")
    well: list[int] = []
    for has_failed, duration in history:
        recent = well[-RECENT:]
        expected = has_failed or len(recent) < FEW
        if not expected:
            below = sum(other < duration for other in recent)
            expected = 100 * below >= 95 * len(recent)
        assert policy.decide("id", has_failed, duration) is expected
        if not has_failed:
            well.append(duration)


def test_one_in_n_is_one_in_n_or_nearly() -> None:
    policy = Keep("1/10")
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(10_000)]
    assert 800 < sum(policy.decide(each, False, 5) for each in ids) < 1_200


def test_one_in_n_is_the_same_everywhere() -> None:
    """In every process, whatever its hash seed: environments of one snapshot would draw alike."""
    script = (
        "from lambdatrace.agent.keep import Keep\n"
        "print([n for n in range(300) if Keep('1/7').decide(f'id-{n}', n % 2 == 0, n)])"
    )
    root = str(Path(lambdatrace.__file__).parents[1])
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(told) == 1
    assert len(eval(told.pop())) > 20
