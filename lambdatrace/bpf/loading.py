"""Run time: from package data to an attached probe.

Every refusal of the kernel becomes a ProbeError that says what to do. Needs root, or CAP_BPF and
CAP_PERFMON, and a mounted tracefs (mounted here where it is not).
"""

from __future__ import annotations

import errno
import os
import struct

from lambdatrace import wire
from lambdatrace.bpf import image, native, plan
from lambdatrace.bpf.kernel import Kernel
from lambdatrace.errors import ProbeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_SCALED = frozenset({"threads", "branches", "sockets", "connections", "peers", "files"})
_INSN_BYTES = 8
_LOG_BYTES = 1 << 16
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
        """Raises ProbeError on a machine that it does not know."""
        self.kernel = Kernel()
        self._wanted = wanted
        self._maps: dict[str, int] = {}
        self._value_sizes: dict[str, int] = {}
        self._code = b""  # all programs, with this process's descriptors
        self._places: dict[str, tuple[int, int]] = {}  # program: its address, its instructions
        self._numbers: dict[str, int] = {}  # of tracepoints
        self.descriptors: list[int] = []
        self.unavailable: dict[str, str] = {}

    def run(self) -> None:
        """Load and attach. Raises ProbeError; the descriptors are the caller's to close.

        One program after the other: two at a time took a quarter more CPU in all.
        """
        probe = _read_probe()
        code = bytearray(probe.code)
        words = memoryview(code).cast("i")
        for *map_, instructions in probe.maps:
            fd = self._create_map(*map_)
            for instruction in instructions:
                # The second word of an instruction is its constant.
                words[2 * instruction + 1] = fd
        self._configure()
        self._code = bytes(code)
        start = native.address(self._code)
        for name, first, count in probe.programs:
            self._places[name] = start + first * _INSN_BYTES, count
        entries = {entry.program: entry for entry in self._usable(_find_tracefs(self.kernel))}
        available = self._wanted.capture - self.unavailable.keys()
        names = plan.programs(available, self._wanted.record_syscalls)
        # Nothing is missed by what is attached later: only children of the root that begin from now
        # on are followed. All are loaded before the first runs, which would slow the rest.
        loaded = {name: self._load_program(name) for name in names}
        for name, program in loaded.items():
            self._dispatch(name, program)
        last = entries.pop(plan.LAST)
        for name, entry in entries.items():
            if name in loaded:
                self._attach(entry, loaded[name])
        self._attach(last, loaded[plan.LAST])

    def _usable(self, tracefs: str) -> list[plan.Attachment]:
        """What the running kernel has, as the probe knows it; the rest becomes unavailable."""
        usable = []
        for entry in plan.PLAN:
            reason = "" if entry.raw else self._misfit(entry, tracefs)
            if not reason:
                usable.append(entry)
            else:
                self._give_up(entry.group, reason)
        return [entry for entry in usable if entry.group not in self.unavailable]

    def _misfit(self, entry: plan.Attachment, tracefs: str) -> str:
        """Why the tracepoint is not what the probe was written for; empty: it is."""
        path = f"{tracefs}/events/{entry.category}/{entry.event}/format"
        try:
            # As bytes: Python would have to import a codec.
            with open(path, "rb") as file:
                text = file.read().decode("latin-1")
        except OSError as error:
            return f"tracepoint {entry.category}:{entry.event}: {error.strerror}"
        self._numbers[entry.event] = plan.format_number(text)
        return plan.mismatch(entry, text)

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
    ) -> int:
        if name in _SCALED:
            entries *= self._wanted.scale
        entries = self._wanted.sizes.get(name, entries)
        fd = self.kernel.create_map(name, kind, key, value, entries, flags)
        if fd < 0:
            raise refusal(f"creating the map {name!r}")
        self.descriptors.append(fd)
        self._maps[name] = fd
        self._value_sizes[name] = value
        return fd

    def _configure(self) -> None:
        wanted = self._wanted
        machine = self.kernel.machine
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
        packed = struct.pack(f"<{len(keys)}I", *keys)
        if self.kernel.update_all(self._maps["operations"], len(keys), packed, values) < 0:
            raise refusal("writing the map 'operations'")

    def _load_program(self, name: str) -> int:
        kind = plan.TRACEPOINT if name in plan.PLAIN_PROGRAMS else plan.RAW_TRACEPOINT
        place, count = self._places[name]
        fd = self.kernel.load(kind, name, place, count)
        if fd < 0:
            code = native.get_errno()
            # EACCES here is the verifier's word for a wrong access, not one about privileges.
            if code == errno.EPERM:
                raise refusal(f"loading the program {name!r}", code)
            # Ask again for the verifier's reason; only then does the log cost anything.
            log = native.buffer(_LOG_BYTES)
            self.kernel.load(kind, name, place, count, log)
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
        if self.kernel.update(self._maps[name], key, value) < 0:
            raise refusal(f"writing the map {name!r}")

    def _dispatch(self, program: str, fd: int) -> None:
        """Put a program into the place it is called at, if it has one."""
        place = _PLACE_OF.get(program)
        if place is not None:
            self._update("places", struct.pack("<I", place), struct.pack("<i", fd))

    def _attach(self, entry: plan.Attachment, program: int, fallen_back: bool = False) -> None:
        if entry.raw:
            fd = self.kernel.attach_raw(program, entry.event)
        else:
            fd = self.kernel.attach(program, self._numbers[entry.event])
        if fd >= 0:
            self.descriptors.append(fd)
            return
        code = native.get_errno()
        if code in (errno.EPERM, errno.EACCES):
            raise refusal(f"attaching to {entry.event}", code)
        other = plan.FALLBACKS.get(entry.program)
        if code == errno.EINVAL and other and not fallen_back:
            self._attach(entry, self._load_program(other), fallen_back=True)
            return
        self._give_up(
            entry.group, f"tracepoint {entry.category}:{entry.event}: {os.strerror(code)}"
        )


_PLACE_OF = {program: plan.PLACE_NUMBERS[name] for name, program in plan.PLACES.items()}


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


def _find_tracefs(kernel: Kernel) -> str:
    for folder in _TRACEFS:
        if os.path.exists(folder + "/events/sched"):
            return folder
    if kernel.mount("tracefs", _TRACEFS[0]) == 0:
        return _TRACEFS[0]
    raise ProbeError(
        f"tracefs is not mounted ({os.strerror(native.get_errno())})",
        "as root: mount -t tracefs tracefs /sys/kernel/tracing",
    )
