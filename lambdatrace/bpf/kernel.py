"""bpf(2) itself, and perf_event_open(2) for what is no raw tracepoint.

libbcc_bpf, bcc's run-time half, wraps the same calls; to link it with what it needs took 4 ms of
CPU at the agent's start. Every call here returns what the kernel does, or -1: get_errno() has why.
"""

from __future__ import annotations

import errno
import os
import struct

from lambdatrace.bpf.native import (
    Int,
    Library,
    Pointer,
    Size,
    Unsigned,
    address,
    addressof,
    get_errno,
)
from lambdatrace.errors import ProbeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Numbers of bpf(2) and perf_event_open(2): arch/x86/entry/syscalls/syscall_64.tbl,
# include/uapi/asm-generic/unistd.h
NUMBERS = {"x86_64": (321, 298), "aarch64": (280, 241)}

# enum bpf_cmd of include/uapi/linux/bpf.h, and union bpf_attr for each command as far as it is
# used: the kernel takes the rest for zeros.
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _LOAD, _ATTACH_RAW, _UPDATE_BATCH = (
    0, 1, 2, 3, 4, 5, 17, 26,
)  # fmt: skip
# type, key size, value size, entries, flags, inner map, NUMA node, name
_MAP = struct.Struct("<7I16s")
# map, key, value or next key, flags
_ELEMENT = struct.Struct("<I4xQQQ")
# two cursors, keys, values, count, map, flags of the elements, flags
_BATCH = struct.Struct("<QQQQIIQQ")
# type, instructions, their address, that of the licence, level of the log, its size, its address,
# kernel version, flags, name
_PROGRAM = struct.Struct("<IIQQIIQII16s")
# name, program
_RAW = struct.Struct("<QI4x")
_LICENCE = b"GPL"  # the probe's own, without which it may not call what it calls
_LONGEST_NAME = 15  # BPF_OBJ_NAME_LEN, less the closing 0

# struct perf_event_attr (PERF_ATTR_SIZE_VER0): type, size, config, period, three words, two, one
_PERF = struct.Struct("<IIQQQQQIIQ")
_PERF_TYPE_TRACEPOINT = 2
_PERF_DISABLED = 1  # the first of its flags
_PERF_CLOSE_ON_EXEC = 8
_SET_BPF, _ENABLE = 0x40042408, 0x2400  # PERF_EVENT_IOC_*

_RLIMIT_MEMLOCK = 8  # include/uapi/asm-generic/resource.h; x86 and arm64 have no other
_UNLIMITED = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)


class Kernel:
    """The running kernel, as far as bpf(2) tells. Raises ProbeError on other machines."""

    def __init__(self) -> None:
        self.machine = os.uname().machine
        if self.machine not in NUMBERS:
            raise ProbeError(
                f"the probe does not know the syscalls of {self.machine}",
                "lambdatrace runs on x86_64 and aarch64",
            )
        self._bpf, self._perf_event_open = NUMBERS[self.machine]
        self._library = library = Library(None)
        self._syscall = library.function("syscall", Size, Int, Pointer, Unsigned)

    def create_map(
        self, name: str, kind: int, key: int, value: int, entries: int, flags: int
    ) -> int:
        """A new map's descriptor; `key` and `value` are bytes."""
        attributes = _MAP.pack(kind, key, value, entries, flags, 0, 0, _name(name))
        fd = self._call(_MAP_CREATE, attributes)
        # Before 5.11 maps were charged to the memory that a process may lock: 64 kB, usually.
        if fd < 0 and get_errno() == errno.EPERM and self._may_lock_more():
            fd = self._call(_MAP_CREATE, attributes)
        return fd

    def load(self, kind: int, name: str, instructions: int, count: int, log: Any = None) -> int:
        """The descriptor of a program of `count` instructions, which stand at an address.

        `log`: a buffer (native.buffer) for the verifier's words.
        """
        size = 0 if log is None else len(log)
        level, place = (0, 0) if log is None else (1, addressof(log))
        return self._call(
            _LOAD,
            _PROGRAM.pack(
                kind, count, instructions, address(_LICENCE), level, size, place, 0, 0, _name(name)
            ),
        )

    def attach_raw(self, program: int, event: str) -> int:
        """A descriptor: as long as it is open, the program runs at the raw tracepoint."""
        name = event.encode()
        return self._call(_ATTACH_RAW, _RAW.pack(address(name), program))

    def attach(self, program: int, number: int) -> int:
        """As attach_raw, at the tracepoint whose `id` file has that number."""
        attributes = _PERF.pack(
            _PERF_TYPE_TRACEPOINT, _PERF.size, number, 1, 0, 0, _PERF_DISABLED, 0, 0, 0
        )
        # On one CPU: a tracepoint's programs run wherever it is passed.
        open_event = self._library.function("syscall", Size, Pointer, Int, Int, Int, Size)
        fd: int = open_event(self._perf_event_open, attributes, -1, 0, -1, _PERF_CLOSE_ON_EXEC)
        if fd < 0:
            return fd
        control = self._library.function("ioctl", Int, Size, Int)
        if control(fd, _SET_BPF, program) < 0 or control(fd, _ENABLE, 0) < 0:
            os.close(fd)
            return -1
        return fd

    def update(self, fd: int, key: bytes, value: bytes) -> int:
        """Write one element of the map `fd`, whether it was there or not."""
        return self._call(_UPDATE, _ELEMENT.pack(fd, address(key), address(value), 0))

    def update_all(self, fd: int, count: int, keys: bytes, values: bytes) -> int:
        """Write `count` elements, keys and values back to back."""
        return self._call(
            _UPDATE_BATCH, _BATCH.pack(0, 0, address(keys), address(values), count, fd, 0, 0)
        )

    def look_up(self, fd: int, key: bytes, value: Any) -> int:
        """Read one element into `value`, a buffer (native.buffer)."""
        return self._call(_LOOKUP, _ELEMENT.pack(fd, address(key), addressof(value), 0))

    def delete(self, fd: int, key: bytes) -> int:
        """Forget one element."""
        return self._call(_DELETE, _ELEMENT.pack(fd, address(key), 0, 0))

    def next_key(self, fd: int, key: bytes | None, following: Any) -> int:
        """Write the key behind `key` (None: the first) into the buffer `following`."""
        place = 0 if key is None else address(key)
        return self._call(_NEXT_KEY, _ELEMENT.pack(fd, place, addressof(following), 0))

    def mount(self, kind: str, folder: str) -> int:
        """Mount a file system of the kernel's own."""
        mount = self._library.function("mount", Pointer, Pointer, Pointer, Size, Size)
        name = kind.encode()
        return int(mount(name, folder.encode(), name, 0, 0))

    def _call(self, command: int, attributes: bytes) -> int:
        answer: int = self._syscall(self._bpf, command, attributes, len(attributes))
        return answer

    def _may_lock_more(self) -> bool:
        limit = self._library.function("setrlimit", Int, Pointer)
        return bool(limit(_RLIMIT_MEMLOCK, _UNLIMITED) == 0)


def _name(text: str) -> bytes:
    return text.encode()[:_LONGEST_NAME]
