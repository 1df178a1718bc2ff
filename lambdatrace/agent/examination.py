"""`python -m lambdatrace.agent.examination`: what can be sensed here, and what the kernel allows.

Writes one JSON object to standard output (the CLI's `doctor` reads it):
    machine    kernel, architecture, python, user, capabilities (names; null: not known), seccomp
               ("off", "strict", "filter"), no_new_privileges, btf, tracefs (a path or null)
    calls      what came of bpf, perf_event_open and ptrace: "" or the errno's name
    backends   name, works, why (it does not), unavailable (group -> why it is off)
Each backend is really loaded, so this takes as long as the agent's start.
"""

from __future__ import annotations

import json
import os
import sys

from lambdatrace.agent.confinement import calls, machine
from lambdatrace.bpf.loader import Probe
from lambdatrace.capture import CAPTURE
from lambdatrace.errors import LambdatraceError
from lambdatrace.preload.backend import Preload
from lambdatrace.proc.backend import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Port 9 (discard) of this machine: whether anybody is there makes no difference.
_CONNECT = "import _socket; _socket.socket().connect_ex(('127.0.0.1', 9))"
MAP_VARIABLE = "LAMBDATRACE_PRELOAD_MAP"
_DYNAMIC = "the library needs glibc 2.17 or newer, and programs that link it dynamically"


def backends() -> list[dict[str, Any]]:
    """Each way to sense, the best one first, and whether it works here."""
    return [
        {"name": "ebpf", **_ebpf()},
        {"name": "preload", **_preload()},
        {"name": "proc", **_proc()},
    ]


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


def _proc() -> dict[str, Any]:
    try:
        sensor = Proc.create(os.getppid(), runtime_api="")
    except LambdatraceError as error:
        return _refused(error)
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
