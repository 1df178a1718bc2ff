"""How many records a second level `syscalls` takes without a drop, and what the agent uses for it.

calls.c makes socket calls under `lambdatrace run`: at the rate that has to hold, then as many as it
can. Nothing is pinned: the program fills one CPU at most, and the agent finds another if there is
one. `missing` is what the program says it made less what the store holds, whatever `show` says
was dropped; `s after` is how long `run` took to return once the program had ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from _harness import LAMBDATRACE, compile_c, matrix, settled

from lambdatrace import items, wire
from lambdatrace.store import open_store

# Calls a second (0: as many as can be made), seconds.
RUNS = ((200_000, 30), (0, 5))
COLUMNS = {
    "calls": "calls/s", "stored": "stored/s", "missing": "missing", "dropped": "told dropped",
    "bytes": "B each", "cpu": "agent CPU", "peak": "MB", "after": "s after",
}  # fmt: skip


def traced(program: str, store: str, rate: int, seconds: int) -> dict[str, float]:
    """The program under level `syscalls`; what it printed, and `after`: s until `run` returned."""
    command = [program, "pace", str(rate), str(seconds)]
    done = subprocess.run(
        [LAMBDATRACE, "run", "--level", "syscalls", "--store", store, "--", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    returned = time.monotonic()
    if done.returncode:
        raise SystemExit(f"lambdatrace run failed:\n{done.stderr}")
    said = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    return {**said, "after": returned - said["ended"]}


def execution(store: str) -> dict[str, Any]:
    """What `show` says of the execution as a whole: its first line. Millions follow."""
    with subprocess.Popen(
        [LAMBDATRACE, "show", "@latest", "--store", store, "--output", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.kill()
    document: dict[str, Any] = json.loads(line)
    return document


def stored(store: str) -> tuple[int, int]:
    """Syscall records in the store, and bytes of all chunks."""
    opened = open_store(store)
    (summary,) = map(items.read_summary, opened.index(0, time.time_ns()))
    found = opened.get(summary["execution_id"])
    opened.close()
    records = len(items.read_chunks(found)[wire.KIND_SYSCALL]) // wire.SyscallRecord.SIZE
    return records, sum(len(item.body) for item in found if item.kind == items.CHUNK)


def row(program: str, folder: str, rate: int, seconds: int) -> dict[str, str]:
    """One run as a row of the table."""
    settled()
    store = f"sqlite://{folder}/{rate}.db"
    said = traced(program, store, rate, seconds)
    shown = execution(store)
    records, size = stored(store)
    took = said["seconds"]
    agent = shown["agent"]
    return {
        "calls": f"{said['calls'] / took:,.0f}",
        "stored": f"{records / took:,.0f}",
        "missing": f"{said['calls'] - records:,.0f}",
        "dropped": "\n".join(f"{count:,} {name}" for name, count in shown["dropped_by"].items())
        or "none",
        "bytes": f"{size / max(1, records):.1f}",
        "cpu": f"{agent['cpu_ms'] / 10 / took:.0f} %",
        "peak": f"{agent['peak_mb']:.0f}",
        "after": f"{said['after']:.1f}",
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        program = compile_c(folder, "calls")
        rows = {
            f"{rate:,}/s, {seconds} s" if rate else f"full speed, {seconds} s": row(
                program, folder, rate, seconds
            )
            for rate, seconds in RUNS
        }
    matrix(f"Socket calls at level syscalls, {os.cpu_count()} CPUs", COLUMNS, rows)
    print()


if __name__ == "__main__":
    sys.exit(main())
