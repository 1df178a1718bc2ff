"""What the preloaded library adds to a call, beside strace: the same loops (calls.c) in turn.

Plain, with the library and no mapping (a function whose agent uses eBPF), with a mapping that is
drained as the agent does it, at both levels, and under strace.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

import _rivals
from _harness import compile_c, interleave, matrix

from lambdatrace.capture import CAPTURE
from lambdatrace.preload.backend import Preload
from lambdatrace.preload.build import library

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 7
GOAL_NS = 150
PLAIN = "plain"
COLUMNS = {
    "send": "send", "recv": "recv", "eagain": "recv, nothing there", "write": "write to a file",
    "getpid": "getpid", "connection": "a connection",
}  # fmt: skip
DRAIN_S = 0.05


def figures(command: Sequence[str], **more: str) -> dict[str, float]:
    """Ns by name, as calls.c prints them."""
    ran = subprocess.run(
        command, env={**os.environ, **more}, stdout=subprocess.PIPE, text=True, check=True
    )
    rows = (line.split() for line in ran.stdout.splitlines())
    return {row[0]: float(row[1]) for row in rows if len(row) == 2}


def preloaded(command: Sequence[str], folder: str, level: str) -> dict[str, float]:
    """The same under the library, its mapping drained meanwhile."""
    path = f"{folder}/map"
    sensor = Preload.create(
        path,
        record_syscalls=level == "syscalls",
        capture=frozenset(CAPTURE),
        threshold_ns=1_000_000,
    )
    over = threading.Event()

    def drain() -> None:
        while not over.wait(DRAIN_S):
            sensor.events.drain()
            sensor.syscalls.drain()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        return figures(
            command,
            LD_PRELOAD=str(library(platform.machine())),
            LAMBDATRACE_PRELOAD_MAP=path,
        )
    finally:
        over.set()
        thread.join()
        sensor.close()


def straced(command: Sequence[str], folder: str) -> dict[str, float]:
    """Under strace, network calls only."""
    log = f"{folder}/strace"
    return figures(["strace", "-f", "-e", "trace=network", "-o", log, *command])


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        cpu = str(max(os.sched_getaffinity(0)))
        command = ["taskset", "--cpu-list", cpu, compile_c(folder, "calls"), "cost"]
        own = str(library(platform.machine()))
        cases = {
            PLAIN: lambda: figures(command),
            "library, no mapping": lambda: figures(command, LD_PRELOAD=own),
            "flows": lambda: preloaded(command, folder, "flows"),
            "syscalls": lambda: preloaded(command, folder, "syscalls"),
        }
        if not _rivals.why_not(_rivals.strace("-e", "trace=network")):
            cases["strace"] = lambda: straced(command, folder)
        found = interleave(ROUNDS, cases)
    middle = {
        case: {key: statistics.median(each[key] for each in runs) for key in COLUMNS}
        for case, runs in found.items()
    }
    rows = {
        case: {
            key: f"{value:.0f}" if case == PLAIN else f"{value - middle[PLAIN][key]:+.0f}"
            for key, value in each.items()
        }
        for case, each in middle.items()
    }
    matrix(f"ns a call; below the first row, what is added (goal: {GOAL_NS})", COLUMNS, rows)


if __name__ == "__main__":
    main()
