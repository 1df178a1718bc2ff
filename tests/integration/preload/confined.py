"""Becomes a command as a stock Lambda function's processes are: `confined.py COMMAND...`, as root.

`--no-netlink` in front of it has sockets of AF_NETLINK refused as well.

As a user who is nobody, without capabilities and without a way to get any, under a seccomp filter
that refuses bpf(2), ptrace(2) and perf_event_open(2) with EPERM. Started inside a private mount
namespace (the emulator's): what a user has to be able to read there is made so.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

USER = 993  # as Lambda's
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 22, 38, 24
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_EPERM = 0x00050001
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # classic BPF, linux/filter.h
# bpf, ptrace, perf_event_open: arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h
NUMBERS = {"x86_64": (321, 101, 298), "aarch64": (280, 117, 241)}[platform.machine()]
SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
AF_NETLINK = 16
FIRST_ARGUMENT = 16  # where it stands in struct seccomp_data; its lower half, little-endian
LAST_CAPABILITY = 63


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def closed_above(path: Path) -> Path | None:
    """The first folder above `path` that keeps others out."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def let_read(paths: list[Path]) -> None:
    """Let everybody get to `paths`, and to nothing else in the closed folders above them."""
    within: dict[Path, set[str]] = {}
    for path in paths:
        folder = closed_above(path)
        if folder is not None:
            within.setdefault(folder, set()).add(path.relative_to(folder).parts[0])
    for number, (folder, names) in enumerate(within.items()):
        aside = f"/run/confined-{os.getpid()}-{number}"
        steps = [
            f"mkdir -p {aside}",
            f"mount --bind {folder} {aside}",
            f"mount -t tmpfs -o mode=755 confined {folder}",
            *(f"mkdir {folder}/{name}" for name in names),
            *(f"mount --bind {aside}/{name} {folder}/{name}" for name in names),
        ]
        subprocess.run(["/bin/sh", "-ec", "\n".join(steps)], check=True)


def drop(libc: ctypes.CDLL) -> None:
    """Another user, and nothing that root could."""
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # those above the last one are refused
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)  # which takes all other sets of capabilities away
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        sys.exit("no_new_privs is refused")


def refuse(libc: ctypes.CDLL, *, netlink: bool) -> None:
    """The filter; `netlink`: sockets of it, too."""
    steps = [(LOAD, 0, 0, 0)]  # the number of the call
    for place, number in enumerate(NUMBERS):
        steps.append((JUMP_IF_EQUAL, len(NUMBERS) - place, 0, number))
    steps += [(RETURN, 0, 0, SECCOMP_RET_ALLOW), (RETURN, 0, 0, SECCOMP_RET_EPERM)]
    if netlink:
        # Behind the number's load; whoever makes no such socket goes on as before.
        steps[1:1] = [
            (JUMP_IF_EQUAL, 0, 3, SOCKET),
            (LOAD, 0, 0, FIRST_ARGUMENT),
            (JUMP_IF_EQUAL, 0, 1, AF_NETLINK),
            (RETURN, 0, 0, SECCOMP_RET_EPERM),
            (LOAD, 0, 0, 0),
        ]
    packed = b"".join(struct.pack("<HBBI", *step) for step in steps)
    program = Program(len(steps), packed)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        sys.exit(f"no seccomp filter: {os.strerror(ctypes.get_errno())}")


def main() -> None:
    """Become it."""
    let_read([Path(sys.base_prefix), Path(sys.prefix), Path(__file__).resolve().parents[3]])
    libc = ctypes.CDLL(None, use_errno=True)
    drop(libc)
    command = sys.argv[1:]
    netlink = command[0] == "--no-netlink"
    refuse(libc, netlink=netlink)
    os.execvp(command[netlink], command[netlink:])


main()
