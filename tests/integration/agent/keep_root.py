"""Runs a command all of whose processes stay root: `keep_root.py COMMAND...`.

AWS's emulator starts extensions and runtimes of Managed Instances as another user, and whoever is
not root may load no probe. A seccomp filter answers the calls that would change the user with a 0,
and does nothing else. Only setgroups(2), setgid(2) and setuid(2) are filtered: Go's and no other's.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000  # with an errno of 0 in its lower half
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # classic BPF, linux/filter.h
# setuid, setgid, setgroups: arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h
NUMBERS = {"x86_64": (105, 106, 116), "aarch64": (146, 144, 159)}[platform.machine()]


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main() -> None:
    """Filter, and become the command."""
    steps = [(LOAD, 0, 0, 0)]  # the number of the call
    for place, number in enumerate(NUMBERS):
        steps.append((JUMP_IF_EQUAL, len(NUMBERS) - place, 0, number))
    steps += [(RETURN, 0, 0, SECCOMP_RET_ALLOW), (RETURN, 0, 0, SECCOMP_RET_ERRNO)]
    packed = b"".join(struct.pack("<HBBI", *step) for step in steps)
    program = Program(len(steps), packed)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        sys.exit(f"no seccomp filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


main()
