"""Run time: load and attach the compiled probe through libbcc_bpf, and talk to its maps.

Every refusal of the kernel becomes a ProbeError that says what to do. Needs root, or CAP_BPF and
CAP_PERFMON, and a mounted tracefs (mounted here where it is not).
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import struct

from lambdatrace import wire
from lambdatrace.bpf import image, plan
from lambdatrace.bpf.libbpf import open_library
from lambdatrace.bpf.ring import Ring
from lambdatrace.errors import ProbeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

# Bytes. 512 kB hold 2,900 connection records, 4 MB 87,000 syscall records (0.4 s at 200,000 a
# second). The smallest ring a kernel takes is one page.
EVENTS_RING = 1 << 19
SYSCALLS_RING = 4 << 20
UNUSED_RING = 4096

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_SCALED = frozenset({"threads", "sockets", "connections", "peers"})
_LICENSE = b"GPL"
_INSN_BYTES = 8
_LOG_BYTES = 1 << 16
_ANY = 0  # BPF_ANY
# struct connection in probe.c: the record, then socket_id, references, runtime, awaits, padding
_CONNECTION_VALUE = struct.Struct(f"<{wire.ConnectionRecord.SIZE}sQIBB2x")
_SOCKET_KEY = struct.Struct("<Ii")
_SOCKET_VALUE = struct.Struct("<QQQQQBB6x")


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

    def __init__(self, library: ctypes.CDLL, handover: Handover) -> None:
        """See `load` and `adopt`."""
        layout = handover.layout
        self._library = library
        self._descriptors = handover.descriptors
        self._layout = layout
        self._value_sizes: dict[str, int] = layout["value_sizes"]
        self._maps = {
            name: handover.descriptors[number] for number, name in enumerate(layout["maps"])
        }
        self.unavailable: dict[str, str] = layout[
            "unavailable"
        ]  # group of the plan -> why it is off
        self.events = Ring(self._maps["events"], layout["events"], wire.ConnectionRecord.SIZE)
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

        Raises
        ------
        ProbeError
            The kernel refused, or something it needs is missing.
        """
        library = open_library()
        sizes = {
            "events": events_ring,
            "syscalls": syscalls_ring if record_syscalls else UNUSED_RING,
        }
        loading = _Loading(library, sizes, scale)
        try:
            with _without_stderr():
                loading.run(root, runtime_api, record_syscalls)
            return cls(library, Handover(loading.descriptors, loading.layout()))
        except BaseException:
            for fd in loading.descriptors:
                os.close(fd)
            raise

    @classmethod
    def adopt(cls, handover: Handover) -> Probe:
        """The probe that another process loaded. Raises ProbeError."""
        return cls(open_library(), handover)

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

    def lost(self) -> tuple[int, ...]:
        """What could not be kept since the probe was loaded, in the order of wire.COUNTERS."""
        cpus = _possible_cpus()
        value = ctypes.create_string_buffer(8 * cpus)
        counts = []
        for number in range(len(wire.COUNTERS)):
            key = struct.pack("<I", number)
            if self._library.bpf_lookup_elem(self._maps["lost"], key, value) != 0:
                raise _refusal("reading the probe's counters")
            counts.append(sum(struct.unpack(f"<{cpus}Q", value.raw)))
        return tuple(counts)

    def followed_connections(self) -> Iterator[tuple[wire.ConnectionRecord, bool]]:
        """Every connection the kernel follows, and whether its descriptor is still open.

        A connection without one that the kernel did not finish itself (a UDP socket with several
        peers, or whose process ended) is forgotten by the kernel with this call.
        """
        for key, value in self._entries("connections", 8, _CONNECTION_VALUE.size):
            data, socket_id, _, runtime, _ = _CONNECTION_VALUE.unpack(value)
            if runtime:
                continue
            record = wire.ConnectionRecord.unpack(data)
            is_open = self._is_open(record, socket_id)
            if not is_open:
                # The kernel saw no end of it, or not on this descriptor: when it was last used.
                record.closed = record.closed or max(
                    record.started, record.last_out, record.last_in
                )
                self._library.bpf_delete_elem(self._maps["connections"], key)
            yield record, is_open

    def _is_open(self, record: wire.ConnectionRecord, socket_id: int) -> bool:
        if record.protocol != _PROTO_UDP and record.state != wire.TCP_CLOSE:
            # The state machine would have told.
            return True
        found = self._lookup(
            "sockets", _SOCKET_KEY.pack(record.tgid, record.fd), _SOCKET_VALUE.size
        )
        if found is None or not self._process_lives(record.tgid):
            return False
        _, started, _, now_id, closed, _, _ = _SOCKET_VALUE.unpack(found)
        if record.protocol == _PROTO_UDP:
            return bool(now_id == socket_id and not closed)
        return bool(started == record.started and not closed)

    def _process_lives(self, tgid: int) -> bool:
        return (
            self._lookup("threads", struct.pack("<I", tgid), self._value_sizes["threads"])
            is not None
        )

    def close(self) -> None:
        """Detach everything; the maps go with the last descriptor."""
        self.events.close()
        self.syscalls.close()
        for fd in reversed(self._descriptors):
            os.close(fd)
        self._descriptors.clear()

    def _lookup(self, name: str, key: bytes, size: int) -> bytes | None:
        value = ctypes.create_string_buffer(size)
        if self._library.bpf_lookup_elem(self._maps[name], key, value) != 0:
            return None
        return value.raw

    def _entries(self, name: str, key_size: int, value_size: int) -> list[tuple[bytes, bytes]]:
        keys = []
        key = ctypes.create_string_buffer(key_size)
        following = ctypes.create_string_buffer(key_size)
        fd = self._maps[name]
        more = self._library.bpf_get_first_key(fd, key, key_size) == 0
        while more:
            keys.append(key.raw)
            more = self._library.bpf_get_next_key(fd, key, following) == 0
            key, following = following, key
        found = []
        for raw in dict.fromkeys(keys):
            value = self._lookup(name, raw, value_size)
            if value is not None:
                found.append((raw, value))
        return found


class _Loading:
    """The steps from package data to an attached probe."""

    def __init__(self, library: ctypes.CDLL, sizes: dict[str, int], scale: int) -> None:
        self._library = library
        self._sizes = sizes  # of the rings, bytes
        self._scale = scale
        self._maps: dict[str, int] = {}
        self._value_sizes: dict[str, int] = {}
        self.descriptors: list[int] = []
        self.unavailable: dict[str, str] = {}

    def run(self, root: int, runtime_api: str, record_syscalls: bool) -> None:
        probe = _read_probe()
        self._create_maps(probe.maps)
        self._configure(root, runtime_api)
        self._fill_operations()
        left_out = frozenset() if record_syscalls else plan.SYSCALL_PROGRAMS
        maps = self.descriptors[: len(self._maps)]
        wanted = [
            (name, _relocated(probe.code, first, count, relocations, maps))
            for name, first, count, relocations in probe.programs
            if name not in left_out
        ]
        programs = self._load_programs(wanted)
        tracefs = _find_tracefs()
        # One after the other: each attachment patches the kernel while all CPUs wait.
        for entry in plan.PLAN:
            self._attach(entry, programs[entry.program], tracefs)

    def _load_programs(self, wanted: list[tuple[str, bytes]]) -> dict[str, int]:
        """Load and dispatch, two programs at a time; returns their descriptors.

        The time is the verifier's, which runs without Python's lock.
        """
        wanted.sort(key=_size)  # taken from the end: the largest first
        loaded: dict[str, int] = {}
        errors: list[BaseException] = []

        def work() -> None:
            while wanted and not errors:
                try:
                    name, body = wanted.pop()
                except IndexError:
                    return
                try:
                    loaded[name] = self._load_program(name, body)
                    self._dispatch(name, loaded[name])
                except BaseException as error:  # noqa: BLE001  # raised again below
                    errors.append(error)

        def assist() -> None:
            work()
            assisted.release()

        assisted = _thread.allocate_lock()
        assisted.acquire()
        try:
            _thread.start_new_thread(assist, ())
        except RuntimeError:
            # No thread to be had: it takes longer.
            assisted.release()
        work()
        assisted.acquire()
        if errors:
            raise errors[0]
        return loaded

    def layout(self) -> dict[str, Any]:
        return {
            "maps": list(self._maps),
            "value_sizes": self._value_sizes,
            "unavailable": self.unavailable,
            **self._sizes,
        }

    def _create_maps(self, maps: Sequence[tuple[Any, ...]]) -> None:
        for name, kind, key, value, entries, flags in maps:
            if name in _SCALED:
                entries *= self._scale
            fd = self._library.bcc_create_map(
                kind, name.encode(), key, value, self._sizes.get(name, entries), flags
            )
            if fd < 0:
                raise _refusal(f"creating the map {name!r}")
            self.descriptors.append(fd)
            self._maps[name] = fd
            self._value_sizes[name] = value

    def _configure(self, root: int, runtime_api: str) -> None:
        namespace = os.stat("/proc/self/ns/pid")
        address, port = _runtime_address(runtime_api)
        config = wire.Config(
            namespace.st_dev,
            namespace.st_ino,
            self._sizes["events"] // 2,
            self._sizes["syscalls"] // 2,
            root,
            port,
            address,
        )
        self._update("config", struct.pack("<I", 0), config.pack())

    def _load_program(self, name: str, body: bytes) -> int:
        kind = plan.RAW_TRACEPOINT if name in plan.RAW_PROGRAMS else plan.TRACEPOINT
        fd: int = self._library.bcc_prog_load(
            kind, name.encode(), body, len(body), _LICENSE, 0, 0, None, 0
        )
        if fd < 0:
            code = ctypes.get_errno()
            # EACCES here is the verifier's word for a wrong access, not one about privileges.
            if code == errno.EPERM:
                raise _refusal(f"loading the program {name!r}", code)
            # Ask again for the verifier's reason; only then does the log cost anything.
            log = ctypes.create_string_buffer(_LOG_BYTES)
            self._library.bcc_prog_load(
                kind, name.encode(), body, len(body), _LICENSE, 0, 1, log, _LOG_BYTES
            )
            lines = log.value.decode("utf-8", "replace").strip().splitlines()
            raise ProbeError(
                f"the kernel's verifier refused the program {name!r}: "
                + (lines[-1] if lines else os.strerror(code)),
                f"please report this with the output of uname -r ({os.uname().release})",
            )
        self.descriptors.append(fd)
        return fd

    def _update(self, name: str, key: bytes, value: bytes) -> None:
        if self._library.bpf_update_elem(self._maps[name], key, value, _ANY) != 0:
            raise _refusal(f"writing the map {name!r}")

    def _fill_operations(self) -> None:
        machine = os.uname().machine
        numbers = plan.SYSCALL_NUMBERS.get(machine)
        if numbers is None:
            raise ProbeError(
                f"the probe does not know the syscalls of {machine}",
                "lambdatrace runs on x86_64 and aarch64",
            )
        for number, name in numbers.items():
            op = wire.OP_NUMBERS[name]
            self._update("operations", struct.pack("<I", number), struct.pack("<B", op))

    def _dispatch(self, program: str, fd: int) -> None:
        """Put a program into every place it is called from."""
        value = struct.pack("<i", fd)
        for table, op in plan.PLACES.get(program, ()):
            self._update(table, struct.pack("<I", op), value)

    def _attach(self, entry: plan.Attachment, program: int, tracefs: str) -> None:
        reason = self._attach_one(entry, program, tracefs)
        if reason and entry.group in plan.ESSENTIAL:
            raise ProbeError(
                f"the kernel lacks what the probe needs: {reason}",
                "lambdatrace needs Linux 5.10 or later with syscall tracepoints "
                "(CONFIG_FTRACE_SYSCALLS)",
            )
        if reason:
            self.unavailable[entry.group] = reason

    def _attach_one(self, entry: plan.Attachment, program: int, tracefs: str) -> str:
        """Attach; returns why not, empty when it is done."""
        if entry.raw:
            fd = self._library.bpf_attach_raw_tracepoint(program, entry.event.encode())
        else:
            path = f"{tracefs}/events/{entry.category}/{entry.event}/format"
            try:
                with open(path, encoding="ascii", errors="replace") as file:
                    wrong = plan.mismatch(entry, file.read())
            except OSError as error:
                return f"tracepoint {entry.category}:{entry.event}: {error.strerror}"
            if wrong:
                return wrong
            fd = self._library.bpf_attach_tracepoint(
                program, entry.category.encode(), entry.event.encode()
            )
        if fd < 0:
            code = ctypes.get_errno()
            if code in (errno.EPERM, errno.EACCES):
                raise _refusal(f"attaching to {entry.event}", code)
            return f"tracepoint {entry.category}:{entry.event}: {os.strerror(code)}"
        self.descriptors.append(fd)
        return ""


_PROTO_UDP = 17


class _without_stderr:  # noqa: N801  # reads as a statement
    """libbcc_bpf prints to stderr what this module says in words."""

    def __enter__(self) -> None:
        self._saved = os.dup(2)
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)


def _size(program: tuple[str, bytes]) -> int:
    return len(program[1])


def _relocated(
    code: bytes, first: int, count: int, relocations: list[tuple[int, int]], maps: list[int]
) -> bytes:
    """One program's instructions with this process's map descriptors in them."""
    body = bytearray(code[first * _INSN_BYTES : (first + count) * _INSN_BYTES])
    for instruction, index in relocations:
        struct.pack_into("<i", body, instruction * _INSN_BYTES + 4, maps[index])
    return bytes(body)


def _read_probe() -> image.Image:
    path = os.path.join(os.path.dirname(__file__), "probe.bin")
    try:
        with open(path, "rb") as file:
            return image.unpack(file.read())
    except (OSError, ValueError, IndexError) as error:
        raise ProbeError(
            f"the compiled probe cannot be read: {error}",
            "reinstall lambdatrace, or rebuild it: make probe",
        ) from error


def _refusal(what: str, code: int | None = None) -> ProbeError:
    code = ctypes.get_errno() if code is None else code
    if code in (errno.EPERM, errno.EACCES):
        return ProbeError(
            f"the kernel refused eBPF ({errno.errorcode[code]}, {what})",
            "run as root, or with CAP_BPF and CAP_PERFMON; stock Lambda functions have neither",
        )
    if code == errno.ENOSYS:
        return ProbeError("this kernel has no bpf(2)", "lambdatrace needs Linux 5.10 or later")
    name = errno.errorcode.get(code, str(code))
    return ProbeError(f"{what} failed: {os.strerror(code)} ({name})", "see SECURITY.md for limits")


def _find_tracefs() -> str:
    for folder in _TRACEFS:
        if os.path.exists(folder + "/events/sched"):
            return folder
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"tracefs", _TRACEFS[0].encode(), b"tracefs", 0, None) == 0:
        return _TRACEFS[0]
    raise ProbeError(
        f"tracefs is not mounted ({os.strerror(ctypes.get_errno())})",
        "as root: mount -t tracefs tracefs /sys/kernel/tracing",
    )


def _runtime_address(runtime_api: str) -> tuple[bytes, int]:
    """`host:port` as (16 bytes, port); zeros where it is empty or no address."""
    host, _, port = runtime_api.rpartition(":")
    if not host or not port.isdigit():
        return bytes(16), 0
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, host.strip("[]")).ljust(16, b"\0"), int(port)
        except OSError:
            continue
    return bytes(16), 0


def _possible_cpus() -> int:
    """How many values a per-CPU map has: the kernel's possible CPUs, not those online."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        last = file.read().strip().split(",")[-1].split("-")[-1]
    return int(last) + 1
