"""What exporting a million records takes: memory at its peak, and time, by format.

Executions are made up and kept in SQLite: most records are spread over thousands of executions,
the rest are the syscalls of a single one. BENCH_RECORDS says how many there are. Exits with 1 where
a format takes more than LIMIT_MB.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from _harness import REPOSITORY, matrix

sys.path.insert(0, str(REPOSITORY / "tests"))

import support_exports as exports

from lambdatrace.export.formats import FORMATS

RECORDS = int(os.environ.get("BENCH_RECORDS") or 1_000_000)
LIMIT_MB = 300
_EACH = 60  # records of an execution
_WINDOW = ("--since", "2026-11-22T00:00:00Z")


def main() -> None:
    """Make the store, export it in every format, import and read what can be, print."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        calls = RECORDS * 2 // 5
        url = exports.large(Path(folder) / "large.db", (RECORDS - calls) // _EACH, _EACH, calls)
        cases = {
            name: ["export", "--store", url, *_WINDOW, "--format", name, "-o", f"{folder}/{name}"]
            for name in FORMATS
        }
        cases["import jsonl"] = ["import", f"{folder}/jsonl", "--store", f"sqlite://{folder}/x.db"]
        for name in ("jsonl", "parquet"):
            cases[f"list --from {name}"] = ["list", "--from", f"{folder}/{name}"]
            cases[f"show --from {name}"] = ["show", "ffffffff-large", "--from", f"{folder}/{name}"]
        for name, command in cases.items():
            began = time.perf_counter()
            peak = exports.peak_mb(*command)
            path = Path(folder) / name
            rows[name] = {
                "peak": f"{peak:.0f}",
                "time": f"{time.perf_counter() - began:.1f}",
                "size": f"{path.stat().st_size / 1e6:.0f}" if path.exists() else "",
            }
            print(name, rows[name], file=sys.stderr, flush=True)
    matrix(
        f"{RECORDS:,} records, {calls:,} of them in one execution",
        {"peak": "peak MB", "time": "s", "size": "file MB"},
        rows,
    )
    if late := [name for name, row in rows.items() if float(row["peak"]) > LIMIT_MB]:
        sys.exit(f"more than {LIMIT_MB} MB: {', '.join(late)}")


if __name__ == "__main__":
    main()
