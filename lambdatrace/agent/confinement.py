"""What the kernel allows a process here: read and tried, without loading anything."""

from __future__ import annotations

import errno
import os
import sys

from lambdatrace.bpf.kernel import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# include/uapi/linux/capability.h, by number.
CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
    "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
    "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
    "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
    "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
)  # fmt: skip
SECCOMP = {"0": "off", "1": "strict", "2": "filter"}
_MAP_CREATE, _ARRAY = 0, 2  # include/uapi/linux/bpf.h
_SOFTWARE_EVENT, _ATTRIBUTE_BYTES = 1, 64  # include/uapi/linux/perf_event.h: PERF_ATTR_SIZE_VER0
_TRACE_ME = 0  # include/uapi/linux/ptrace.h
_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def machine(status: str) -> dict[str, Any]:
    """What this process is and where it runs; `status` is the content of /proc/self/status."""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "python": sys.version.split(" ", 1)[0],
        "user": os.geteuid(),
        "capabilities": capabilities(fields.get("CapEff", "")),
        "seccomp": SECCOMP.get(fields.get("Seccomp", "")),
        "no_new_privileges": {"0": False, "1": True}.get(fields.get("NoNewPrivs", "")),
        "btf": os.path.exists("/sys/kernel/btf/vmlinux"),
        "tracefs": next((each for each in _TRACEFS if os.path.exists(f"{each}/events")), None),
    }


def capabilities(mask: str) -> list[str] | None:
    """The names of those in a mask of /proc/self/status; None where it is none."""
    try:
        bits = int(mask, 16)
    except ValueError:
        return None
    return [name for number, name in enumerate(CAPABILITIES) if bits >> number & 1]


def calls() -> dict[str, str]:
    """What the kernel answers to those who ask for its means: "" or the errno's name.

    Asked in a child of its own: a filter may end whoever asks (told as "killed"), and ptrace
    changes who does.
    """
    import ctypes

    numbers = NUMBERS.get(os.uname().machine)
    if numbers is None:
        return {}
    library = ctypes.CDLL(None, use_errno=True)
    bpf, perf = numbers
    array = (ctypes.c_uint * 16)(_ARRAY, 4, 4, 1)
    event = (ctypes.c_uint * (_ATTRIBUTE_BYTES // 4))(_SOFTWARE_EVENT, _ATTRIBUTE_BYTES)
    asked: dict[str, Callable[[], int]] = {
        "bpf": lambda: int(library.syscall(bpf, _MAP_CREATE, array, 16)),
        "perf_event_open": lambda: int(library.syscall(perf, event, 0, -1, -1, 0)),
        "ptrace": lambda: int(library.ptrace(_TRACE_ME, 0, 0, 0)),
    }
    found: dict[str, str] = {}
    while len(found) < len(asked):
        left = {name: call for name, call in asked.items() if name not in found}
        found |= _in_child(left, ctypes.get_errno)
        if len(found) < len(asked):
            found[next(name for name in asked if name not in found)] = "killed"
    return found


def _in_child(asked: dict[str, Callable[[], int]], error: Callable[[], int]) -> dict[str, str]:
    """The answers until the child was ended. What it opens goes with it."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        for name, call in asked.items():
            code = error() if call() < 0 else 0
            answer = errno.errorcode.get(code, str(code)) if code else ""
            os.write(tell, f"{name} {answer}\n".encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as file:
        lines = file.read().decode().splitlines()
    os.waitpid(pid, 0)
    return dict(line.split(" ", 1) for line in lines)
