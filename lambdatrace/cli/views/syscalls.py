"""The syscalls of one execution, by name (level `syscalls`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import BAD, duration, number, safe, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from lambdatrace.analysis.trace import SyscallTotals


def syscall_table(totals: Iterable[SyscallTotals]) -> Table:
    """One row for each syscall."""
    table = new_table()
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
