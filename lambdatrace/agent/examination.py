"""`python -m lambdatrace.agent.examination`: what can be sensed here, and what the kernel allows.

Writes one JSON object to standard output (the CLI's `doctor` reads it):
    machine    kernel, architecture, python, user, capabilities (names; null: not known), seccomp
               ("off", "strict", "filter"), no_new_privileges, btf, tracefs (a path or null)
    calls      what came of bpf, perf_event_open and ptrace: "" or the errno's name
    backends   name, works, why (it does not), unavailable (group -> why it is off)
Each backend is really loaded, so this takes as long as the agent's start.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import sys

from lambdatrace.bpf.loader import Probe
from lambdatrace.capture import CAPTURE
from lambdatrace.errors import LambdatraceError
from lambdatrace.preload.backend import Preload

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
# Numbers of bpf and perf_event_open (arch/x86/entry/syscalls/syscall_64.tbl,
# include/uapi/asm-generic/unistd.h).
_NUMBERS = {"x86_64": (321, 298), "aarch64": (280, 241)}
_MAP_CREATE, _ARRAY = 0, 2  # include/uapi/linux/bpf.h
_SOFTWARE_EVENT, _ATTRIBUTE_BYTES = 1, 64  # include/uapi/linux/perf_event.h: PERF_ATTR_SIZE_VER0
_TRACE_ME = 0  # include/uapi/linux/ptrace.h
# Port 9 (discard) of this machine: whether anybody is there makes no difference.
_CONNECT = "import _socket; _socket.socket().connect_ex(('127.0.0.1', 9))"
MAP_VARIABLE = "LAMBDATRACE_PRELOAD_MAP"
_DYNAMIC = "the library needs glibc 2.17 or newer, and programs that link it dynamically"
_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def machine(status: str) -> dict[str, Any]:
    """What this process is and where it runs; `status` is the content of /proc/self/status."""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "python": platform.python_version(),
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
    """What the kernel answers to those who ask for its means: "" or the errno's name."""
    library = ctypes.CDLL(None, use_errno=True)
    numbers = _NUMBERS.get(os.uname().machine)
    if numbers is None:
        return {}
    bpf, perf = numbers
    array = (ctypes.c_uint * 16)(_ARRAY, 4, 4, 1)
    event = (ctypes.c_uint * (_ATTRIBUTE_BYTES // 4))(_SOFTWARE_EVENT, _ATTRIBUTE_BYTES)
    return {
        "bpf": _answer(lambda: library.syscall(bpf, _MAP_CREATE, array, 16), closes=True),
        "perf_event_open": _answer(lambda: library.syscall(perf, event, 0, -1, -1, 0), closes=True),
        "ptrace": _in_child(lambda: library.ptrace(_TRACE_ME, 0, 0, 0)),
    }


def _answer(call: Callable[[], int], *, closes: bool = False) -> str:
    result = call()
    if result < 0:
        code = ctypes.get_errno()
        return errno.errorcode.get(code, str(code))
    if closes:
        os.close(result)
    return ""


def _in_child(call: Callable[[], int]) -> str:
    """The answer to a call that changes who makes it."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, _answer(call).encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer.decode()


def backends() -> list[dict[str, Any]]:
    """Each way to sense, the best one first, and whether it works here."""
    return [{"name": "ebpf", **_ebpf()}, {"name": "preload", **_preload()}]


def _ebpf() -> dict[str, Any]:
    try:
        probe = Probe.load()
    except LambdatraceError as error:
        return _refused(error)
    return {"works": True, "why": "", "advice": "", "unavailable": probe.unavailable}


def _preload() -> dict[str, Any]:
    """Whether a program that is started with the library is seen to connect."""
    import subprocess
    import tempfile

    from lambdatrace.preload.build import library

    with tempfile.TemporaryDirectory(prefix="lambdatrace-doctor-") as folder:
        path = f"{folder}/map"
        try:
            sensor = Preload.create(path, capture=frozenset(CAPTURE), threshold_ns=1_000_000)
        except LambdatraceError as error:
            return _refused(error)
        try:
            program = [sys.executable, "-I", "-S", "-c", _CONNECT]
            environ = {"LD_PRELOAD": str(library(os.uname().machine)), MAP_VARIABLE: path}
            done = subprocess.run(program, env=environ, capture_output=True, check=False)  # noqa: S603
            if not sensor.events.drain():
                said = done.stderr.decode(errors="replace").strip().splitlines()
                why = said[-1] if said else "a program that was started with it was not seen"
                return {"works": False, "why": why, "advice": _DYNAMIC, "unavailable": {}}
        finally:
            sensor.close()
    return {"works": True, "why": "", "advice": "", "unavailable": sensor.unavailable}


def _refused(error: LambdatraceError) -> dict[str, Any]:
    return {"works": False, "why": error.message, "advice": error.hint, "unavailable": {}}


def main() -> int:
    """Write the report; returns the exit code."""
    with open("/proc/self/status", encoding="utf-8") as file:
        status = file.read()
    report = {"machine": machine(status), "calls": calls(), "backends": backends()}
    # The reader has all of it before the kernel detaches the probe, which takes half a second.
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    os.close(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
