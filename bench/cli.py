"""What the commands take, against what the libraries they stand on take to load, in one run.

Wall clock, and CPU time of the process and those it starts: on a machine that has something else to
do as well the latter says more. `top-destinations` works on all CPUs, so its wall clock counts.
The stores are made up (_store.py); BENCH_EXECUTIONS says how many executions the large one has.
"""

from __future__ import annotations

import compileall
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _harness import LAMBDATRACE, REPOSITORY, interleave, matrix
from _store import fill, write
from _usual import usual

_USUAL = 300  # executions of the latest hours, as a store at hand has them
_MANY = int(os.environ.get("BENCH_EXECUTIONS") or 100_000)
_KNOWN = {"function": "checkout", "status": "ok"}  # of a function with many executions
_HOUR_NS = 3_600 * 1_000_000_000
# What is to be held: case -> (its rival, how many times that at most).
LIMITS = {
    "--help": ("import typer", 1.3),
    "list": ("import typer, rich", 1.5),
    "show": ("import typer, rich", 1.5),
    "top-destinations": ("import pandas", 3.0),
}
# `import rich` alone loads next to nothing of it.
RIVALS = {
    "import typer": "import typer",
    "import typer, rich": "import typer, rich",
    "import typer, rich's modules": "import typer, rich.console, rich.table, rich.text",
    "import pandas": "import pandas",
}


def measured(command: list[str]) -> tuple[float, float]:
    """(wall clock, CPU) of one run, s."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def dominating(command: list[str]) -> str:
    """What takes most of one run of a command, by its own time."""
    script = str(Path(__file__).with_name("_profile.py"))
    result = subprocess.run(
        [sys.executable, script, *command[1:]], capture_output=True, text=True, check=True
    )
    return result.stderr.splitlines()[-1]


def main() -> None:
    """Make the stores, run everything in turn, print ratios and what dominates."""
    # As pip does it: with PYTHONDONTWRITEBYTECODE it would be compiled at each run.
    compileall.compile_dir(REPOSITORY / "lambdatrace", quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        now = time.time_ns()
        fill(f"{folder}/usual.db", _USUAL, now - _HOUR_NS, 6 * _HOUR_NS)
        write(f"{folder}/usual.db", usual(execution_id="latest", started_ns=now, **_KNOWN))
        fill(f"{folder}/many.db", _MANY, now, 23 * _HOUR_NS)
        few, many = ["--store", f"sqlite://{folder}/usual.db"], f"sqlite://{folder}/many.db"
        commands = {
            "--help": [LAMBDATRACE, "--help"],
            "list": [LAMBDATRACE, "list", *few],
            "show": [LAMBDATRACE, "show", "@latest", *few],
            "top-destinations": [LAMBDATRACE, "top-destinations", "--store", many],
            "stats": [LAMBDATRACE, "stats", "--store", many],
        }
        cases = {name: [sys.executable, "-c", code] for name, code in RIVALS.items()} | commands
        found = interleave(
            7, {name: (lambda words=words: measured(words)) for name, words in cases.items()}
        )
        walls = {name: statistics.median(wall for wall, _ in each) for name, each in found.items()}
        cpus = {name: statistics.median(cpu for _, cpu in each) for name, each in found.items()}
        rows = {}
        for name in cases:
            rival, limit = LIMITS.get(name, ("", 0.0))
            rows[name] = {"wall": f"{walls[name]:.3f}", "cpu": f"{cpus[name]:.3f}"}
            if rival:
                rows[name] |= {
                    "rival": rival,
                    "limit": f"{limit}",
                    "ratio": f"{walls[name] / walls[rival]:.2f}",
                    "cpu_ratio": f"{cpus[name] / cpus[rival]:.2f}",
                }
        matrix(
            f"{_USUAL:,} executions for list and show, {_MANY:,} for top-destinations; medians",
            {"wall": "wall s", "cpu": "CPU s", "rival": "against", "ratio": "x wall",
             "cpu_ratio": "x CPU", "limit": "at most"},
            rows,
        )  # fmt: skip
        for name, command in commands.items():
            print(f"{name}: {dominating(command)}")


if __name__ == "__main__":
    main()
