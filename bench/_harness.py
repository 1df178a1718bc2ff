"""What the benchmarks share: interleaved rounds, medians, and a table with ratios.

Absolute figures belong to the machine they were measured on; the ratio to a rival in the same run
is what travels.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[1]
BCC_PYTHON = os.environ.get("BCC_PYTHON", "/usr/bin/python3")


def interleave(rounds: int, cases: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run every case once a round, in turn, so that a busy moment of the machine hits all."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            _progress(f"  round {number + 1}/{rounds}: {name:<40}")
            found[name].append(case())
    _progress(" " * 72)
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="\r", file=sys.stderr, flush=True)


def report(title: str, unit: str, found: dict[str, list[float]], against: str) -> None:
    """Print median, best and the ratio of medians to the case named `against`."""
    base = statistics.median(found[against])
    table = Table(title=title, title_justify="left")
    table.add_column("case")
    for column in (f"median {unit}", f"best {unit}", f"x {against}"):
        table.add_column(column, justify="right")
    for name, values in found.items():
        middle = statistics.median(values)
        table.add_row(name, f"{middle:.3g}", f"{min(values):.3g}", f"{middle / base:.3g}")
    Console(width=100).print(table)
