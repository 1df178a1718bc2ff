"""The syscalls of one execution, by name (level `syscalls`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from lambdatrace.cli.views.text import BAD, DIM, duration, number, safe, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.analysis.trace import SyscallTotals


def syscall_table(totals: Iterable[SyscallTotals]) -> Table:
    """One row for each syscall."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style=DIM)
    table.add_column("syscall")
    for name in ("calls", "errors", "bytes", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in totals:
        table.add_row(
            safe(row.op),
            number(row.count),
            number(row.errors, BAD),
            safe(None) if row.bytes is None else size(row.bytes),
            duration(row.time_ns),
        )
    return table
