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


def map_path(runtime_api: str) -> str:
    """The file that agent and library share; layer/opt/wrapper has the same."""
    return MAP_PREFIX + runtime_api.rpartition(":")[2]


def open_sensor(settings: Settings, root: int) -> Sensor:
    """A sensor for what `root` (a process id) is going to start. Raises LambdatraceError."""
    if settings.backend == "preload":
        return _preload(settings, "asked for")
    try:
        return _probe(settings, root)
    except ProbeError as error:
        if settings.backend == "ebpf":
            raise
        if WRAPPER_VARIABLE not in settings.environ:
            # Nothing would bring the library into the runtime.
            raise
        log(f"no eBPF here, the preloaded library traces instead: {error.message}")
        return _preload(settings, error.message)


def adopt(descriptors: list[int], layout: dict[str, Any]) -> Sensor:
    """The sensor that another process opened. Raises LambdatraceError."""
    if layout.get("backend") == "preload":
        from lambdatrace.preload import backend

        return backend.Preload.adopt(backend.Handover(descriptors, layout))
    from lambdatrace.bpf.loader import Handover, Probe

    return Probe.adopt(Handover(descriptors, layout))


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
