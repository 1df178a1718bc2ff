"""Which backend senses: LAMBDATRACE_BACKEND says, or the first one that this environment allows."""

from __future__ import annotations

import os

from lambdatrace.agent.log import log
from lambdatrace.errors import ProbeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.agent.sensor import Sensor
    from lambdatrace.agent.settings import Settings

# Of a usual environment: dozens of processes on a machine of its own (Managed Instances).
MANAGED_SCALE = 4
WRAPPER_VARIABLE = "AWS_LAMBDA_EXEC_WRAPPER"
# Where the wrapper tells the library to look. Emulators on one machine share /tmp, not ports.
MAP_PREFIX = "/tmp/lambdatrace-preload-"  # noqa: S108  # made for this user alone, see preload/
_WRAP = "lambdatrace deploy-layer sets it; in an image of your own: docs/deploy.md"
# Of Managed Instances.
_NOT_MANAGED = "/proc does not tell executions apart that run side by side"


def map_path(runtime_api: str) -> str:
    """The file that agent and library share; layer/opt/wrapper has the same."""
    return MAP_PREFIX + runtime_api.rpartition(":")[2]


def open_sensor(settings: Settings, root: int, refused: list[dict[str, Any]]) -> Sensor:
    """A sensor for what `root` (a process id) is going to start. Raises LambdatraceError.

    Puts into `refused` what was tried in vain: name, why, and what to do about it (advice).
    """
    if settings.backend == "preload":
        return _preload(settings, "asked for")
    if settings.backend == "proc":
        return _proc(settings, root, "asked for")
    try:
        return _probe(settings, root)
    except ProbeError as error:
        if settings.backend == "ebpf":
            raise
        refused.append({"name": "ebpf", "why": error.message, "advice": error.hint})
    why: str = refused[0]["why"]
    if settings.environ.get(WRAPPER_VARIABLE):
        try:
            sensor = _preload(settings, why)
        except ProbeError as error:
            refused.append({"name": "preload", "why": error.message, "advice": error.hint})
        else:
            log(f"no eBPF here, the preloaded library traces instead: {why}")
            return sensor
    else:
        unset = f"{WRAPPER_VARIABLE} is not set, so nothing preloads the library"
        refused.append({"name": "preload", "why": unset, "advice": _WRAP})
    why = "; ".join(each["why"] for each in refused)
    if settings.is_managed:
        raise ProbeError(f"{why}; {_NOT_MANAGED}", refused[0]["advice"])
    sensor = _proc(settings, root, why)
    log(f"no eBPF and no library here, /proc has to do: {why}")
    return sensor


def adopt(descriptors: list[int], layout: dict[str, Any]) -> Sensor:
    """The sensor that another process opened. Raises LambdatraceError."""
    if layout.get("backend") == "preload":
        from lambdatrace.preload import backend

        return backend.Preload.adopt(backend.Handover(descriptors, layout))
    if layout.get("backend") == "proc":
        from lambdatrace.proc.backend import Proc

        return Proc(layout)
    from lambdatrace.bpf.loader import Handover, Probe

    return Probe.adopt(Handover(descriptors, layout))


def _proc(settings: Settings, root: int, why: str) -> Sensor:
    if settings.is_managed:
        raise ProbeError(_NOT_MANAGED, "take another backend: LAMBDATRACE_BACKEND")
    from lambdatrace.proc.backend import Proc

    return Proc.create(
        root, runtime_api=settings.runtime_api, memory_mb=settings.memory_mb, why=why
    )


def _preload(settings: Settings, why: str) -> Sensor:
    from lambdatrace.preload.backend import Preload

    return Preload.create(
        map_path(settings.runtime_api),
        record_syscalls=settings.level == "syscalls",
        runtime_api=settings.runtime_api,
        capture=frozenset(settings.capture),
        threshold_ns=settings.threshold_ns,
        scale=MANAGED_SCALE if settings.is_managed else 1,
        splits=settings.is_managed,
        why=why,
    )


def _probe(settings: Settings, root: int) -> Sensor:
    from lambdatrace.bpf.loader import Probe

    probe = Probe.load(
        record_syscalls=settings.level == "syscalls",
        root=root,
        runtime_api=settings.runtime_api,
        capture=frozenset(settings.capture),
        threshold_ns=settings.threshold_ns,
        scale=MANAGED_SCALE if settings.is_managed else 1,
        splits=settings.is_managed,
        extensions=settings.extensions,
    )
    if settings.extensions:
        from lambdatrace.agent.neighbours import siblings

        for process_id in siblings(root, os.getppid()):
            probe.follow(process_id)
    return probe
