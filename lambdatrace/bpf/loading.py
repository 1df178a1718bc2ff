"""Run time: from package data to an attached probe, through libbcc_bpf alone.

Every refusal of the kernel becomes a ProbeError that says what to do. Needs root, or CAP_BPF and
CAP_PERFMON, and a mounted tracefs (mounted here where it is not).
"""

from __future__ import annotations

import _thread
import errno
import os
import struct

from lambdatrace import wire
from lambdatrace.bpf import image, libbpf, native, plan
from lambdatrace.errors import ProbeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_SCALED = frozenset({"threads", "branches", "sockets", "connections", "peers", "files"})
_LICENSE = b"GPL"
_INSN_BYTES = 8
_LOG_BYTES = 1 << 16
_ANY = 0  # BPF_ANY
NEVER_NS = 1 << 62  # the probe subtracts it from a span, and looks at the sign


class Wanted:
    """What a probe is to record; see Probe.load."""

    __slots__ = (
        "capture",
        "most_blocked",
        "most_exchanges",
        "most_pauses",
        "most_texts",
        "record_syscalls",
        "root",
        "runtime_api",
        "scale",
        "sizes",
        "splits",
        "threshold_ns",
    )

    def __init__(
        self,
        *,
        capture: frozenset[str],
        record_syscalls: bool,
        root: int,
        runtime_api: str,
        sizes: dict[str, int],
        scale: int,
        threshold_ns: int,
        most_exchanges: int,
        most_blocked: int,
        most_texts: int,
        most_pauses: int,
        splits: bool,
    ) -> None:
        self.capture = capture
        self.record_syscalls = record_syscalls
        self.root = root
        self.runtime_api = runtime_api
        self.sizes = sizes  # of the rings, bytes
        self.scale = scale
        self.threshold_ns = threshold_ns
        self.most_exchanges = most_exchanges
        self.most_blocked = most_blocked
        self.most_texts = most_texts
        self.most_pauses = most_pauses
        self.splits = splits


class Loading:
    """The steps from package data to an attached probe."""

    def __init__(self, wanted: Wanted) -> None:
        self.library: Any = None
        self._wanted = wanted
        self._maps: dict[str, int] = {}
        self._value_sizes: dict[str, int] = {}
        self._bodies: dict[str, bytes] = {}
        self.descriptors: list[int] = []
        self.unavailable: dict[str, str] = {}

    def run(self) -> None:
        """Load and attach. Raises ProbeError; the descriptors are the caller's to close.

        In three steps, each on two threads: what takes long is the dynamic linker's, and the
        kernel's for clearing memory, verifying, and patching itself; all of it runs without
        Python's lock.
        """
        machine = os.uname().machine
        if machine not in plan.SYSCALL_NUMBERS:
            raise ProbeError(
                f"the probe does not know the syscalls of {machine}",
                "lambdatrace runs on x86_64 and aarch64",
            )
        probe: Any = None

        def read() -> None:
            nonlocal probe
            probe = _read_probe()

        _on_two_threads([read, libbpf.link], lambda step: step())
        self.library = libbpf.open_library()
        with _without_stderr():
            _on_two_threads(probe.maps, lambda map_: self._create_map(*map_))
            # In the order in which layout() names them, however the threads took turns.
            self.descriptors[:] = self._maps.values()
            self._configure(machine)
            entries = {entry.program: entry for entry in self._usable(_find_tracefs())}
            maps = [self._maps[name] for name, *_ in probe.maps]
            self._bodies = {
                name: _relocated(probe.code, first, count, relocations, maps)
                for name, first, count, relocations in probe.programs
            }
            available = self._wanted.capture - self.unavailable.keys()
            names = plan.programs(available, self._wanted.record_syscalls)
            # Taken from the end: the largest first. Nothing is missed by what is attached later:
            # only children of the root that begin from now on are followed.
            ordered = sorted(names, key=self._size)
            last = entries.pop(plan.LAST)
            loaded: dict[str, int] = {}

            def start(name: str) -> None:
                loaded[name] = self._start_program(name, entries.get(name))

            _on_two_threads(ordered, start)
            self._attach(last, loaded[plan.LAST])

    def _usable(self, tracefs: str) -> list[plan.Attachment]:
        """What the running kernel has, as the probe knows it; the rest becomes unavailable."""
        usable = []
        for entry in plan.PLAN:
            reason = "" if entry.raw else _misfit(entry, tracefs)
            if not reason:
                usable.append(entry)
            else:
                self._give_up(entry.group, reason)
        return [entry for entry in usable if entry.group not in self.unavailable]

    def _give_up(self, group: str, reason: str) -> None:
        """Switch a group off. Raises ProbeError if the probe is useless without it."""
        if group in plan.ESSENTIAL:
            raise ProbeError(
                f"the kernel lacks what the probe needs: {reason}",
                "lambdatrace needs Linux 5.10 or later with syscall tracepoints "
                "(CONFIG_FTRACE_SYSCALLS)",
            )
        self.unavailable[group] = reason
        # A thread's sleep is what makes a syscall blocked.
        if group == "cpu":
            self.unavailable["blocked"] = reason

    def _size(self, program: str) -> int:
        return len(self._bodies[program])

    def _start_program(self, name: str, entry: plan.Attachment | None) -> int:
        program = self._load_program(name, self._bodies[name])
        self._dispatch(name, program)
        if entry is not None:
            self._attach(entry, program)
        return program

    def layout(self) -> dict[str, Any]:
        """What another process has to know of the descriptors, see Handover."""
        return {
            "maps": list(self._maps),
            "value_sizes": self._value_sizes,
            "unavailable": self.unavailable,
            **self._wanted.sizes,
        }

    def _create_map(
        self, name: str, kind: int, key: int, value: int, entries: int, flags: int
    ) -> None:
        if name in _SCALED:
            entries *= self._wanted.scale
        fd = self.library.bcc_create_map(
            kind, name.encode(), key, value, self._wanted.sizes.get(name, entries), flags
        )
        if fd < 0:
            raise refusal(f"creating the map {name!r}")
        self.descriptors.append(fd)
        self._maps[name] = fd
        self._value_sizes[name] = value

    def _configure(self, machine: str) -> None:
        wanted = self._wanted
        namespace = os.stat("/proc/self/ns/pid")
        address, port = wire.runtime_address(wanted.runtime_api)
        arguments = plan.ARGUMENTS[machine]
        config = wire.Config(
            namespace.st_dev,
            namespace.st_ino,
            wanted.sizes["events"] // 2,
            wanted.sizes["syscalls"] // 2,
            wanted.threshold_ns,
            wanted.root,
            port,
            address,
            arguments.block,
            arguments.first,
            arguments.reversed,
            wanted.most_exchanges,
            wanted.most_blocked,
            wanted.most_texts,
            wanted.most_pauses,
            wanted.record_syscalls,
            wanted.splits,
            0,
        )
        self._update("config", struct.pack("<I", 0), config.pack())
        numbers = plan.SYSCALL_NUMBERS[machine]
        keys, values = [], b""
        for number, name in numbers.items():
            if name in plan.ONLY_FOR_BLOCKED and "blocked" not in wanted.capture:
                continue
            entry, exit_, traits = plan.OPERATIONS.get(name, ("", "", 0))
            places = plan.PLACE_NUMBERS.get(entry, 0), plan.PLACE_NUMBERS.get(exit_, 0)
            keys.append(number)
            waits = wire.WAITS_OF.get(name, wire.WAITS_OTHER)
            values += struct.pack("<5B3x", wire.OP_NUMBERS[name], *places, traits, waits)
        count = native.Unsigned(len(keys))
        packed = struct.pack(f"<{len(keys)}I", *keys)
        if self.library.bpf_update_batch(
            self._maps["operations"], packed, values, native.byref(count)
        ):
            raise refusal("writing the map 'operations'")

    def _load_program(self, name: str, body: bytes) -> int:
        kind = plan.TRACEPOINT if name in plan.PLAIN_PROGRAMS else plan.RAW_TRACEPOINT
        fd: int = self.library.bcc_prog_load(
            kind, name.encode(), body, len(body), _LICENSE, 0, 0, None, 0
        )
        if fd < 0:
            code = native.get_errno()
            # EACCES here is the verifier's word for a wrong access, not one about privileges.
            if code == errno.EPERM:
                raise refusal(f"loading the program {name!r}", code)
            # Ask again for the verifier's reason; only then does the log cost anything.
            log = native.buffer(_LOG_BYTES)
            self.library.bcc_prog_load(
                kind, name.encode(), body, len(body), _LICENSE, 0, 1, log, _LOG_BYTES
            )
            lines = log.value.decode("utf-8", "replace").strip().splitlines()
            # The reason stands before the statistics.
            statistics = ("processed ", "verification time ", "stack depth ")
            lines = [line for line in lines if not line.startswith(statistics)]
            raise ProbeError(
                f"the kernel's verifier refused the program {name!r}: "
                + (lines[-1] if lines else os.strerror(code)),
                f"please report this with the output of uname -r ({os.uname().release})",
            )
        self.descriptors.append(fd)
        return fd

    def _update(self, name: str, key: bytes, value: bytes) -> None:
        if self.library.bpf_update_elem(self._maps[name], key, value, _ANY) != 0:
            raise refusal(f"writing the map {name!r}")

    def _dispatch(self, program: str, fd: int) -> None:
        """Put a program into the place it is called at, if it has one."""
        place = _PLACE_OF.get(program)
        if place is not None:
            self._update("places", struct.pack("<I", place), struct.pack("<i", fd))

    def _attach(self, entry: plan.Attachment, program: int, fallen_back: bool = False) -> None:
        event = entry.event.encode()
        if entry.raw:
            fd = self.library.bpf_attach_raw_tracepoint(program, event)
        else:
            fd = self.library.bpf_attach_tracepoint(program, entry.category.encode(), event)
        if fd >= 0:
            self.descriptors.append(fd)
            return
        code = native.get_errno()
        if code in (errno.EPERM, errno.EACCES):
            raise refusal(f"attaching to {entry.event}", code)
        other = plan.FALLBACKS.get(entry.program)
        if code == errno.EINVAL and other and not fallen_back:
            self._attach(entry, self._load_program(other, self._bodies[other]), fallen_back=True)
            return
        self._give_up(
            entry.group, f"tracepoint {entry.category}:{entry.event}: {os.strerror(code)}"
        )


_PLACE_OF = {program: plan.PLACE_NUMBERS[name] for name, program in plan.PLACES.items()}


def _misfit(entry: plan.Attachment, tracefs: str) -> str:
    """Why the running kernel's tracepoint is not what the probe was written for; empty: it is."""
    path = f"{tracefs}/events/{entry.category}/{entry.event}/format"
    try:
        # As bytes: Python would have to import a codec.
        with open(path, "rb") as file:
            return plan.mismatch(entry, file.read().decode("latin-1"))
    except OSError as error:
        return f"tracepoint {entry.category}:{entry.event}: {error.strerror}"


def _on_two_threads(jobs: Iterable[Any], do: Callable[[Any], None]) -> None:
    """`do` all `jobs`, from the last to the first, two at a time. Raises what the first raised."""
    left = list(jobs)
    errors: list[BaseException] = []

    def work() -> None:
        while left and not errors:
            try:
                do(left.pop())
            except IndexError:
                return
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


def refusal(what: str, code: int | None = None) -> ProbeError:
    """The kernel's refusal of `what` in words, by `code` or the C library's last error."""
    code = native.get_errno() if code is None else code
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
    library = native.Library(None)
    if library.mount(b"tracefs", _TRACEFS[0].encode(), b"tracefs", 0, None) == 0:
        return _TRACEFS[0]
    raise ProbeError(
        f"tracefs is not mounted ({os.strerror(native.get_errno())})",
        "as root: mount -t tracefs tracefs /sys/kernel/tracing",
    )
