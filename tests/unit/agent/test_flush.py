"""When what waits is written: modes, the budget, and the bounds that come before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.agent import flush
from lambdatrace.agent.flush import ADAPTIVE, END, PERIODIC, FlushPolicy, Waiting

NOW = 1_795_331_000.0


def waiting(executions: int = 1, age: float = 0.0, size: int = 2_000, now: float = NOW) -> Waiting:
    return Waiting(executions, 2 * executions, size * executions, now - age)


@pytest.mark.parametrize(
    ("text", "mode", "period"),
    [
        ("", ADAPTIVE, 10),
        ("adaptive", ADAPTIVE, 10),
        ("end", END, 10),
        ("periodic", PERIODIC, 10),
        ("periodic:1", PERIODIC, 1),
        ("periodic:3600", PERIODIC, 3600),
    ],
)
def test_what_a_user_may_say(text: str, mode: str, period: int) -> None:
    assert flush.read(text) == (mode, period, "")


@pytest.mark.parametrize(
    "text",
    ["END", "often", "periodic:", "periodic:0", "periodic:3601", "periodic:1.5", "periodic:-1",
     "end:5", "adaptive:", "periodic:٣", "periodic:" + "9" * 40, " end"],
)  # fmt: skip
def test_nonsense_is_adaptive_and_told(text: str) -> None:
    mode, period, wrong = flush.read(text)
    assert (mode, period) == (ADAPTIVE, flush.DEFAULT_PERIOD_S)
    assert wrong.startswith(f"LAMBDATRACE_FLUSH={text!r} is not ")


@given(st.text())
def test_any_text_is_a_mode(text: str) -> None:
    mode, period, _ = flush.read(text)
    assert mode in (END, PERIODIC, ADAPTIVE)
    assert 1 <= period <= flush.MAX_PERIOD_S


def test_where_nothing_waits_nothing_is_due() -> None:
    for mode in (END, PERIODIC, ADAPTIVE):
        assert not FlushPolicy(mode).is_due(Waiting(), NOW)


def test_end_is_after_every_execution_whatever_it_costs() -> None:
    policy = FlushPolicy(END)
    for _ in range(20):
        policy.finished(0.001, NOW)
        assert policy.is_due(waiting(), NOW)
        policy.flushed(1.0, 2)


def test_periodic_is_by_the_oldest() -> None:
    policy = FlushPolicy(PERIODIC, 30)
    assert not policy.is_due(waiting(age=29), NOW)
    assert policy.due_in(waiting(age=29), NOW) == 1
    assert policy.is_due(waiting(age=30), NOW)


@pytest.mark.parametrize("mode", [PERIODIC, ADAPTIVE])
def test_bounds_come_first(mode: str) -> None:
    policy = FlushPolicy(mode, flush.MAX_PERIOD_S)
    policy.flushed(4.0, 25)  # no credit for minutes
    policy.finished(0.0, NOW)
    assert not policy.is_due(waiting(flush.MAX_EXECUTIONS - 1), NOW)
    assert policy.is_due(waiting(flush.MAX_EXECUTIONS), NOW)
    assert policy.is_due(waiting(1, size=flush.MAX_BYTES), NOW)
    # A clock that was set back does not make anything wait for longer than it did.
    assert policy.is_due(waiting(age=-1_000), NOW)


def test_adaptive_is_bound_by_age() -> None:
    policy = FlushPolicy()
    policy.flushed(4.0, 25)
    assert not policy.is_due(waiting(age=flush.MAX_AGE_S - 1), NOW)
    assert policy.is_due(waiting(age=flush.MAX_AGE_S), NOW)


def test_the_first_execution_is_written_at_once() -> None:
    policy = FlushPolicy()
    policy.finished(0.002, NOW)
    assert policy.is_due(waiting(), NOW)


def written(rate: float, duration: float, cost: float, count: int = 2_000) -> tuple[int, float]:
    """(writes, time spent in them) of so many executions at `rate` a second."""
    policy = FlushPolicy()
    now, pending, oldest, writes = NOW, 0, NOW, 0
    for _ in range(count):
        now += max(1 / rate, duration)
        oldest = oldest if pending else now
        pending += 1
        policy.finished(duration, now)
        if policy.is_due(Waiting(pending, 2 * pending, 2_000 * pending, oldest), now):
            batches = -(-2 * pending // flush.BATCH_ITEMS)
            policy.flushed(cost * batches, 2 * pending)
            writes += 1
            pending = 0
            now += cost * batches
    return writes, writes * cost


@pytest.mark.parametrize("rate", [0.001, 0.1, 1.0])
def test_at_low_rates_every_execution_is_written(rate: float) -> None:
    assert written(rate, 0.1, 0.01)[0] == 2_000


def test_at_high_rates_several_are_written_together_within_the_budget() -> None:
    count, duration, cost = 5_000, 0.05, 0.01
    writes, spent = written(100, duration, cost, count)
    assert count / 50 < writes < count / 3
    elapsed = count * duration + spent
    allowed = flush.OWN_SHARE * count * duration + flush.IDLE_SHARE * elapsed + flush.MAX_CREDIT_S
    assert spent <= allowed + cost


def test_a_cheap_store_is_written_to_after_every_execution() -> None:
    assert written(100, 0.05, 0.001)[0] == 2_000


def test_what_a_write_costs_is_learned_again() -> None:
    policy = FlushPolicy()
    for _ in range(30):
        policy.flushed(0.2, 2)
    dear = policy.due_in(waiting(), NOW)
    for _ in range(60):
        policy.finished(10.0, NOW)
        policy.flushed(0.001, 2)
    policy.flushed(flush.MAX_CREDIT_S, 500)  # nothing is left
    assert 0 <= policy.due_in(waiting(), NOW) < dear


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.floats(0.0001, 3), st.floats(-100, 100), st.integers(1, 500)),
        max_size=200,
    )
)
def test_the_budget_holds_whatever_happens(
    history: list[tuple[float, float, float, int]],
) -> None:
    """Executions of any duration, costs, clocks that jump: writes are paid for, but for the last.

    What bounds force is not among them here: little waits.
    """
    policy = FlushPolicy()
    now, spent, last, earned = NOW, 0.0, 0.0, flush.MAX_CREDIT_S
    seen = None
    for duration, cost, passed, items in history:
        now += passed
        policy.finished(duration, now)
        earned += flush.OWN_SHARE * duration
        if seen is not None:
            earned += flush.IDLE_SHARE * max(0.0, now - seen)
        seen = now
        if policy.is_due(Waiting(1, items, 100, now), now):
            policy.flushed(cost, items)
            spent += cost
            last = max(last, cost)
    # Each write is allowed by what is expected of it, and paid for afterwards.
    assert spent <= earned + last + 1e-6 or last > flush.MAX_DEBT_S


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=50),
    st.integers(0, 1000),
    st.floats(0, 1e6),
    st.sampled_from([END, PERIODIC, ADAPTIVE]),
)
def test_no_clock_makes_it_wait_for_longer_than_its_bound(
    times: list[float], executions: int, size: float, mode: str
) -> None:
    policy = FlushPolicy(mode, 600)
    for now in times:
        policy.finished(0.01, now)
        policy.flushed(10.0, 2)
        state = Waiting(executions, 2 * executions, int(size), now)
        assert 0 <= policy.due_in(state, now) <= 600
