"""From finished executions to a store that is a script here: retries, the spool, what is told."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import NEVER, START_NS

from lambdatrace.agent import breaker, delivery
from lambdatrace.agent.delivery import Delivery
from lambdatrace.agent.flush import BATCH_ITEMS, END, FlushPolicy
from lambdatrace.agent.outbox import Parcel
from lambdatrace.agent.spool import Spool
from lambdatrace.items import INDEX, SUMMARY, Item

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MS = 1_000_000
DOWN, HALF, REFUSES, SILENT = "down", "half", "refuses", "unreachable"


class Store:
    """What the agent writes to; does as it is told."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, int, int], Item] = {}
        self.mood = ""
        self.calls = 0
        self.budgets: list[float] = []
        self.last_error = ""
        self.last_kind = ""
        self.left: list[Item] = []
        self.retries = 0
        self.write_units = 0.0
        self.bytes_sent = 0

    def prepare(self, deadline: float) -> None:
        pass

    def close(self) -> None:
        pass

    def write(self, items: Iterable[Item], deadline: float, along: Iterable[Item] = ()) -> int:
        items = [*items, *along]
        self.calls += 1
        self.budgets.append(deadline - time.monotonic())
        taken = len(items)
        if self.mood:
            self.last_error, self.last_kind = f"it is {self.mood}", self.mood
            taken = {HALF: len(items) // 2, REFUSES: len(items) - 1}.get(self.mood, 0)
        for item in items[:taken]:
            self.stored[item.key] = item
            self.write_units += 1
            self.bytes_sent += 100
        self.left = [] if self.mood == REFUSES else items[taken:]
        return len(items) - taken

    @property
    def executions(self) -> set[str]:
        return {item.execution_id for item in self.stored.values()}


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_331_000.0

    def __call__(self) -> float:
        return self.now


def parcel(
    name: str, body: bytes = b"", *, told: dict[str, int] | None = None, **more: bool
) -> Parcel:
    items = [
        Item(name, START_NS, 0, SUMMARY, body or name.encode(), NEVER),
        Item("idx#" + name, START_NS, 7, INDEX, body or name.encode(), NEVER),
    ]
    return Parcel((name, START_NS), items, told, **more)


class World:
    """A delivery and everything around it."""

    def __init__(self, folder: Path | None, max_bytes: int = 1_000_000) -> None:
        self.store, self.clock = Store(), Clock()
        self.spool = Spool(str(folder / "spool"), "store", max_bytes) if folder else None
        self.delivery = Delivery(self.store, FlushPolicy(END), self.spool, self.clock)

    @property
    def spooled(self) -> int:
        """How many executions wait on disk."""
        return 0 if self.spool is None else len(self.spool)

    def execution(self, name: str, **more: bool) -> None:
        self.delivery.put(parcel(name, **more), 5 * MS)
        if self.delivery.is_due():
            self.flush()

    def flush(self, **more: bool) -> None:
        self.delivery.flush(time.monotonic() + 2, **more)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def without(tmp_path: Path) -> World:
    """Without a spool."""
    return World(None)


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_a_store_that_works(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        world.execution(name)
    assert world.store.executions >= {"a", "b", "c"}
    assert world.delivery.waiting == 0
    assert world.delivery.due_in() is None
    assert world.delivery.take_losses() == {}
    costs = world.delivery.costs()
    assert (costs["flushes"], costs["write_units"], costs["sent_bytes"]) == (3, 6, 600)
    assert set(world.delivery.costs().values()) == {0}
    assert lines(capfd) == []


def test_what_a_store_does_not_take_comes_later(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.store.mood = DOWN
    world.execution("a")
    assert (world.delivery.waiting, world.spooled) == (0, 1)
    world.store.mood = ""
    world.execution("b")
    assert world.store.executions >= {"a", "b"}
    assert world.spooled == 0
    costs = world.delivery.costs()
    assert (costs["spooled"], costs["drained"]) == (1, 1)
    trouble, recovered = lines(capfd)
    assert "it is down" in trouble
    assert "again" in recovered


def test_a_store_that_stays_down_is_told_of_once_and_asked_seldom(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.store.mood = DOWN
    for number in range(200):
        world.execution(f"{number}")
        world.clock.now += 0.1
    assert world.store.calls < 10
    assert world.store.budgets[0] > 1
    assert max(world.store.budgets[2:]) <= 0.5
    assert len(lines(capfd)) == 1
    world.store.mood = ""
    world.clock.now += 60
    world.execution("last")
    assert world.store.executions >= {f"{number}" for number in range(200)}
    assert world.delivery.take_losses() == {}


def test_trouble_that_goes_on_is_told_again_and_another_kind_at_once(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.store.mood = DOWN
    for _ in range(20):
        world.execution("a")
        world.clock.now += 60
    assert 2 <= len(lines(capfd)) <= 5
    world.store.mood = HALF
    world.execution("b")
    assert len(lines(capfd)) == 1


def test_an_attempt_that_was_cut_short_is_no_other_trouble(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    for mood in (DOWN, SILENT, SILENT, DOWN):
        world.store.mood = mood
        world.execution(f"{mood} {world.clock.now}")
        world.clock.now += breaker.MAX_PAUSE_S
    (line,) = capfd.readouterr().err.splitlines()
    assert "it is down" in line
    # The other way round it is news, and the next time it may come first.
    world.store.mood = ""
    world.execution("fine")
    world.clock.now += delivery._TOLD_AGAIN_S
    for mood in (SILENT, DOWN, SILENT):
        world.store.mood = mood
        world.execution(f"again {mood} {world.clock.now}")
        world.clock.now += breaker.MAX_PAUSE_S
    assert [
        line.partition(": ")[2].partition(";")[0] for line in capfd.readouterr().err.splitlines()
    ] == [
        "the store takes executions again",
        f"the store does not take executions: it is {SILENT}",
        f"the store does not take executions: it is {DOWN}",
    ]


def test_half_of_a_batch_is_written_and_the_rest_comes_later(world: World) -> None:
    world.delivery.put(parcel("a"), 5 * MS)
    world.delivery.put(parcel("b"), 5 * MS)
    world.store.mood = HALF
    world.flush()
    assert "a" in world.store.executions
    assert world.spooled == 1
    world.store.mood = ""
    world.execution("c")
    assert world.store.executions >= {"a", "b", "c"}


def test_what_is_refused_for_good_is_lost_and_told(world: World) -> None:
    world.store.mood = REFUSES
    world.execution("a")
    assert world.delivery.take_losses() == {"items": 1}
    assert world.delivery.take_losses() == {}
    assert world.spooled == 0


def test_what_failed_goes_first(world: World) -> None:
    world.delivery.put(parcel("a"), 5 * MS)
    world.delivery.put(parcel("b", is_urgent=True), 5 * MS)
    world.store.mood = HALF
    world.flush()
    assert world.store.executions == {"b", "idx#b"}


def test_an_earlier_state_never_replaces_the_end(world: World) -> None:
    world.store.mood = DOWN
    world.delivery.send_at_once(parcel("a", b"unfinished", is_state=True), time.monotonic() + 1)
    assert world.spooled == 1
    world.store.mood = ""
    world.delivery.put(parcel("a", b"timeout"), 5 * MS)
    world.flush()
    world.execution("b")
    assert {item.body for item in world.store.stored.values()} == {b"timeout", b"b"}
    # Also when both had to wait.
    world.store.mood = DOWN
    world.delivery.send_at_once(parcel("c", b"unfinished", is_state=True), time.monotonic() + 1)
    world.execution("d")
    world.delivery.put(parcel("c", b"done"), 5 * MS)
    world.flush()
    world.store.mood = ""
    world.clock.now += 60
    world.execution("e")
    assert world.store.stored["c", START_NS, 0].body == b"done"
    assert world.spooled == 0


def test_a_state_that_could_not_be_written_without_a_spool_is_no_loss(without: World) -> None:
    without.store.mood = DOWN
    without.delivery.send_at_once(parcel("a", is_state=True), time.monotonic() + 1)
    assert without.delivery.waiting == 0
    assert without.delivery.take_losses() == {}


def test_without_a_spool_it_waits_in_memory_within_bounds(
    without: World, capfd: pytest.CaptureFixture[str]
) -> None:
    without.store.mood = DOWN
    first = parcel("first", told={"events": 3, "executions": 1})
    without.delivery.put(first, 5 * MS)
    without.flush()
    for number in range(250):
        without.execution(f"{number}")
        without.clock.now += 0.01
    assert without.delivery.waiting == 200
    # What the lost ones would have told is told again.
    assert without.delivery.take_losses() == {"events": 3, "executions": 52, "items": 102}
    assert len(lines(capfd)) == 2
    without.store.mood = ""
    without.clock.now += 60
    without.execution("last")
    assert without.delivery.waiting == 0
    assert "249" in without.store.executions
    assert "10" not in without.store.executions


def test_a_spool_that_cannot_be_used_is_told_of_once(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spool").write_text("a file")
    world.store.mood = DOWN
    for number in range(20):
        world.execution(f"{number}")
    assert world.delivery.waiting == 20
    said = lines(capfd)
    assert len(said) == 2
    assert any("not a folder" in line for line in said)
    world.store.mood = ""
    world.clock.now += 60
    world.execution("last")
    assert len(world.store.executions) == 2 * 21


def test_what_a_full_spool_gives_up_is_counted(tmp_path: Path) -> None:
    world = World(tmp_path, max_bytes=500)
    world.store.mood = DOWN
    for number in range(20):
        world.execution(f"{number:02}")
    kept = world.spooled
    assert 0 < kept < 20
    assert world.delivery.take_losses() == {"executions": 20 - kept, "items": 2 * (20 - kept)}


def test_a_damaged_file_is_counted_and_holds_nothing_up(world: World, tmp_path: Path) -> None:
    world.store.mood = DOWN
    world.execution("a")
    world.execution("b")
    first = sorted((tmp_path / "spool").iterdir())[0]
    first.write_bytes(first.read_bytes()[:-1])
    world.store.mood = ""
    world.clock.now += 60
    world.execution("c")
    assert world.delivery.take_losses() == {"executions": 1, "items": 2}
    assert world.store.executions == {"b", "idx#b", "c", "idx#c"}
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_that_somebody_has_cleared_is_counted(world: World, tmp_path: Path) -> None:
    world.store.mood = DOWN
    for name in "abc":
        world.execution(name)
    shutil.rmtree(tmp_path / "spool")
    world.store.mood = ""
    world.clock.now += 60
    world.execution("d")
    assert world.delivery.take_losses() == {"executions": 3, "items": 6}
    assert world.spooled == 0
    world.execution("e")
    assert world.delivery.take_losses() == {}
    assert world.store.executions == {"d", "idx#d", "e", "idx#e"}


def test_what_waits_in_the_spool_goes_along(world: World) -> None:
    world.store.mood = DOWN
    for number in range(20):
        world.execution(f"{number:02}")
    world.store.mood = ""
    world.clock.now += 60
    for drained in (11, 20):
        calls = world.store.calls
        world.delivery.put(parcel(f"after {drained}"), 5 * MS)
        world.delivery.flush(time.monotonic())  # there is no time for another request
        assert world.store.calls == calls + 1
        assert world.spooled == 20 - drained
    assert len(world.store.executions) == 2 * 22
    assert world.delivery.costs()["drained"] == 20


def test_what_goes_along_and_is_not_taken_stays(world: World) -> None:
    world.store.mood = DOWN
    world.execution("a")
    world.store.mood = HALF
    world.delivery.put(parcel("b"), 5 * MS)
    world.delivery.flush(time.monotonic())
    assert world.store.executions == {"b", "idx#b"}
    assert (world.spooled, world.delivery.waiting) == (1, 0)
    assert world.delivery.take_losses() == {}


def test_what_is_large_does_not_go_along(world: World) -> None:
    """It would take longer than the deadline, and the execution's own items with it."""
    world.store.mood = DOWN
    world.delivery.put(parcel("large", b"x" * 100_000), 5 * MS)
    world.flush()
    world.store.mood = ""
    world.clock.now += 60
    world.delivery.put(parcel("b"), 5 * MS)
    world.delivery.flush(time.monotonic())  # there is no time for another request
    assert world.store.executions == {"b", "idx#b"}
    world.execution("c")
    assert "large" in world.store.executions


def test_an_earlier_state_does_not_go_along(world: World) -> None:
    world.store.mood = DOWN
    world.delivery.send_at_once(parcel("a", b"state", is_state=True), time.monotonic() + 1)
    assert world.spooled == 1
    world.store.mood = ""
    world.execution("a")
    assert world.spooled == 0
    assert {item.body for item in world.store.stored.values()} == {b"a"}


def test_what_has_expired_in_the_spool_is_not_written(world: World) -> None:
    world.store.mood = DOWN
    old = parcel("a")
    for item in old.items:
        item.expires_at = int(world.clock.now) + 5
    world.delivery.put(old, 5 * MS)
    world.flush()
    world.store.mood = ""
    world.clock.now += 10
    world.execution("b")
    assert world.store.executions == {"b", "idx#b"}
    assert world.spooled == 0


def test_draining_is_bounded_in_time_and_goes_on_next_time(world: World) -> None:
    world.store.mood = DOWN
    for number in range(3 * delivery._DRAIN_FILES):
        world.execution(f"{number}")
    world.store.mood = ""
    world.clock.now += 60
    world.delivery.put(parcel("next"), 5 * MS)
    world.delivery.flush(time.monotonic())
    assert "next" in world.store.executions
    # What fits into the one request that is made anyway.
    assert world.delivery.costs()["drained"] == (BATCH_ITEMS - 2) // 2
    world.execution("another")
    assert world.spooled == 0
    assert len(world.store.executions) == 2 * (3 * delivery._DRAIN_FILES + 2)


def test_a_deadline_that_was_near_says_nothing_of_the_store(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.store.mood = DOWN
    for number in range(5):
        world.delivery.put(parcel(f"{number}"), 5 * MS)
        world.delivery.flush(time.monotonic() + 0.01)
    assert world.store.calls == 5
    assert world.spooled == 5
    assert lines(capfd) == []


def test_draining_gets_on_though_each_time_only_half_is_taken(world: World) -> None:
    world.store.mood = DOWN
    for number in range(20):
        world.execution(f"{number}")
    world.store.mood = ""
    world.clock.now += 60
    counts = []
    write = world.store.write

    def halves(items: Iterable[Item], deadline: float, along: Iterable[Item] = ()) -> int:
        items = [*items, *along]
        world.store.mood = HALF if len(items) > 2 else ""
        return write(items, deadline)

    world.store.write = halves  # type: ignore[method-assign]
    while world.spooled and len(counts) < 50:
        world.execution(f"later {len(counts)}")
        counts.append(world.spooled)
    assert counts == sorted(counts, reverse=True)
    assert world.spooled == 0
    assert world.delivery.costs()["drained"] == 20


def test_the_end_asks_whatever_it_knows(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.store.mood = DOWN
    for number in range(5):
        world.execution(f"{number}")
    calls = world.store.calls
    world.flush(last=True)
    assert world.store.calls > calls
    assert "5 executions are not in the store" in lines(capfd)[-1]
    world.store.mood = ""
    world.flush(last=True)
    assert len(world.store.executions) == 10
    assert lines(capfd) == ["lambdatrace: the store takes executions again"]


def test_the_end_says_what_no_summary_tells_any_more(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.delivery._lose({"executions": 2, "items": 6})
    world.flush(last=True)
    assert "2 executions were given up after the last one" in lines(capfd)[-1]
    world.delivery.take_losses()
    world.flush(last=True)
    assert lines(capfd) == []


moods = st.sampled_from(["", "", DOWN, HALF])


@settings(max_examples=60)
@given(st.lists(st.tuples(moods, st.floats(0, 30), st.integers(0, 2)), max_size=40), st.booleans())
def test_every_execution_is_stored_once_or_counted(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[str, float, int]],
    with_spool: bool,
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    world = World(folder if with_spool else None)
    losses: dict[str, int] = {}
    for number, (mood, passed, written_before) in enumerate(history):
        world.store.mood = mood
        world.clock.now += passed
        name = f"{number}"
        if written_before:
            state = parcel(name, b"state", is_state=True)
            world.delivery.send_at_once(state, time.monotonic() + 1)
        world.execution(name)
        for what, count in world.delivery.take_losses().items():
            losses[what] = losses.get(what, 0) + count
    world.store.mood = ""
    world.flush(last=True)
    assert losses == {}
    assert world.store.executions == {
        name for number in range(len(history)) for name in (f"{number}", f"idx#{number}")
    }
    assert not any(item.body == b"state" for item in world.store.stored.values())
