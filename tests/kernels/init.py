#!/usr/bin/python3 -S
"""The first process of a guest that tools/kernels.sh boots: makes a system, runs the self-test.

What the guest's kernel has built in is all there is. The result goes to the console, in a line that
tools/kernels.sh looks for; without that line the guest has failed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import traceback

MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tracefs", "/sys/kernel/tracing"),
    ("tmpfs", "/tmp"),
)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h
POWER_OFF = 0x4321FEDC  # linux/reboot.h
LIBC = ctypes.CDLL(None, use_errno=True)


def mount() -> None:
    for kind, folder in MOUNTS:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103  # pathlib is a second under emulation
        if LIBC.mount(kind.encode(), folder.encode(), kind.encode(), 0, None) != 0:
            raise OSError(ctypes.get_errno(), f"mounting {kind}")


def loopback() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(s, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def main() -> None:
    code = 1
    try:
        mount()
        loopback()
        environment = {"PATH": "/usr/bin", "PYTHONPATH": "/lambdatrace"}
        command = [sys.executable, "-S", "/lambdatrace/tests/kernels/selftest.py"]
        code = subprocess.run(command, env=environment, check=False).returncode
    except BaseException:  # noqa: BLE001  # the first process must not end
        traceback.print_exc()
    print(f"self-test ended with {code}", flush=True)
    LIBC.reboot(POWER_OFF)


main()
