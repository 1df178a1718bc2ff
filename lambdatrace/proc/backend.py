"""Run time: a sensor that looks, at /proc and at what the kernel tells of sockets.

Nothing wakes it but the end of the runtime, so it says when it wants to be asked (`due_in`): often
at first, seldom in an execution that takes long. Same duck type as the probe (agent/sensor.py).
"""

from __future__ import annotations

import errno
import os
import select
import time

from lambdatrace import partition, wire
from lambdatrace.errors import ProbeError
from lambdatrace.proc import processes
from lambdatrace.proc.answers import Answers, waits
from lambdatrace.proc.connections import Connections
from lambdatrace.proc.sockets import Diagnosis, Tables, open_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from lambdatrace.proc.sockets import Socket

# Looks lie so far apart: a part of the time since the execution began, which is how much later than
# need be its end may be seen, within bounds (ns).
_PART = 16
_SHORTEST_NS, _LONGEST_NS = 1_000_000, 50_000_000
# So late at most is the first look for it to tell how an execution began.
_IN_TIME_NS = 20_000_000
# Looking at all sockets and threads of the function takes longer, the more there are; it is to take
# no more than a fiftieth of the CPU that the function has.
_PART_OF_ALL = 2
_LONGEST_OF_ALL_NS = 250_000_000
_COSTS = 50
_NS_PER_S = 1_000_000_000
# MB with which a function has a CPU for itself. One with less has as much less of it, and looks
# (0.2 ms each, when they come seldom) take no larger part of that, as far as an end need not be
# noticed much later for it.
_MB_OF_A_CPU = 1769

_UNSEEN = "not among what /proc tells"
_SHORT = "a connection that came and went between two looks is not seen"
_ERRORS = "that the runtime has answered is seen, not whether with an error: both are ok here"
_NO_COUNTERS = "/proc/net/tcp does not tell them"


class Handover:
    """What there is to know of it: it holds nothing in the kernel."""

    __slots__ = ("descriptors", "layout")

    def __init__(self, layout: dict[str, Any]) -> None:
        self.descriptors: list[int] = []
        self.layout = layout


class Looks:
    """What has been seen and not been asked for yet; a ring of records to whoever drains it."""

    position = 0

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self._waiting: list[bytes] = []

    def add(self, record: wire.Record) -> None:
        """Put a record behind the others."""
        self._waiting.append(record.pack().ljust(self.stride, b"\0"))

    def extend(self, records: Iterable[wire.Record]) -> None:
        """Put several there."""
        for record in records:
            self.add(record)

    @property
    def is_waiting(self) -> bool:
        """Whether there is any."""
        return bool(self._waiting)

    def drain(self, until: int | None = None) -> bytes:
        """All that waits; positions are not told here, so `until` makes no difference."""
        taken, self._waiting = self._waiting, []
        return b"".join(taken)


class EventLooks(Looks):
    """Asking for events is looking."""

    def __init__(self, owner: Proc) -> None:
        super().__init__(wire.EVENT_BYTES)
        self._owner = owner

    def drain(self, until: int | None = None) -> bytes:
        """What there is to be seen, and all that waits."""
        self._owner.look()
        self._owner.look_at_end()
        return super().drain(until)


class Proc:
    """Sees one function's runtime, once an execution has been told of (`invoked`)."""

    backend = "proc"
    blind = (
        partition.DNS, partition.CONNECT, partition.TLS, partition.WAIT, partition.TRANSFER,
        partition.FILE, partition.SLEEP, partition.LOCK,
    )  # fmt: skip

    def __init__(self, layout: dict[str, Any]) -> None:
        """What `create` made; of what another process has seen with it nothing is known.

        Raises ProbeError where less can be looked at than when it was made: who waits for an
        execution would not notice its end.
        """
        self._layout = layout
        self.why: str = layout["why"]
        self.unavailable: dict[str, str] = layout["unavailable"]
        self._root: int = layout["root"]
        self._address, self._port = wire.runtime_address(layout["runtime_api"])
        self._sockets, refused = open_sockets()
        if refused and "end" not in self.unavailable:
            raise ProbeError(f"{refused}, and was not before", "nothing can be done about it here")
        self.events = EventLooks(self)
        self.syscalls = Looks(wire.SyscallRecord.SIZE)
        self._poll = select.epoll()
        self._twin = os.dup(self._poll.fileno())
        self._runtime: _Runtime | None = None
        self._request_id = ""
        self._invoked = 0  # ns; 0: nothing is under way
        # Until a runtime is not seen to ask. Nobody is to be held up for an answer that may not be
        # seen either.
        self.follows = isinstance(self._sockets, Diagnosis)
        self._next = self._next_of_all = 0  # when to look again (ns)
        # How many times less than a CPU the function has, as far as is known.
        self._scarcity = max(1.0, _MB_OF_A_CPU / max(1, layout["memory_mb"] or _MB_OF_A_CPU))
        self._shortest = min(_IN_TIME_NS, int(_SHORTEST_NS * self._scarcity))
        self._longest = min(_LONGEST_OF_ALL_NS, int(_LONGEST_NS * self._scarcity))

    @classmethod
    def create(
        cls, root: int, *, runtime_api: str, memory_mb: int | None = None, why: str = ""
    ) -> Proc:
        """A sensor for what `root` (a process id) is going to start. Raises ProbeError."""
        try:
            sockets, refused = open_sockets()
        except OSError as error:
            raise ProbeError(
                f"neither NETLINK_SOCK_DIAG nor /proc/net/tcp can be read: {error.strerror}",
                "lambdatrace's proc backend needs one of the two",
            ) from error
        sockets.close()
        unavailable = dict.fromkeys(("dns", "tls", "exchanges", "blocked", "processes"), _UNSEEN)
        unavailable["short connections"] = _SHORT
        unavailable["errors"] = _ERRORS
        if refused:
            unavailable["bytes"] = unavailable["end"] = f"{refused}, and {_NO_COUNTERS}"
        return cls(
            {
                "backend": cls.backend,
                "why": why,
                "root": root,
                "runtime_api": runtime_api,
                "memory_mb": memory_mb,
                "unavailable": unavailable,
            }
        )

    def handover(self) -> Handover:
        """For whoever takes over."""
        return Handover(self._layout)

    @property
    def events_fd(self) -> int:
        """Readable (epoll) when the runtime has ended."""
        return self._poll.fileno()

    @property
    def syscalls_fd(self) -> int:
        """The same, by another number."""
        return self._twin

    def due_in(self) -> float | None:
        """How soon it wants to look again (s); None: not before something is told."""
        if not self._invoked or self._runtime is None or not self.follows:
            return None
        return max(0.0, (self._next - time.monotonic_ns()) / 1e9)

    def invoked(self, request_id: str, at_ns: int) -> None:
        """The platform has told of an execution, at `at_ns` (the records' clock)."""
        if self._runtime is None:
            self._runtime = self._find()
        runtime, now = self._runtime, time.monotonic_ns()
        if runtime is None:
            self.follows = False
            return
        in_time = now - at_ns < _IN_TIME_NS
        self._request_id, self._invoked = request_id, at_ns
        runtime.begin(at_ns, in_time)
        edge = runtime.edge(wire.EDGE_START, at_ns, fresh=False)
        gone = self._look_at_all(runtime, now, at_ns if in_time else now)
        self.follows = self.follows and runtime.is_seen_to_ask
        if self.follows:
            edge.flags |= wire.SAMPLED_EDGE
            edge.text = b"request-id: " + request_id.encode()
            self.events.add(edge)
        self.events.extend(gone)
        self._next = now

    def look(self) -> bool:
        """Take down what there is to be seen now, if it is time to; whether there is anything."""
        now, runtime = time.monotonic_ns(), self._runtime
        if self.follows and runtime is not None and self._invoked and now >= self._next:
            self._look(runtime, now)
        return self.events.is_waiting

    def look_at_end(self) -> None:
        """Whether the runtime has ended."""
        if self._poll.poll(0):
            self._bury()

    def _look(self, runtime: _Runtime, now: int) -> None:
        self._next = now + self._apart(now, _PART, self._longest)
        answered = runtime.answered(self._sockets, now)
        if answered is not None or now >= self._next_of_all:
            is_last = answered is not None
            self.events.extend(self._look_at_all(runtime, now, now, is_last=is_last))
        if answered is not None:
            earliest, latest = answered
            # What is there at the very end was opened before it.
            runtime.connections.begun_by(latest - 1)
            edge = runtime.edge(wire.EDGE_RESPONSE, latest, fresh=False)
            edge.flags |= wire.SAMPLED_EDGE
            edge.born, edge.text = earliest, self._request_id.encode()
            self.events.add(edge)
            self._invoked = 0

    def _look_at_all(
        self, runtime: _Runtime, now: int, opened: int, *, is_last: bool = False
    ) -> list[wire.ConnectionRecord]:
        """Connections that are gone. `opened`: since when what is new is there (ns)."""
        began = time.process_time_ns()
        runtime.take_times()
        gone = runtime.connections.look(self._sockets, now, opened, is_last=is_last)
        cost = int((time.process_time_ns() - began) * _COSTS * self._scarcity)
        apart = self._apart(now, _PART_OF_ALL, _LONGEST_OF_ALL_NS)
        self._next_of_all = now + max(apart, min(_NS_PER_S, cost))
        return gone

    def _apart(self, now: int, part: int, longest: int) -> int:
        """How long to wait for the next look (ns)."""
        return min(longest, max(self._shortest, (now - self._invoked) // part))

    def _is_api(self, socket: Socket) -> bool:
        return socket.port == self._port and socket.address == self._address

    def _find(self) -> _Runtime | None:
        """The runtime, whose end is waited for from now on; None: there is none."""
        lists = processes.lists_children()
        mine = {*processes.tree(os.getppid()), os.getpid(), self._root}
        found = [
            process_id
            for process_id in (processes.tree(self._root) if lists else processes.everybody())
            if process_id not in mine and processes.is_runtime(process_id)
        ]
        if not found:
            return None
        # All others it has started itself.
        process_id = min(found, key=processes.started)
        try:
            pidfd = os.pidfd_open(process_id)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            raise
        self._poll.register(pidfd, select.EPOLLIN)
        return _Runtime(process_id, pidfd, self._is_api)

    def _bury(self) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is None:
            return
        self._poll.unregister(runtime.pidfd)
        os.close(runtime.pidfd)
        now = time.monotonic_ns()
        self.events.extend(runtime.connections.end(now))
        self._invoked = 0
        if not self.follows:
            # Nor whether it had answered: an end by the platform would be taken for a crash.
            return
        edge = runtime.edge(wire.EDGE_PROCESS_EXIT, now, fresh=False)
        edge.flags |= wire.ENDING_UNKNOWN
        edge.text = runtime.name
        self.events.add(edge)

    def followed_connections(
        self,
    ) -> Iterator[tuple[wire.ConnectionRecord, wire.Exchange, bool]]:
        """Every connection that was there at the latest look at all of them."""
        if self._runtime is None:
            return
        no_exchange = wire.Exchange(*[0] * len(wire.Exchange.NAMES))
        if self._invoked:
            # It is told of before its end was seen: shortly before its deadline.
            now = time.monotonic_ns()
            for record in self._look_at_all(self._runtime, now, now):
                yield record, no_exchange, False
        for record in self._runtime.connections.open_ones():
            yield record, no_exchange, True

    def followed_branches(self) -> set[int]:
        """None: other extensions are not looked at."""
        return set()

    def runtime_waits(self) -> bool:
        """Whether the runtime has asked for the next invocation and not got one."""
        if self._runtime is None or not isinstance(self._sockets, Diagnosis):
            return False
        return all(waits(each) for each in self._runtime.current(self._sockets))

    def figures(self, branch: int, now: int) -> wire.EdgeRecord | None:
        """A branch's figures until `now` (ns, the records' clock), as an edge has them."""
        if self._runtime is None or branch not in (0, _BRANCH):
            return None
        return self._runtime.edge(0, now)

    def pause(self, branch: int, now: int) -> wire.PauseRecord | None:
        """None: what is waited in is not seen."""
        return None

    def asleep(self, branch: int, now: int) -> list[wire.BlockedRecord]:
        """None either."""
        return []

    def lost(self) -> tuple[int, ...]:
        """Nothing: there is no ring that could be full."""
        return (0,) * len(wire.COUNTERS)

    def leave(self) -> None:
        """There is nothing to leave behind."""

    def close(self) -> None:
        """Let go of what it looks with."""
        if self._runtime is not None:
            os.close(self._runtime.pidfd)
        os.close(self._twin)
        self._poll.close()
        self._sockets.close()


# There is one runtime, and all that it starts is its.
_BRANCH = 1
# CLOCK_MONOTONIC_COARSE (linux/time.h) goes in the kernel's ticks, as a socket's times do.
_COARSE = 6
# Who has answered asks again at once: within so many steps (s), or it has already. A runtime may
# send its answer in pieces, and be seen between two of them: it is at work then.
_ASKS_AGAIN, _STEP_S = 10, 0.001


class _Runtime:
    """The function's runtime: its sockets to the runtime API, its CPU, its connections."""

    def __init__(self, process_id: int, pidfd: int, is_api: Callable[[Socket], bool]) -> None:
        self.process_id = process_id
        self.pidfd = pidfd
        self.name = processes.name_of(process_id)
        self.connections = Connections(process_id, _BRANCH, is_api)
        self._answers = Answers(int(time.clock_getres(_COARSE) * 1e9))
        self._before = self._latest = processes.Times(process_id)
        self._knows_beginning = True  # of the execution under way
        self._cpus = self._latest.cpus  # that it may have used in the execution under way
        self._wall = 0, 0  # ns on a CPU, and waiting for one, of the executions before

    def begin(self, invoked: int, in_time: bool) -> None:
        """An execution begins; not `in_time`: it has begun a while ago."""
        self._answers.invoked(invoked)
        self._wall = self._walls()
        if not in_time:
            self.take_times()
        # The runtime has waited since.
        self._before, self._knows_beginning = self._latest, in_time
        self._cpus = self._latest.cpus

    def take_times(self) -> None:
        """Look at what its threads have had of the CPUs."""
        times = processes.Times(self.process_id)
        if times.by_thread:  # it has not ended
            self._latest = times
            self._cpus = self._cpus | times.cpus

    @property
    def is_seen_to_ask(self) -> bool:
        """Whether it has a connection to the runtime API, and what that has sent is told."""
        return any(each.bytes_out is not None for each in self.connections.left_out)

    def current(self, sockets: Diagnosis | Tables) -> list[Socket]:
        """Its sockets to the runtime API as they are now."""
        found = [sockets.again(each) for each in self.connections.left_out]
        return [each for each in found if each is not None]

    def answered(self, sockets: Diagnosis | Tables, now: int) -> tuple[int, int] | None:
        """(not before, not after) of its answer."""
        found = self._answers.look(self.current(sockets), now)
        if found is not None:
            self._settle(sockets)
        return found

    def _settle(self, sockets: Diagnosis | Tables) -> None:
        """Wait for the rest of an answer, and for the next question.

        The platform gives no other invocation before the agent asks for one. What came after that
        would be taken for the answer to it.
        """
        for _ in range(_ASKS_AGAIN):
            is_at_work = processes.is_at_work(self.process_id)
            current = self.current(sockets)
            self._answers.settle(current)
            all_out = not is_at_work and not any(each.queued for each in current)
            if all_out and self._answers.question is not None:
                return
            time.sleep(_STEP_S)

    def edge(self, edge: int, now: int, *, fresh: bool = True) -> wire.EdgeRecord:
        """Its figures until now; with `fresh` false, those of the latest look at them."""
        if fresh:
            self.take_times()
        cpu_wall, runqueue_wall = self._walls()
        record = wire.EdgeRecord(*_NO_EDGE)
        record.__dict__.update(
            kind=wire.KIND_EDGE,
            edge=edge,
            flags=0 if self._knows_beginning else wire.UNSEEN_CPU,
            branch=_BRANCH,
            tgid=self.process_id,
            tid=self.process_id,
            time=now,
            cpu=self._latest.cpu,
            cpu_wall=cpu_wall,
            runqueue=self._latest.runqueue,
            runqueue_wall=runqueue_wall,
        )
        return record

    def _walls(self) -> tuple[int, int]:
        """The least that is sure: what the busiest thread had, or all on all CPUs they may use.

        With one thread, or one CPU, it is just that. While a thread waited, the others may have
        been on a CPU for as long as they ever were: then it was no wait of the execution's.
        """
        before, latest = self._before, self._latest
        risen = [
            [
                now - then
                for now, then in zip(times, before.by_thread.get(thread, (0, 0)), strict=True)
            ]
            for thread, times in latest.by_thread.items()
        ]
        all_of_them = max(0, latest.cpu - before.cpu)
        busiest = max((cpu for cpu, _ in risen), default=0)
        waited = max((ns - max(0, all_of_them - cpu) for cpu, ns in risen), default=0)
        shared = all_of_them // (len(self._cpus) or os.cpu_count() or 1)
        return self._wall[0] + max(busiest, shared), self._wall[1] + max(0, waited)


_NO_EDGE = [b"" if kind[0] == "b" else 0 for kind in wire.EdgeRecord.__annotations__.values()]
