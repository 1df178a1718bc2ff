"""Run time: a loaded probe, its rings and its maps. loading.py loads it."""

from __future__ import annotations

import os
import struct

from lambdatrace import wire
from lambdatrace.bpf import native
from lambdatrace.bpf.kernel import Kernel
from lambdatrace.bpf.loading import NEVER_NS, Loading, Wanted, refusal
from lambdatrace.bpf.plan import EXTENSIONS
from lambdatrace.bpf.ring import Ring
from lambdatrace.capture import CAPTURE, DEFAULT_THRESHOLD_MS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Bytes. 512 kB hold 2,000 events, 4 MB 87,000 syscall records (0.4 s at 200,000 a second). The
# smallest ring a kernel takes is one page.
EVENTS_RING = 1 << 19
SYSCALLS_RING = 4 << 20
UNUSED_RING = 4096

CAPTURE_ALL = frozenset(CAPTURE)
DEFAULT_THRESHOLD_NS = DEFAULT_THRESHOLD_MS * 1_000_000
# Of one execution: what a diagnosis can use, and half of the ring. The rest is counted.
MOST_EXCHANGES = 1000
MOST_BLOCKED = 500
MOST_TEXTS = 1000
MOST_PAUSES = 500

# struct connection in probe.c: record and exchange, then leader, socket_id, shaken, sending,
# references, runtime, awaits_invocation, tls, looks, reader, sleeps, ticket, tickets, wanted,
# padding
_CONNECTION_VALUE = struct.Struct(f"<{wire.EVENT_BYTES}sQQQQIBBBBIIHBB4x")
_AWAITS_INVOCATION = 7
_SOCKET_KEY = struct.Struct("<Ii")
_SOCKET_VALUE = struct.Struct("<QQQQQBB6x")
# struct thread up to `waits`: tgid, branch, leader, connection, its start, changed, slept, waited,
# number, tid, op, place, waits
_THREAD_VALUE = struct.Struct("<IIQ8xQQ24xQQQ16xII4xB13xBB")
_WAITING = 0
_OPERATION_VALUE = struct.Struct("<B7x")
# struct branch: advanced, cpu, cpu_wall, runqueue, runqueue_wall, paused, idle, running, runnable,
# then what was counted
_IDLE = struct.Struct("<8Q")  # its `idle`, by WAITS_*
_BRANCH_VALUE = struct.Struct("<QQQQQQ64sii12I")
# struct adopted: leader, branch
_ADOPTED_VALUE = struct.Struct("<QI4x")


# What all wait for if some wait for this and others for that: the first of these.
_LIKELIEST = tuple(
    wire.WAITS_NUMBERS[name]
    for name in ("network", "poll", "file", "fault", "child", "sleep", "lock", "other")
)


class Handover:
    """Everything that keeps a loaded probe alive, to be passed to another process.

    Descriptors travel by SCM_RIGHTS or by fork; `layout` is what `Probe.adopt` needs to know of
    them. While any process holds them the kernel goes on sensing.
    """

    __slots__ = ("descriptors", "layout")

    def __init__(self, descriptors: list[int], layout: dict[str, Any]) -> None:
        self.descriptors = descriptors
        self.layout = layout


class Probe:
    """The loaded probe: its rings, the connections still open, and what it could not keep."""

    backend = "ebpf"
    follows = True
    why = ""
    blind: tuple[int, ...] = ()

    def __init__(self, kernel: Kernel, handover: Handover) -> None:
        """See `load` and `adopt`."""
        layout = handover.layout
        self._kernel = kernel
        self._descriptors = handover.descriptors
        self._layout = layout
        self._value_sizes: dict[str, int] = layout["value_sizes"]
        self._maps = {
            name: handover.descriptors[number] for number, name in enumerate(layout["maps"])
        }
        self.unavailable: dict[str, str] = layout[
            "unavailable"
        ]  # group of the plan -> why it is off
        self.events = Ring(self._maps["events"], layout["events"], wire.EVENT_BYTES)
        self.syscalls = Ring(self._maps["syscalls"], layout["syscalls"], wire.SyscallRecord.SIZE)

    @classmethod
    def load(
        cls,
        *,
        record_syscalls: bool = False,
        root: int = 0,
        runtime_api: str = "",
        events_ring: int = EVENTS_RING,
        syscalls_ring: int = SYSCALLS_RING,
        scale: int = 1,
        capture: frozenset[str] = CAPTURE_ALL,
        threshold_ns: int = DEFAULT_THRESHOLD_NS,
        most_exchanges: int = MOST_EXCHANGES,
        most_blocked: int = MOST_BLOCKED,
        most_texts: int = MOST_TEXTS,
        most_pauses: int = MOST_PAUSES,
        splits: bool = False,
        extensions: bool = False,
    ) -> Probe:
        """Load and attach.

        Parameters
        ----------
        record_syscalls : bool
            Level `syscalls`: one record for each socket syscall as well.
        root : int
            Process id, in this process's namespace, whose children are traced from now on; 0: none.
        runtime_api : str
            `address:port` of the Lambda Runtime API, empty outside Lambda.
        events_ring, syscalls_ring : int
            Bytes, powers of two.
        scale : int
            How many times a Lambda environment's threads, sockets and connections to provide for.
        capture : frozenset[str]
            Groups of CAPTURE.
        threshold_ns : int
            How long a syscall has to sleep to get a record.
        most_exchanges, most_blocked, most_texts, most_pauses : int
            Records of a kind that one execution may write; what comes on top is counted. Texts are
            pieces of DNS messages and TLS handshakes.
        splits : bool
            Runtimes may be forks of one process: each is a branch of its own.
        extensions : bool
            Processes that are there already may be followed as well, see `follow`.

        Raises
        ------
        ProbeError
            The kernel refused, or something it needs is missing.
        """
        wanted = Wanted(
            capture=capture | {EXTENSIONS} if extensions else capture,
            record_syscalls=record_syscalls,
            root=root,
            runtime_api=runtime_api,
            sizes={
                "events": events_ring,
                "syscalls": syscalls_ring if record_syscalls else UNUSED_RING,
            },
            scale=scale,
            threshold_ns=threshold_ns if "blocked" in capture else NEVER_NS,
            most_exchanges=most_exchanges,
            most_blocked=most_blocked,
            most_texts=most_texts,
            most_pauses=most_pauses,
            splits=splits,
        )
        loading = Loading(wanted)
        try:
            loading.run()
            return cls(loading.kernel, Handover(loading.descriptors, loading.layout()))
        except BaseException:
            for fd in loading.descriptors:
                os.close(fd)
            raise

    @classmethod
    def adopt(cls, handover: Handover) -> Probe:
        """The probe that another process loaded. Raises ProbeError."""
        return cls(Kernel(), handover)

    def handover(self) -> Handover:
        """What another process needs in order to adopt this probe."""
        return Handover(self._descriptors, self._layout)

    @property
    def events_fd(self) -> int:
        """Readable (epoll) when the probe wants its events ring drained."""
        return self._maps["events"]

    @property
    def syscalls_fd(self) -> int:
        """Readable (epoll) when the syscalls ring is half full."""
        return self._maps["syscalls"]

    def leave(self) -> None:
        """Nothing is left behind: the kernel detaches it with the last descriptor."""

    def invoked(self, request_id: str, at_ns: int) -> None:
        """An execution has been told of: its own traffic says so better."""

    def due_in(self) -> float | None:
        """None: whoever has something to say wakes the agent."""
        return None

    def look(self) -> bool:
        """Nothing: as above."""
        return False

    def lost(self) -> tuple[int, ...]:
        """What could not be kept since the probe was loaded, in the order of wire.COUNTERS."""
        cpus = _possible_cpus()
        value = native.buffer(8 * cpus)
        counts = []
        for number in range(len(wire.COUNTERS)):
            key = struct.pack("<I", number)
            if self._kernel.look_up(self._maps["lost"], key, value) < 0:
                raise refusal("reading the probe's counters")
            counts.append(sum(struct.unpack(f"<{cpus}Q", value.raw)))
        return tuple(counts)

    def followed_connections(
        self,
    ) -> Iterator[tuple[wire.ConnectionRecord, wire.Exchange, bool]]:
        """Every connection the kernel follows, its latest exchange, and whether it is still open.

        A connection without a descriptor that the kernel did not finish itself (a UDP socket with
        several peers, or whose process ended) is forgotten by the kernel with this call.
        """
        for key, value in self._entries("connections", 8, _CONNECTION_VALUE.size):
            data, leader, socket_id, _, _, _, runtime, *_ = _CONNECTION_VALUE.unpack(value)
            if runtime:
                continue
            record = wire.ConnectionRecord.unpack(data)
            exchange = wire.Exchange.unpack(data, wire.ConnectionRecord.SIZE)
            is_open = self._is_open(record, leader, socket_id)
            if not is_open:
                # The kernel saw no end of it, or not on this descriptor: when it was last used.
                record.closed = record.closed or max(
                    record.started, record.last_out, record.last_in
                )
                self._kernel.delete(self._maps["connections"], key)
            yield record, exchange, is_open

    def figures(self, branch: int, now: int) -> wire.EdgeRecord | None:
        """A branch's figures until `now` (ns, the records' clock), as an edge has them.

        None if the branch is not known.
        """
        value = self._lookup("branches", struct.pack("<I", branch), _BRANCH_VALUE.size)
        if value is None:
            return None
        (
            advanced, cpu, cpu_wall, runqueue, runqueue_wall, _, idle, running, runnable,
            _, _, folded_exchanges, folded_blocked, _, folded_texts, unseen, _, _, folded_pauses,
            *_,
        ) = _BRANCH_VALUE.unpack(value)  # fmt: skip
        span = max(0, now - advanced)
        asleep = list(_IDLE.unpack(idle))
        if running > 0:
            cpu_wall += span
        elif runnable > 0:
            runqueue_wall += span
        elif span:
            asleep[self._last_asleep(branch, now)[0]] += span
        return wire.EdgeRecord(
            wire.KIND_EDGE, 0, unseen, branch, 0, 0, now, 0,
            cpu + max(0, running) * span, cpu_wall,
            runqueue + max(0, runnable) * span, runqueue_wall,
            folded_exchanges, folded_blocked, 0, 0, 0, b"", folded_texts, folded_pauses,
            *asleep[wire.WAITS_NETWORK :],
        )  # fmt: skip

    def pause(self, branch: int, now: int) -> wire.PauseRecord | None:
        """How long all threads of a branch have been asleep at `now` (ns), as a record.

        It goes by the one that is likeliest to have been waited for. None: one is not asleep.
        """
        value = self._lookup("branches", struct.pack("<I", branch), _BRANCH_VALUE.size)
        if value is None:
            return None
        _, _, _, _, _, paused, _, running, runnable, *_ = _BRANCH_VALUE.unpack(value)
        if running > 0 or runnable > 0 or paused >= now:
            return None
        waits, connection, tgid, tid, number = self._last_asleep(branch, now)
        op = self._operation(number) or 0
        return wire.PauseRecord(
            wire.KIND_PAUSE, waits, op, 0, connection, tgid, tid, branch, number, paused, now
        )

    def _last_asleep(self, branch: int, now: int) -> tuple[int, int, int, int, int]:
        """(WAITS_*, connection's id, process, thread, syscall) of the thread to name a pause by."""
        found = (wire.WAITS_OTHER, 0, 0, 0, 0)
        best = len(_LIKELIEST)
        for _, value in self._entries("threads", 8, self._value_sizes["threads"]):
            (
                tgid, own, _, connection, started, changed, _, _, number, tid, _, place, waits,
            ) = _THREAD_VALUE.unpack_from(value)  # fmt: skip
            if own != branch or place != _WAITING or changed >= now:
                continue
            rank = _LIKELIEST.index(waits) if waits in _LIKELIEST else best
            if rank < best:
                best = rank
                number_of = 0
                if waits == wire.WAITS_NETWORK:
                    number_of = self._connection_id(connection, started)
                found = (waits, number_of, tgid, tid, number)
        return found

    def _connection_id(self, key: int, started: int) -> int:
        value = self._lookup("connections", struct.pack("<Q", key), _CONNECTION_VALUE.size)
        if value is None:
            return 0
        record = wire.ConnectionRecord.unpack(value)
        return record.id if record.started == started else 0

    def _operation(self, number: int) -> int | None:
        """The OP_* of a syscall; None: it has none."""
        value = self._lookup("operations", struct.pack("<I", number), _OPERATION_VALUE.size)
        return None if value is None else int(_OPERATION_VALUE.unpack(value)[0])

    def runtime_waits(self) -> bool:
        """Whether a runtime has asked for the next invocation and not got one."""
        values = (value for _, value in self._entries("connections", 8, _CONNECTION_VALUE.size))
        return any(_CONNECTION_VALUE.unpack(value)[_AWAITS_INVOCATION] for value in values)

    def follow(self, process_id: int) -> None:
        """Follow a process that began before the probe did, from its next syscall on.

        `process_id` is in this process's namespace. What it had connected by then is not seen.
        Raises ProbeError.
        """
        key = struct.pack("<I", process_id)
        if self._kernel.update(self._maps["adopted"], key, bytes(_ADOPTED_VALUE.size)) < 0:
            raise refusal("writing the map 'adopted'")

    def followed_branches(self) -> set[int]:
        """The branches of processes given to `follow`, of those that have been seen since."""
        values = (value for _, value in self._entries("adopted", 4, _ADOPTED_VALUE.size))
        return {_ADOPTED_VALUE.unpack(value)[1] for value in values} - {0}

    def asleep(self, branch: int, now: int) -> list[wire.BlockedRecord]:
        """Calls in which threads of a branch (0: of all) still sleep at `now` (ns), as records.

        As with those that return, what waits on a connection is told by that. The number of a
        file is known of none. Who waits outside any call, for a page, goes by the name of the call
        before.
        """
        found = []
        for _, value in self._entries("threads", 8, self._value_sizes["threads"]):
            tgid, own, _, _, _, changed, slept, waited, number, tid, op, place, _ = (
                _THREAD_VALUE.unpack_from(value)
            )
            known = branch in (0, own) and place == _WAITING and slept and changed < now
            if not known or op not in (0, wire.OP_NUMBERS["open"]):
                continue
            operation = self._operation(number)
            if operation is None:
                continue
            found.append(
                wire.BlockedRecord(
                    wire.KIND_BLOCKED, operation, number, -1,
                    tgid, tid, own, wire.NOT_RETURNED, slept, now, waited + now - changed, b"",
                )
            )  # fmt: skip
        return found

    def _is_open(self, record: wire.ConnectionRecord, leader: int, socket_id: int) -> bool:
        if record.protocol != wire.PROTOCOL_UDP and record.state != wire.TCP_CLOSE:
            # The state machine would have told.
            return True
        found = self._lookup(
            "sockets", _SOCKET_KEY.pack(record.tgid, record.fd), _SOCKET_VALUE.size
        )
        if found is None or not self._process_lives(leader, record.tgid):
            return False
        _, started, _, now_id, closed, _, _ = _SOCKET_VALUE.unpack(found)
        if record.protocol == wire.PROTOCOL_UDP:
            return bool(now_id == socket_id and not closed)
        return bool(started == record.started and not closed)

    def _process_lives(self, leader: int, tgid: int) -> bool:
        thread = self._lookup("threads", struct.pack("<Q", leader), self._value_sizes["threads"])
        return thread is not None and _THREAD_VALUE.unpack_from(thread)[0] == tgid

    def close(self) -> None:
        """Detach everything; the maps go with the last descriptor."""
        self.events.close()
        self.syscalls.close()
        for fd in reversed(self._descriptors):
            os.close(fd)
        self._descriptors.clear()

    def _lookup(self, name: str, key: bytes, size: int) -> bytes | None:
        value = native.buffer(size)
        if self._kernel.look_up(self._maps[name], key, value) < 0:
            return None
        found: bytes = value.raw
        return found

    def _entries(self, name: str, key_size: int, value_size: int) -> list[tuple[bytes, bytes]]:
        keys: list[bytes] = []
        following = native.buffer(key_size)
        fd = self._maps[name]
        while self._kernel.next_key(fd, keys[-1] if keys else None, following) == 0:
            keys.append(following.raw)
        found = []
        for raw in dict.fromkeys(keys):
            value = self._lookup(name, raw, value_size)
            if value is not None:
                found.append((raw, value))
        return found


def _possible_cpus() -> int:
    """How many values a per-CPU map has: the kernel's possible CPUs, not those online."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        last = file.read().strip().split(",")[-1].split("-")[-1]
    return int(last) + 1
