"""Run time: what the agent has of the preloaded library, which is a file that both map.

Makes the file, drains its rings, and knows what the library cannot: who has died, and for how long
a thread had to wait for its CPU. Same duck type as the probe (agent/sensor.py).
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import time

from lambdatrace import partition, wire
from lambdatrace.agent.machine import process_cpu
from lambdatrace.errors import ProbeError
from lambdatrace.preload import layout
from lambdatrace.preload.ring import SharedRing, blank, lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

EVENTS_SLOTS = 2048  # 512 kB
SYSCALLS_SLOTS = 1 << 16  # 3 MB
CONNECTIONS = 1024  # as many as a Lambda environment has descriptors
PROCESSES = 256
UNUSED_SLOTS = 1
WAKE_SUFFIX = ".wake"

_WORD = 4
_MAGIC_BYTES = 8


class Handover:
    """Descriptors that keep the mapping, and what there is to know of it."""

    __slots__ = ("descriptors", "layout")

    def __init__(self, descriptors: list[int], layout: dict[str, Any]) -> None:
        self.descriptors = descriptors
        self.layout = layout


class Preload:
    """The agent's end of the mapping."""

    backend = "preload"
    follows = True
    blind = (partition.LOCK,)

    def __init__(self, handover: Handover) -> None:
        """See `create` and `adopt`."""
        self._descriptors = handover.descriptors
        self._layout = handover.layout
        file, self._pipe = self._descriptors
        self._map = mmap.mmap(file, os.fstat(file).st_size)
        self._bytes = memoryview(self._map)
        self._header = layout.Header.unpack(self._bytes)
        self.unavailable: dict[str, str] = self._layout["unavailable"]
        self.why: str = self._layout["why"]
        h = self._header
        self.events = EventRing(self, h.events_at, h.events_bytes)
        self.syscalls = SharedRing(
            self._bytes,
            _place("syscalls_head"),
            h.syscalls_at,
            h.syscalls_bytes,
            wire.SyscallRecord.SIZE,
        )
        # One descriptor for all that wakes the agent: the library's pipe, and processes that end.
        self._poll = select.epoll()
        self._poll.register(self._pipe, select.EPOLLIN)
        self._twin = os.dup(self._poll.fileno())
        self._watched: dict[int, int] = {}  # pidfd -> number of the process's slot
        self._runqueues: dict[tuple[int, int], int] = {}
        # Branch -> beginning of its execution, and its times when they were last looked at.
        self._latest: dict[int, tuple[int, int, int]] = {}

    @classmethod
    def create(
        cls,
        path: str,
        *,
        record_syscalls: bool = False,
        runtime_api: str = "",
        capture: frozenset[str],
        threshold_ns: int,
        scale: int = 1,
        splits: bool = False,
        most_exchanges: int = 1000,
        most_blocked: int = 500,
        most_texts: int = 1000,
        most_pauses: int = 500,
        why: str = "",
    ) -> Preload:
        """Make the file at `path` and the pipe beside it; the options are Probe.load's.

        Raises ProbeError.
        """
        address, port = wire.runtime_address(runtime_api)
        events = EVENTS_SLOTS * scale * layout.EVENT_STRIDE
        calls = (SYSCALLS_SLOTS if record_syscalls else UNUSED_SLOTS) * layout.SYSCALL_STRIDE
        processes_at = layout.MAP_HEADER_BYTES
        connections_at = processes_at + PROCESSES * scale * layout.ProcessSlot.SIZE
        events_at = connections_at + CONNECTIONS * scale * layout.CONNECTION_STRIDE
        size = events_at + events + calls
        header = layout.Header(*([0] * len(layout.Header.NAMES)))
        header.__dict__.update(
            magic=layout.MAP_MAGIC,
            version=layout.MAP_VERSION,
            bytes=size,
            threshold=threshold_ns,
            runtime_port=port,
            runtime_address=address,
            record_syscalls=int(record_syscalls),
            most_exchanges=most_exchanges,
            most_blocked=most_blocked,
            most_texts=most_texts,
            most_pauses=most_pauses,
            splits=int(splits),
            processes=PROCESSES * scale,
            connections=CONNECTIONS * scale,
            events_wake=events // 2,
            syscalls_wake=calls // 2 if record_syscalls else 0,
            processes_at=processes_at,
            connections_at=connections_at,
            events_at=events_at,
            syscalls_at=events_at + events,
            events_bytes=events,
            syscalls_bytes=calls,
            **{f"records_{group}": int(group in capture) for group in _GROUPS},
        )
        try:
            descriptors = _make(path, header)
        except OSError as error:
            raise ProbeError(
                f"{path} cannot be made: {error.strerror}",
                "lambdatrace's preload backend needs a place in /tmp",
            ) from error
        known = {
            "backend": cls.backend,
            "why": why,
            "path": path,
            "unavailable": dict.fromkeys(_UNSEEN, "a preloaded library does not see them"),
        }
        return cls(Handover(descriptors, known))

    @classmethod
    def adopt(cls, handover: Handover) -> Preload:
        """What another process made."""
        found = cls(handover)
        # It has to look for itself at who is there.
        os.write(found._pipe, b"\0")
        return found

    def handover(self) -> Handover:
        """What another process needs in order to adopt it."""
        return Handover(self._descriptors, self._layout)

    @property
    def events_fd(self) -> int:
        """Readable (epoll) when the library has something to say, or a runtime has ended."""
        return self._poll.fileno()

    @property
    def syscalls_fd(self) -> int:
        """The same, by another number: whoever is woken drains both."""
        return self._twin

    def invoked(self, request_id: str, at_ns: int) -> None:
        """An execution has been told of: its own traffic says so better."""

    def due_in(self) -> float | None:
        """None: whoever has something to say wakes the agent."""
        return None

    def look(self) -> bool:
        """Nothing: as above."""
        return False

    def lost(self) -> tuple[int, ...]:
        """What could not be kept, in the order of wire.COUNTERS."""
        at = _place("lost_events")
        counts = list(self._bytes[at : at + 8 * len(wire.COUNTERS)].cast("Q"))
        counts[0] += self.events.given_up
        counts[1] += self.syscalls.given_up
        return tuple(counts)

    def followed_connections(
        self,
    ) -> Iterator[tuple[wire.ConnectionRecord, wire.Exchange, bool]]:
        """Every connection in the mapping, its latest exchange, and whether its process lives.

        One whose process has ended is forgotten.
        """
        stride = layout.CONNECTION_STRIDE
        begin = self._header.connections_at
        end = begin + self._header.connections * stride
        states = self._bytes[begin:end].cast("I")[:: stride // _WORD].tolist()
        for number, state in enumerate(states):
            if state != layout.SLOT_OPEN:
                continue
            at = begin + number * stride
            slot = layout.ConnectionSlot.unpack(self._bytes, at)
            record = wire.ConnectionRecord.unpack(self._bytes, at + slot.SIZE)
            exchange = wire.Exchange.unpack(self._bytes, at + slot.SIZE + record.SIZE)
            is_open = lives(slot.owner)
            if not is_open:
                record.closed = record.closed or max(
                    record.started, record.last_out, record.last_in
                )
                self._bytes[at : at + _WORD] = layout.SLOT_FREE.to_bytes(_WORD, "little")
            if not slot.runtime:
                yield record, exchange, is_open

    def followed_branches(self) -> set[int]:
        """None: other extensions have no library."""
        return set()

    def runtime_waits(self) -> bool:
        """Whether a runtime has asked for the next invocation and not got one."""
        stride, begin = layout.CONNECTION_STRIDE, self._header.connections_at
        for number in range(self._header.connections):
            at = begin + number * stride
            slot = layout.ConnectionSlot.unpack(self._bytes, at)
            if slot.state == layout.SLOT_OPEN and slot.awaits_invocation and lives(slot.owner):
                return True
        return False

    def figures(self, branch: int, now: int) -> wire.EdgeRecord | None:
        """A branch's figures until `now` (ns, the records' clock), as an edge has them."""
        root = self._root(branch)
        if root is None:
            return None
        idle, flags = _idle(root), 0
        cpu, cpu_wall = root.cpu, root.cpu_wall
        if root.serves:
            if root.since and now > root.since:
                idle[root.waits & 7] += now - root.since
            times = self._times(root)
            if times is None or times[0] < root.thread_cpu:
                flags = wire.UNSEEN_CPU
            else:
                thread_cpu = max(0, times[0] - root.thread_cpu)
                process_cpu = max(thread_cpu, times[1] - root.process_cpu)
                awake = max(0, now - root.started - (sum(idle) - root.idle))
                cpu += process_cpu
                cpu_wall += min(process_cpu, max(thread_cpu, awake))
        runqueue = self.note_runqueue(root.serves or root.pid, root.serving)[1]
        return wire.EdgeRecord(
            wire.KIND_EDGE, 0, flags, branch, root.pid, root.serving, now, 0,
            cpu, cpu_wall, runqueue, runqueue,
            root.folded_exchanges, root.folded_blocked, 0, 0, 0, b"",
            root.folded_texts, root.folded_pauses, *idle[wire.WAITS_NETWORK :],
        )  # fmt: skip

    def _times(self, root: layout.ProcessSlot) -> tuple[int, int] | None:
        """Ns of CPU that (the serving thread, its process) has had; the latest known if it is gone.

        None: never known in this execution.
        """
        thread = _schedstat(root.serves, root.serving)[0]
        process = process_cpu(root.serves)
        if thread is not None and process is not None:
            self._latest[root.branch] = root.started, thread, process
        started, *known = self._latest.get(root.branch, (0, 0, 0))
        return (known[0], known[1]) if started == root.started else None

    def pause(self, branch: int, now: int) -> wire.PauseRecord | None:
        """What the thread that serves the execution waits in at `now`; None: in nothing."""
        root = self._root(branch)
        if root is None or not root.serves or not root.since or root.since >= now:
            return None
        return wire.PauseRecord(
            wire.KIND_PAUSE, root.waits, root.op, 0, root.connection,
            root.serves, root.serving, branch, 0, root.since, now,
        )  # fmt: skip

    def asleep(self, branch: int, now: int) -> list[wire.BlockedRecord]:
        """Of the threads that serve executions, calls that still wait and are no connection's."""
        found = []
        for process in self._processes():
            of_it = process.pid and branch in (0, process.branch)
            if (
                of_it
                and process.serves
                and process.since
                and process.since < now
                and process.waits != wire.WAITS_NETWORK
            ):
                fd = process.fd - (1 << 32) if process.fd >> 31 else process.fd
                found.append(
                    wire.BlockedRecord(
                        wire.KIND_BLOCKED, process.op, 0, fd, process.serves, process.serving,
                        process.branch, wire.NOT_RETURNED, process.since, now,
                        now - process.since, _path(process.serves, fd),
                    )
                )  # fmt: skip
        return found

    def close(self) -> None:
        """Let go of the mapping and remove its files; whoever has it mapped goes on for nobody."""
        for pidfd in self._watched:
            os.close(pidfd)
        os.close(self._twin)
        self._poll.close()
        self.events.close()
        self.syscalls.close()
        self._bytes.release()
        self._map.close()
        for fd in self._descriptors:
            os.close(fd)
        self.leave()

    def leave(self) -> None:
        """Remove the files."""
        _unlink(self._layout["path"])

    def take_wakes(self) -> bytes:
        """Empty the pipe; returns edges (events) of runtimes that have ended without a word."""
        said = b""
        for fd, _ in self._poll.poll(0):
            if fd == self._pipe:
                try:
                    while len(os.read(self._pipe, 4096)) == 4096:
                        pass
                except BlockingIOError:
                    continue
        said += self._watch_processes()
        for fd, _ in self._poll.poll(0):
            if fd in self._watched:
                number = self._watched.pop(fd)
                self._poll.unregister(fd)
                os.close(fd)
                said += self._bury(number)
        return said

    def note_runqueue(self, process_id: int, thread_id: int) -> tuple[int, int]:
        """(ns that a thread had waited for a CPU when last asked, and by now)."""
        key = process_id, thread_id
        waited = _schedstat(process_id, thread_id)[1]
        before = self._runqueues.get(key, waited or 0)
        now = before if waited is None else waited
        self._runqueues[key] = now
        return before, now

    def _watch_processes(self) -> bytes:
        """Have the end of each branch's first process wake the agent.

        Returns edges (events) of those that have ended already.
        """
        said = b""
        known = set(self._watched.values())
        for number, process in enumerate(self._processes()):
            if not process.pid or not process.flags & layout.PROCESS_ROOT or number in known:
                continue
            try:
                pidfd = os.pidfd_open(process.pid)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    said += self._bury(number)
                continue
            self._watched[pidfd] = number
            self._poll.register(pidfd, select.EPOLLIN)
        return said

    def _bury(self, number: int) -> bytes:
        at = self._header.processes_at + number * layout.ProcessSlot.SIZE
        process = layout.ProcessSlot.unpack(self._bytes, at)
        now = time.monotonic_ns()
        edge = self.figures(process.branch, now)
        last = self._last_words(process.branch, now)
        self._forget(number)
        if edge is None or process.flags & layout.PROCESS_ENDED:
            return b""  # it has told of its end itself
        edge.__dict__.update(
            edge=wire.EDGE_PROCESS_EXIT,
            flags=wire.ENDING_UNKNOWN,
            tid=process.pid,
            born=process.born,
            text=process.name,
        )
        return last + edge.pack()

    def _last_words(self, branch: int, now: int) -> bytes:
        """What a process that was ended was waiting in, as events."""
        pause = self.pause(branch, now)
        waited: list[wire.Record] = [] if pause is None else [pause]
        waited += self.asleep(branch, now)
        threshold = self._header.threshold
        return b"".join(
            each.pack().ljust(wire.EVENT_BYTES, b"\0")
            for each in waited
            if now - each.__dict__["started"] >= threshold
        )

    def _forget(self, number: int) -> None:
        at = self._header.processes_at + number * layout.ProcessSlot.SIZE
        process = layout.ProcessSlot.unpack(self._bytes, at)
        self._latest.pop(process.branch, None)
        for key in [key for key in self._runqueues if key[0] == process.pid]:
            del self._runqueues[key]
        self._bytes[at : at + _WORD] = bytes(_WORD)

    def _processes(self) -> list[layout.ProcessSlot]:
        begin, size = self._header.processes_at, layout.ProcessSlot.SIZE
        end = begin + self._header.processes * size
        return list(layout.ProcessSlot.iter_unpack(self._bytes[begin:end]))

    def _root(self, branch: int) -> layout.ProcessSlot | None:
        for process in self._processes():
            is_root = process.flags & layout.PROCESS_ROOT
            if process.pid and is_root and process.branch == branch:
                return process
        return None


class EventRing(SharedRing):
    """The ring of events, with what only the agent can know of them."""

    def __init__(self, owner: Preload, at: int, size: int) -> None:
        super().__init__(owner._bytes, _place("events_head"), at, size, wire.EVENT_BYTES)
        self._owner = owner

    def drain(self, until: int | None = None) -> bytes:
        """Every finished record that waits, and the ends of runtimes that were ended."""
        ends = self._owner.take_wakes()
        taken = bytearray(super().drain(until))
        self._add_runqueues(taken)
        return bytes(taken) + ends

    def _add_runqueues(self, taken: bytearray) -> None:
        """Fill in for how long the serving thread had waited for a CPU.

        The agent is woken when a response is out, and the thread waits from then until it is given
        the next execution: what is read now was so at the end of the one, and is at the beginning
        of the other.
        """
        for offset in range(0, len(taken), wire.EVENT_BYTES):
            if taken[offset] != wire.KIND_EDGE:
                continue
            edge = wire.EdgeRecord.unpack(memoryview(taken), offset)
            before, now = self._owner.note_runqueue(edge.tgid, edge.tid)
            waited = before if edge.edge == wire.EDGE_START else now
            edge.runqueue = edge.runqueue_wall = waited
            taken[offset : offset + wire.EVENT_BYTES] = edge.pack()


# Not groups of the capture, but parts of what the kernel's probe tells.
_UNSEEN = ("locks", "page faults", "static programs")
_GROUPS = ("dns", "tls", "exchanges", "blocked", "cpu", "processes")


def _place(name: str) -> int:
    """Where a field of the header stands (bytes)."""
    return layout.Header.offset(name)


def _make(path: str, header: layout.Header) -> list[int]:
    """Descriptors of a new file with its contents, and of both ends of a new pipe.

    Raises OSError, and leaves nothing behind then.
    """
    _unlink(path)
    made: list[int] = []
    new_file = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # Both ends: it is never without a writer, and never ends.
    both_ends = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        made.append(os.open(path, new_file, 0o600))
        _fill(made[0], _contents(header))
        os.mkfifo(path + WAKE_SUFFIX, 0o600)
        made.append(os.open(path + WAKE_SUFFIX, both_ends))
    except OSError:
        for fd in made:
            os.close(fd)
        _unlink(path)
        raise
    return made


def _contents(header: layout.Header) -> Iterator[bytes]:
    """A new mapping, piece by piece; at its beginning the magic is left out."""
    packed = header.pack()
    yield bytes(_MAGIC_BYTES) + packed[_MAGIC_BYTES:].ljust(header.events_at - _MAGIC_BYTES, b"\0")
    yield from blank(wire.EVENT_BYTES, header.events_bytes)
    yield from blank(wire.SyscallRecord.SIZE, header.syscalls_bytes)


def _fill(file: int, pieces: Iterator[bytes]) -> None:
    """Raises OSError.

    Written, not mapped, and all of it: its pages cost whoever touches them less, and no disk that
    is full by then can have a process killed that writes to one.
    """
    for piece in pieces:
        left = piece
        while left:
            left = left[os.write(file, left) :]
    # The library looks for it.
    os.pwrite(file, layout.MAP_MAGIC.to_bytes(_MAGIC_BYTES, "little"), 0)


def _unlink(path: str) -> None:
    for name in (path, path + WAKE_SUFFIX):
        try:
            os.unlink(name)
        except FileNotFoundError:
            continue


def _idle(process: layout.ProcessSlot) -> list[int]:
    return [
        process.idle_other, process.idle_network, process.idle_poll, process.idle_file,
        process.idle_sleep, process.idle_lock, process.idle_child, process.idle_fault,
    ]  # fmt: skip


def _schedstat(process_id: int, thread_id: int) -> tuple[int | None, int | None]:
    """(ns on a CPU, ns waiting for one) of a thread so far; None where the kernel does not tell."""
    try:
        with open(f"/proc/{process_id}/task/{thread_id}/schedstat", "rb") as file:
            words = file.read().split()
        return int(words[0]), int(words[1])
    except (OSError, ValueError, IndexError):
        return None, None


def _path(process_id: int, fd: int) -> bytes:
    if fd < 0:
        return b""
    try:
        path = os.fsencode(os.readlink(f"/proc/{process_id}/fd/{fd}"))
    except OSError:
        return b""
    return path[:95] if path.startswith(b"/") else b""
