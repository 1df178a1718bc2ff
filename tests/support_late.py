"""A thread that is late from its syscalls: by a program at sys_exit, ahead of the probe's.

What an interrupt or the host of a virtual machine do at any place, this does each time, and where
it matters: what the syscall did is done, and others see it before the probe does.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING

from lambdatrace.bpf import native, plan
from lambdatrace.bpf.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURNS = 4_000  # of the loop at most: the verifier walks them all
_LOOKS = 10  # at the clock in each
_COMM, _CLOCK = 16, 5  # bpf_get_current_comm, bpf_ktime_get_ns


def _instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, of << 4 | to, offset, value)


def _program(name: str, nanoseconds: int) -> bytes:
    low, high = struct.unpack("<ii", name.encode()[:8].ljust(8, b"\0"))
    return b"".join([
        _instruction(0x79, 1, 1, 8),  # r1 = the syscall's result
        _instruction(0xD5, 1, offset=15 + _LOOKS),  # nothing was done: out
        _instruction(0xBF, 1, 10),
        _instruction(0x07, 1, value=-16),
        _instruction(0xB7, 2, value=16),
        _instruction(0x85, value=_COMM),  # (r1 = stack - 16, r2 = 16)
        _instruction(0x79, 1, 10, -16),
        _instruction(0x18, 2, value=low) + _instruction(0, value=high),
        _instruction(0x5D, 1, 2, 7 + _LOOKS),  # another thread: out
        _instruction(0x85, value=_CLOCK),
        _instruction(0xBF, 7, 0),
        _instruction(0x07, 7, value=nanoseconds),
        _instruction(0xB7, 8, value=_TURNS),
        _instruction(0x85, value=_CLOCK) * _LOOKS,
        _instruction(0x3D, 0, 7, 2),  # late enough: out
        _instruction(0x07, 8, value=-1),
        _instruction(0x55, 8, offset=-3 - _LOOKS),
        _instruction(0xB7, 0),
        _instruction(0x95),
    ])  # fmt: skip


@contextlib.contextmanager
def keeping_back(name: str, nanoseconds: int) -> Iterator[None]:
    """Threads of that name are about so late from each syscall that did something.

    Programs run in the order in which they were attached: load the probe in here.
    """
    kernel = Kernel()
    code = _program(name, nanoseconds)
    program = kernel.load(plan.RAW_TRACEPOINT, "kept", native.address(code), len(code) // 8)
    assert program >= 0, os.strerror(native.get_errno())
    attached = kernel.attach_raw(program, "sys_exit")
    try:
        assert attached >= 0, os.strerror(native.get_errno())
        yield
    finally:
        for fd in (attached, program):
            os.close(fd)
