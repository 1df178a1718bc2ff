"""What waits in memory, and what has to go."""

from __future__ import annotations

from samples import NEVER

from lambdatrace.agent.outbox import Outbox, Parcel
from lambdatrace.items import SUMMARY, Item


def parcel(name: str, size: int = 10, started: int = 5) -> Parcel:
    return Parcel((name, started), [Item(name, started, 0, SUMMARY, bytes(size), NEVER)])


def test_the_oldest_is_first_and_what_waits_is_counted() -> None:
    outbox = Outbox()
    for number, name in enumerate(("a", "b", "c")):
        each = parcel(name, size=100)
        each.at = float(number)
        outbox.put(each)
    state = outbox.waiting()
    assert (state.executions, state.items, state.size, state.oldest) == (3, 3, 300, 0.0)
    outbox.remove(parcel("a"))
    outbox.remove(parcel("a"))
    state = outbox.waiting()
    assert (state.executions, state.items, state.size, state.oldest) == (2, 2, 200, 1.0)
    assert [each.execution[0] for each in outbox.parcels()] == ["b", "c"]


def test_a_later_state_replaces_an_earlier_one_and_a_retry_does_not() -> None:
    outbox = Outbox()
    first, later, retry = parcel("a", 7), parcel("a", 70), parcel("a", 700, started=6)
    for each in (first, later, retry):
        outbox.put(each)
    assert outbox.parcels() == [later, retry]
    assert first not in outbox
    assert later in outbox
    assert outbox.waiting().size == 770


def test_the_bounds_push_the_oldest_out() -> None:
    outbox = Outbox(max_executions=3, max_bytes=1_000)
    for name in "abcde":
        outbox.put(parcel(name))
    assert [each.execution[0] for each in outbox.push_out()] == ["a", "b"]
    outbox.put(parcel("f", size=2_000))
    assert [each.execution[0] for each in outbox.push_out()] == ["c", "d", "e", "f"]
    assert len(outbox) == 0
    assert outbox.waiting().size == 0
