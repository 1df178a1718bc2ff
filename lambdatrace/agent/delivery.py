"""From finished executions to the store: when to write, what if it takes nothing, what it cost.

Everything here happens after a response is out, before the environment may go on, and within the
time it is given. What the store does not take goes to the spool, what the spool does not take waits
in memory, and what does not fit there is counted and told by the next summary.
"""

from __future__ import annotations

import time

from lambdatrace.agent.breaker import Breaker
from lambdatrace.agent.flush import BATCH_ITEMS
from lambdatrace.agent.log import log
from lambdatrace.agent.outbox import Outbox
from lambdatrace.agent.spool import SpoolError, TooLargeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from lambdatrace.agent.flush import FlushPolicy
    from lambdatrace.agent.outbox import Parcel
    from lambdatrace.agent.spool import Spool, Spooled
    from lambdatrace.items import Item
    from lambdatrace.store.base import Writer

    # Files of the spool, and what of each is to be written.
    _Loaded: TypeAlias = list[tuple[Spooled, list[Item]]]

# Who had less time than this (s), because a deadline was near, has not shown that it is down.
FAIR_S = 0.2
# How long (s) one write may go on taking executions from the spool, and how many of them and of
# their bytes go into one call: what is in memory twice meanwhile.
DRAIN_S = 0.2
_DRAIN_FILES = 50
_DRAIN_BYTES = 1_000_000
# What goes along with others must not be why they do not arrive: bytes that take no longer to send.
_ALONG_BYTES = 64 * 1024
# A kind of trouble that goes on is told again after this (s).
_TOLD_AGAIN_S = 300.0
# Kinds of trouble (dynamodb.py) that say no more than that an attempt was cut short. While a store
# is down for another reason they are that one's.
_VAGUE = frozenset(("time", "unreachable", "unprocessed", "answer"))


class Delivery:
    """One environment's executions on their way to the store.

    Parameters
    ----------
    writer, policy
        Where to, and when.
    spool
        What the store does not take goes there; None: it waits in memory.
    now
        s since the epoch.
    """

    def __init__(
        self,
        writer: Writer,
        policy: FlushPolicy,
        spool: Spool | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._policy = policy
        self._spool = spool
        self._now = now
        self._outbox = Outbox()
        self._breaker = Breaker()
        self._losses: dict[str, int] = {}
        self._told: dict[str, float] = {}  # kind of trouble -> when it was told
        self._is_down = False
        self._trouble = ""  # kind, as it was told
        self._after_ns = 0
        self._flushes = 0
        self._spooled = 0
        self._drained = 0
        self._costs_told = self._meters()

    @property
    def waiting(self) -> int:
        """How many executions only this process knows of."""
        return len(self._outbox)

    def put(self, parcel: Parcel, duration_ns: int) -> None:
        """Take a finished execution."""
        parcel.at = self._now()
        self._outbox.put(parcel)
        self._policy.finished(duration_ns / 1e9, parcel.at)

    def is_due(self) -> bool:
        """Whether what waits is to be written now."""
        return self._policy.is_due(self._outbox.waiting(), self._now())

    def due_in(self) -> float | None:
        """Seconds until it is, if nothing happens until then; None if nothing waits."""
        if not self._outbox:
            return None
        return self._policy.due_in(self._outbox.waiting(), self._now())

    def send_at_once(self, parcel: Parcel, until: float) -> None:
        """Write the state of an execution that goes on, until `until` (s, time.monotonic)."""
        parcel.at = self._now()
        self._flush([parcel], until, drain=False)

    def flush(self, until: float, *, last: bool = False) -> None:
        """Write what waits until `until` (s, time.monotonic); `last`: there is no other time."""
        self._flush(self._outbox.parcels(), until, drain=True, last=last)
        if last:
            self._say_goodbye()

    def take_losses(self) -> dict[str, int]:
        """What got lost, by name, and has not been told."""
        losses, self._losses = self._losses, {}
        return losses

    def answered(self, after_ns: int) -> None:
        """A response was out for so long when its environment could go on."""
        self._after_ns += max(0, after_ns)

    def costs(self, peek: bool = False) -> dict[str, int]:
        """What was spent since the last time this was asked; items.py has the names."""
        meters = self._meters()
        costs = {name: meters[name] - self._costs_told[name] for name in meters}
        if not peek:
            self._costs_told = meters
        return costs

    def _meters(self) -> dict[str, int]:
        return {
            "after_ns": self._after_ns,
            "sent_bytes": self._writer.bytes_sent,
            "write_units": round(self._writer.write_units),
            "flushes": self._flushes,
            "retries": self._writer.retries,
            "spooled": self._spooled,
            "drained": self._drained,
        }

    def _flush(
        self, parcels: list[Parcel], until: float, *, drain: bool, last: bool = False
    ) -> None:
        began = time.monotonic()
        if not last and not self._breaker.allows(self._now()):
            self._put_aside(parcels)
            return
        if not last:
            until = min(until, began + self._breaker.budget(until - began))
        # Those that failed first: they are what somebody will look for.
        ordered = sorted(parcels, key=lambda parcel: parcel.is_urgent, reverse=True)
        items = sum(len(parcel.items) for parcel in parcels)
        along = self._take_along(ordered, items) if drain and ordered else []
        left = self._write(ordered, until, along) if ordered else []
        items += sum(len(content) for _, content in along)
        if left:
            self._put_aside(left)
        elif drain and self._spool is not None:
            now = time.monotonic()
            # A store that is always slow would never get anything done in less.
            budget = max(DRAIN_S, 2 * (now - began))
            items += self._drain(self._spool, until if last else min(until, now + budget))
        if items:
            self._flushes += 1
            self._policy.flushed(time.monotonic() - began, items)

    def _take_along(self, parcels: list[Parcel], items: int) -> _Loaded:
        """What fits into the request that is made anyway: where a store is slow and a deadline
        near, there may never be time for another one.
        """
        if self._spool is None or items >= BATCH_ITEMS:
            return []
        size = sum(parcel.size for parcel in parcels)
        loaded = self._load(self._spool, BATCH_ITEMS - items, _ALONG_BYTES - size)
        # The state of an execution that is written now must not replace it.
        fresh = {item.key for parcel in parcels for item in parcel.items}
        return [
            (file, content)
            for file, content in loaded
            if fresh.isdisjoint(item.key for item in content)
        ]

    def _write(self, parcels: list[Parcel], until: float, along: _Loaded) -> list[Parcel]:
        """Write parcels, and `along` from the spool; returns those parcels that are not, or not
        wholly, in the store.
        """
        items = [item for parcel in parcels for item in parcel.items]
        missing = self._send(items, until, [item for _, content in along for item in content])
        left = []
        for parcel in parcels:
            if any(item.key in missing for item in parcel.items):
                left.append(parcel)
                continue
            self._outbox.remove(parcel)
            if self._spool is not None:
                self._spool.forget(parcel)
        self._clear(along, missing)
        return left

    def _send(
        self, items: list[Item], until: float, along: Sequence[Item] = ()
    ) -> set[tuple[str, int, int]]:
        """Write items; returns the keys of those that have to be written again."""
        is_fair = until - time.monotonic() >= FAIR_S
        lost = self._writer.write(items, until, along)
        left = self._writer.left
        self._judge(len(items) + len(along), len(left), is_fair)
        if refused := lost - len(left):
            self._lose({"items": refused})
            self._tell("item", f"{refused} items were refused: {self._writer.last_error}")
        return {item.key for item in left}

    def _judge(self, tried: int, left: int, is_fair: bool = True) -> None:
        """Learn from an attempt, and say what is wrong the first time it is."""
        if left < tried:
            self._breaker.succeeded()
        elif is_fair:
            self._breaker.failed(self._now())
        if left and is_fair:
            if not self._is_down or self._writer.last_kind not in _VAGUE:
                self._trouble = self._writer.last_kind
            self._is_down = True
            where = "wait in the spool" if self._spool is not None else "wait in memory"
            self._tell(
                self._trouble,
                f"the store does not take executions: {self._writer.last_error}; they {where}",
            )
        elif not left and self._is_down:
            self._is_down = False
            self._tell("recovered", "the store takes executions again")

    def _put_aside(self, parcels: Iterable[Parcel]) -> None:
        """What the store has not taken: to the spool, else it waits in memory, within bounds."""
        spool = self._spool
        for parcel in parcels:
            try:
                gone = [] if spool is None else spool.put(parcel)
            except SpoolError as error:
                self._tell("spool", f"the spool cannot be used: {error}; executions wait in memory")
                if not isinstance(error, TooLargeError):
                    spool = None  # hundreds may wait, and none of them would fare better
            else:
                for file in gone:
                    self._lose_file(file, "the spool is full: the oldest executions are given up")
                if spool is not None:
                    self._outbox.remove(parcel)
                    self._spooled += 1
                    continue
            if not parcel.is_state and parcel not in self._outbox:
                self._outbox.put(parcel)
        for pushed in self._outbox.push_out():
            self._lose({**pushed.told, "executions": pushed.told.get("executions", 0) + 1})
            self._lose({"items": len(pushed.items)})
            self._tell("outbox", "executions are given up: there is no room for more to wait")

    def _drain(self, spool: Spool, until: float) -> int:
        """Write what was spooled, the oldest first; returns how many items that was."""
        done = 0
        while time.monotonic() < until:
            loaded = self._load(spool, None, _DRAIN_BYTES)
            if not loaded:
                break
            items = [item for _, content in loaded for item in content]
            missing = self._send(items, until) if items else set()
            done += len(items)
            self._clear(loaded, missing)
            if missing:
                break
        return done

    def _load(self, spool: Spool, most_items: int | None, most_bytes: int) -> _Loaded:
        """The oldest in the spool that fit, and what of them is to be written. Without
        `most_items` one fits in any case.
        """
        loaded: _Loaded = []
        for file, content in spool.oldest(_DRAIN_FILES):
            most_bytes -= file.size
            if most_items is not None:
                most_items -= file.items
            has_room = most_bytes >= 0 and (most_items is None or most_items >= 0)
            if not has_room and (loaded or most_items is not None):
                break
            if len(content) != file.items:
                spool.remove(file)
                self._lose_file(file, "a file in the spool is damaged, or gone")
                continue
            now = self._now()
            loaded.append((file, [item for item in content if not 0 < item.expires_at <= now]))
        return loaded

    def _clear(self, loaded: _Loaded, missing: set[tuple[str, int, int]]) -> None:
        """Delete from the spool what the store has."""
        for file, content in loaded:
            if self._spool is not None and missing.isdisjoint(item.key for item in content):
                self._spool.remove(file)
                self._drained += 1

    def _lose(self, losses: dict[str, int]) -> None:
        for name, count in losses.items():
            self._losses[name] = self._losses.get(name, 0) + count

    def _lose_file(self, file: Spooled, why: str) -> None:
        self._lose({"executions": 1, "items": file.items})
        self._tell(why, why)

    def _say_goodbye(self) -> None:
        """The environment ends: what is not in the store now may never be, nor be told of."""
        if untold := self._losses.get("executions", 0):
            log(f"{untold} executions were given up after the last one that could tell of it")
        spooled = 0 if self._spool is None else len(self._spool)
        if spooled or self._outbox:
            log(
                f"at the end of this environment {spooled + len(self._outbox)} executions are not "
                f"in the store: {self._writer.last_error}"
            )

    def _tell(self, kind: str, line: str) -> None:
        now = self._now()
        told = self._told.get(kind)
        if told is None or not told <= now < told + _TOLD_AGAIN_S:
            self._told[kind] = now
            log(line)
