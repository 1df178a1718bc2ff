"""What the preloaded library adds to a call, beside strace: the same loops (calls.c) in turn.

Plain, with the library and no mapping (a function whose agent uses eBPF), with a mapping that is
drained as the agent does it, at both levels, and under strace; besides, with other libraries that
are given as NAME=PATH and take their settings from the environment. Then each library's own time,
with calls behind it that do nothing: what other programs do to the machine tells less on that.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

import _rivals
from _harness import compile_c, interleave, matrix

from lambdatrace.capture import CAPTURE
from lambdatrace.preload.backend import Preload
from lambdatrace.preload.build import library

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def preloaded(
    command: Sequence[str], folder: str, level: str, behind: str = ""
) -> dict[str, float]:
    """The same under the library, its mapping drained meanwhile; `behind` is one more library."""
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
            LD_PRELOAD=f"{library(platform.machine())}:{behind}",
            LAMBDATRACE_PRELOAD_MAP=path,
        )
    finally:
        over.set()
        thread.join()
        sensor.close()


def beside(command: Sequence[str], path: str) -> dict[str, float]:
    """Under another library."""
    return figures(command, LD_PRELOAD=path)


def straced(command: Sequence[str], folder: str) -> dict[str, float]:
    """Under strace, network calls only."""
    log = f"{folder}/strace"
    return figures(["strace", "-f", "-e", "trace=network", "-o", log, *command])


def hooks(folder: str, cpu: str) -> dict[str, Callable[[], dict[str, float]]]:
    """The cases in which libc's functions do nothing."""
    behind = compile_c(folder, "empty", "-shared", "-fPIC")
    command = ["taskset", "--cpu-list", cpu, compile_c(folder, "hooks")]
    cases = {
        "no library": lambda: figures(command, LD_PRELOAD=behind),
        "flows": lambda: preloaded(command, folder, "flows", behind),
        "syscalls": lambda: preloaded(command, folder, "syscalls", behind),
    }
    for name, path in rivals():
        cases[name] = functools.partial(beside, command, f"{path}:{behind}")
    return cases


def rivals() -> list[tuple[str, str]]:
    """(name, path) of the libraries that were given."""
    return [(name, path) for name, _, path in (word.partition("=") for word in sys.argv[1:])]


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
        for name, path in rivals():
            cases[name] = functools.partial(beside, command, path)
        if not _rivals.why_not(_rivals.strace("-e", "trace=network")):
            cases["strace"] = lambda: straced(command, folder)
        found = interleave(ROUNDS, cases)
        own_time = interleave(ROUNDS, hooks(folder, cpu))
    # The median of a case's rounds, and the best, which a busy machine tells less about.
    sums = {
        case: {
            key: tuple(of([each[key] for each in runs]) for of in (statistics.median, min))
            for key in COLUMNS
        }
        for case, runs in found.items()
    }
    rows = {
        case: {
            key: "{:.0f} ({:.0f})".format(*values)
            if case == PLAIN
            else "{:+.0f} ({:+.0f})".format(
                *(value - base for value, base in zip(values, sums[PLAIN][key], strict=True))
            )
            for key, values in each.items()
        }
        for case, each in sums.items()
    }
    title = f"ns a call, median (best); below the first row, what is added (goal: {GOAL_NS})"
    matrix(title, COLUMNS, rows)
    rows = {
        case: {key: f"{statistics.median(each[key] for each in runs):.0f}" for key in runs[0]}
        for case, runs in own_time.items()
    }
    matrix("ns a call that does nothing behind the library, median", COLUMNS, rows)


if __name__ == "__main__":
    main()
