"""Blocked syscalls taken together: what the threads of an execution waited in, and for how long."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING

from lambdatrace.model import BlockedKind, Part
from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace.model import Blocked, Pause

# Time that belongs to a call; of the rest, connections and namelookups tell.
_OF_CALLS = frozenset({Part.FILE, Part.SLEEP, Part.LOCK, Part.OTHER})
# What a thread does not wait in for work, which may be all that it ever does.
_AT_WORK = frozenset({BlockedKind.FILE, BlockedKind.FAULT, BlockedKind.CHILD})
# From this share of the duration on a wait is worth showing: where it held the execution up, and
# where it only went on beside other work.
_HELD_UP = 0.01
_BESIDE = 0.05


class SlowCalls(Value):
    """All waits of one thread in one syscall on one file or descriptor."""

    op: str
    kind: BlockedKind
    fd: int | None
    path: str | None
    process_id: int
    thread_id: int
    calls: tuple[Blocked, ...]  # by start

    @property
    def blocked_ns(self) -> int:
        """Asleep, summed."""
        return sum(each.blocked_ns for each in self.calls)

    @property
    def longest_ns(self) -> int:
        """Asleep in the longest one."""
        return max(each.blocked_ns for each in self.calls)


def slow_calls(blocked: Iterable[Blocked]) -> tuple[SlowCalls, ...]:
    """Blocked syscalls (by start) by thread, name and what they were called on; by first start."""
    found: dict[tuple[str, int | None, str | None, int, int], list[Blocked]] = {}
    for each in blocked:
        # A path stands for its file, whichever descriptor that had.
        fd = each.fd if each.path is None else None
        key = (each.op, fd, each.path, each.process_id, each.thread_id)
        found.setdefault(key, []).append(each)
    return tuple(
        SlowCalls(op, rows[0].kind, fd, path, process, thread, tuple(rows))
        for (op, fd, path, process, thread), rows in found.items()
    )


def worth_showing(
    calls: Sequence[SlowCalls],
    pauses: Iterable[Pause] | None,
    duration_ns: int,
    limit: int,
) -> tuple[SlowCalls, ...]:
    """The calls that say where the time of an execution went, `limit` rows of them at most.

    Those that held it up: when they returned, a pause of all its threads ended. Besides, those
    that waited long for a file or a child while others ran. Threads that waited for work are left
    out, and polls in which a connection was waited for. `pauses` are None where they were not
    recorded; then all long ones are taken.
    """
    held_up = _held_up(calls, pauses or ())
    found = []
    for each in calls:
        own = [call for call in each.calls if id(call) in held_up]
        held = sum(held_up[id(call)] for call in own)
        if pauses is not None and each.kind not in _AT_WORK:
            if held >= _HELD_UP * duration_ns:
                found.append((held, replaced(each, calls=tuple(own))))
        elif held >= _HELD_UP * duration_ns or each.blocked_ns >= _BESIDE * duration_ns:
            found.append((held, each))
    found.sort(key=lambda row: (row[0], row[1].blocked_ns), reverse=True)
    chosen = [each for _, each in found[:limit]]
    return tuple(sorted(chosen, key=lambda each: each.calls[0].started_ns))


_when = itemgetter(0, 1)


def _held_up(calls: Sequence[SlowCalls], pauses: Iterable[Pause]) -> Mapping[int, int]:
    """How long (ns) all threads had paused when a call ended that, by the call's identity."""
    by_thread: dict[int, list[tuple[int, int, int]]] = {}
    for group in calls:
        ends = by_thread.setdefault(group.thread_id, [])
        ends += [
            (each.started_ns + each.duration_ns, each.started_ns, id(each)) for each in group.calls
        ]
    for ends in by_thread.values():
        # Of calls that neither began nor ended apart the one told first, wherever in memory.
        ends.sort(key=_when)
    found: dict[int, int] = {}
    for pause in pauses:
        if pause.part not in _OF_CALLS or pause.thread_id not in by_thread:
            continue
        ends, ended = by_thread[pause.thread_id], pause.started_ns + pause.duration_ns
        # The first of its calls that ended when the pause did or later, if it had begun by then.
        place = bisect_left(ends, (ended,))
        if place < len(ends) and ends[place][1] < ended:
            found[ends[place][2]] = found.get(ends[place][2], 0) + pause.duration_ns
    return found
