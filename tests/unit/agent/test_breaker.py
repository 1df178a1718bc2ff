"""Whether a store is worth trying."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.agent import breaker
from lambdatrace.agent.breaker import Breaker

NOW = 1_795_331_000.0


def test_one_failure_changes_nothing() -> None:
    store = Breaker()
    store.failed(NOW)
    assert store.allows(NOW)
    assert store.budget(2.0) == 2.0


def test_after_two_it_is_asked_seldom_and_briefly() -> None:
    store = Breaker()
    for _ in range(2):
        store.failed(NOW)
    assert not store.allows(NOW + 0.9)
    assert store.allows(NOW + 1.0)
    assert store.budget(2.0) == breaker.TRIAL_S
    assert store.budget(0.1) == 0.1


def test_pauses_grow_up_to_a_minute() -> None:
    store, now, pauses = Breaker(), NOW, []
    store.failed(now)
    for _ in range(9):
        store.failed(now)
        asked = next(second for second in range(100) if store.allows(now + second))
        pauses.append(asked)
        now += asked
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_one_success_and_all_is_well() -> None:
    store = Breaker()
    for _ in range(20):
        store.failed(NOW)
    store.succeeded()
    assert store.allows(NOW)
    assert store.budget(2.0) == 2.0


@given(st.lists(st.floats(-1e9, 1e9), max_size=30), st.floats(-1e9, 1e9))
def test_no_clock_closes_it_for_good(failures: list[float], now: float) -> None:
    store = Breaker()
    for moment in failures:
        store.failed(moment)
    assert store.allows(now) or store.allows(now + breaker.MAX_PAUSE_S)
