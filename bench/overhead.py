"""What tracing costs the traced program: syscalls, HTTP requests and switches of the CPU.

One program (calls.c, then _target.py's HTTP client) runs untraced, under lambdatrace and under its
rivals, in turn. Added costs and ratios are medians over rounds of what the same round's untraced
run says; ± is the median distance from that median. Then the sched tracepoints, which the groups
`cpu` and `blocked` need, next to what would be read instead: /proc/PID/task/*/schedstat at both
edges of an execution.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import _rivals
from _harness import LAMBDATRACE, compile_c, interleave, matrix, settled

from lambdatrace.capture import CAPTURE

ROUNDS = 5
UNTRACED, FLOWS, SYSCALLS = "untraced", "flows", "syscalls"
PARTLY = "- cpu,blocked"  # flows without these groups
BARE = "- all groups"
EMPTY = "empty probe"
COLUMNS = {
    "send": "send", "recv": "recv", "eagain": "EAGAIN", "write": "write", "getpid": "getpid",
    "switch": "switch", "connection": "connection", "http": "HTTP",
}  # fmt: skip
TOUCHED = ("send", "recv", "eagain")
GOAL_NS, GOAL_PERCENT = 150, 2
THREADS = (1, 10, 100)

Figures = dict[str, float]
Runner = Callable[[Sequence[str]], None]


class Bench:
    """The traced program and what it needs; `folder` is a temporary one."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.cpu = max(os.sched_getaffinity(0))
        self._calls = compile_c(folder, "calls")
        here = Path(__file__)
        self._server = subprocess.Popen(
            [sys.executable, str(here.with_name("_server.py")), str(self.cpu)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout
        self._port = self._server.stdout.readline().strip()
        self._target = str(here.with_name("_target.py"))
        self.others: set[str] = set()
        self.warnings: set[str] = set()

    def measure(self, run: Runner) -> Figures:
        """The program's figures under `run`."""
        file = Path(self._folder, "figures.json")
        self.others |= settled()
        run([sys.executable, self._target, self._calls, self._port, str(self.cpu), str(file)])
        figures: Figures = json.loads(file.read_text())
        file.unlink()
        return figures

    def ours(self, level: str, capture: str) -> Runner:
        """Under `lambdatrace run`."""

        def run(command: Sequence[str]) -> None:
            store = f"sqlite://{self._folder}/bench.db"
            done = subprocess.run(
                [LAMBDATRACE, "run", "--level", level, "--store", store, "--", *command],
                env={**os.environ, "LAMBDATRACE_CAPTURE": capture},
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"lambdatrace run failed:\n{done.stderr}")
            self.warnings |= {
                f"{level}: {line}" for line in done.stderr.splitlines() if "dropped" in line
            }

        return run

    def close(self) -> None:
        """Stop the server."""
        self._server.kill()
        self._server.wait()


def untraced(command: Sequence[str]) -> None:
    """Nothing but the command."""
    subprocess.run(command, check=True)


def rivals() -> tuple[dict[str, Runner], dict[str, str]]:
    """Those that run here, and for the others why not."""
    network = ("-e", "trace=network")
    candidates: dict[str, Runner] = {
        "strace": _rivals.strace(*network),
        "strace seccomp": _rivals.strace("--seccomp-bpf", *network),
        "bpftrace": _rivals.bpftrace,
        EMPTY: _rivals.empty_probe,
    }
    missing = {name: why for name, run in candidates.items() if (why := _rivals.why_not(run))}
    usable = {name: run for name, run in candidates.items() if name not in missing}
    beside = []
    for tool in ("tcpconnect-bpfcc", "tcplife-bpfcc"):
        if why := _rivals.why_not(_rivals.beside(tool)):
            missing[tool] = why
        else:
            beside.append(tool)
    if beside:
        usable[" + ".join(tool.removesuffix("-bpfcc") for tool in beside)] = _rivals.beside(*beside)
    return usable, missing


def added(found: dict[str, list[Figures]], case: str, against: str, key: str) -> list[float]:
    """What `case` costs more than `against`, ns, in each round."""
    pairs = zip(found[case], found[against], strict=True)
    return [ours[key] - theirs[key] for ours, theirs in pairs]


def ratio(found: dict[str, list[Figures]], case: str, key: str) -> float:
    """How many times the untraced run of the same round, in the median."""
    pairs = zip(found[case], found[UNTRACED], strict=True)
    return statistics.median(ours[key] / theirs[key] for ours, theirs in pairs)


def with_spread(values: list[float]) -> str:
    """Median and median distance from it, of ns."""
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    if abs(middle) < 10_000:
        return f"{middle:+.0f} ±{spread:.0f}"
    return f"{middle / 1000:+.0f}k ±{spread / 1000:.0f}k"


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def show(found: dict[str, list[Figures]], missing: dict[str, str]) -> None:
    """Print the three tables, what is missing in them, and the goals."""
    none: dict[str, dict[str, str]] = {name: {} for name in missing}
    matrix(
        "ns: a call, a switch with its two calls, a connection, an HTTP request; medians",
        COLUMNS,
        {
            case: {key: f"{statistics.median(run[key] for run in runs):.0f}" for key in COLUMNS}
            for case, runs in found.items()
        }
        | none,
    )
    traced = [case for case in found if case != UNTRACED]
    matrix(
        "ns more than the untraced run of the same round; ± median distance from the median",
        COLUMNS,
        {
            case: {key: with_spread(added(found, case, UNTRACED, key)) for key in COLUMNS}
            for case in traced
        }
        | none,
    )
    matrix(
        f"x {UNTRACED}",
        COLUMNS,
        {case: {key: _short(ratio(found, case, key)) for key in COLUMNS} for case in traced} | none,
    )
    for name, why in missing.items():
        print(f"{name} is not measured: {why}")
    each = ", ".join(
        f"{COLUMNS[key]} {statistics.median(added(found, FLOWS, UNTRACED, key)):+.0f} ns"
        for key in TOUCHED
    )
    percent = (ratio(found, FLOWS, "http") - 1) * 100
    print(f"flows, each syscall touched: {each} (goal: at most {GOAL_NS} ns)")
    if EMPTY in found:
        floor = statistics.median(added(found, EMPTY, UNTRACED, "getpid"))
        print(f"of that, {floor:+.0f} ns are there with programs that do nothing ({EMPTY}, getpid)")
    print(f"flows, HTTP client loop: {percent:+.2f} % (goal: at most {GOAL_PERCENT} %)")
    print()


_SLEEPER = """
import sys, threading
for _ in range(int(sys.argv[1]) - 1):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def schedstat_ns(threads: int) -> dict[str, float]:
    """Reading schedstat of each of a process's threads once: ns, and ns on descriptors kept open.

    As the agent would read it: no Path, no text.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _SLEEPER, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.readline()
    folder = f"/proc/{process.pid}/task"

    def anew() -> int:
        total = 0
        for tid in os.listdir(folder):  # noqa: PTH208  # what the agent would do
            fd = os.open(f"{folder}/{tid}/schedstat", os.O_RDONLY)
            total += int(os.read(fd, 64).split()[1])
            os.close(fd)
        return total

    kept = [os.open(f"{folder}/{tid}/schedstat", os.O_RDONLY) for tid in os.listdir(folder)]  # noqa: PTH208

    def again() -> int:
        return sum(int(os.pread(fd, 64, 0).split()[1]) for fd in kept)

    figures = {}
    for name, read in (("anew", anew), ("again", again)):
        took = []
        for _ in range(max(20, 2000 // threads)):
            begin = time.perf_counter_ns()
            read()
            took.append(time.perf_counter_ns() - begin)
        figures[name] = statistics.median(took)
    for fd in kept:
        os.close(fd)
    process.communicate()
    return figures


def show_sched(found: dict[str, list[Figures]]) -> None:
    """Print what the sched tracepoints cost, next to schedstat at both edges."""
    switch = statistics.median(added(found, FLOWS, PARTLY, "switch"))
    request = statistics.median(added(found, FLOWS, PARTLY, "http"))
    print(
        f"cpu and blocked (sched_switch, sched_wakeup): {switch:+.0f} ns a switch with its two "
        f"calls, {request:+.0f} ns an HTTP request"
    )
    rows = {}
    for threads in THREADS:
        cost = interleave(ROUNDS, {"schedstat": lambda n=threads: schedstat_ns(n)})["schedstat"]
        anew, again = (statistics.median(each[key] for each in cost) for key in ("anew", "again"))
        cells = {"anew": f"{anew / 1000:.1f}", "again": f"{again / 1000:.1f}"}
        if switch > 0:
            cells["even"] = f"{2 * anew / switch:.0f}"
        rows[f"{threads} threads"] = cells
    matrix(
        "/proc/PID/task/*/schedstat, one reading (an execution takes two)",
        {
            "anew": "µs, opened each time",
            "again": "µs, kept open",
            "even": "switches that two readings cost as much as",
        },
        rows,
    )


def main() -> None:
    """Measure and print."""
    usable, missing = rivals()
    without = ",".join(group for group in CAPTURE if group not in ("cpu", "blocked"))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        runners = {
            UNTRACED: untraced,
            FLOWS: bench.ours("flows", "all"),
            PARTLY: bench.ours("flows", without),
            BARE: bench.ours("flows", "none"),
            SYSCALLS: bench.ours("syscalls", "all"),
            **usable,
        }
        try:
            found = interleave(
                ROUNDS,
                {name: lambda run=run: bench.measure(run) for name, run in runners.items()},
            )
        finally:
            bench.close()
    print(f"program and HTTP server both on CPU {bench.cpu}, tracers on any")
    print("EAGAIN: a recv that brings nothing; write: to /dev/null; HTTP: http.client, kept alive")
    show(found, missing)
    show_sched(found)
    for warning in sorted(bench.warnings):
        print(warning)
    if bench.others:
        names = ", ".join(sorted(bench.others)[:4])
        print(f"others traced meanwhile: {len(bench.others)} BPF programs ({names}, …)")
    print()


if __name__ == "__main__":
    sys.exit(main())
