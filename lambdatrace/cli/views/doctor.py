"""What `doctor` found: a table of checks, what to do below each that asks for something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from lambdatrace.analysis.checkup import Finding
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import BAD, DIM, GOOD, WARNING, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.analysis.checkup import Check

# Told by the mark, not by the colour alone.
_MARKS = {
    Finding.OK: Text("ok", GOOD),
    Finding.NOTE: Text("-", WARNING),
    Finding.PROBLEM: Text("!!", BAD),
}


def checks_table(checks: Sequence[Check]) -> Table:
    """One row a check; groups are named once."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style=DIM)
    table.add_column(no_wrap=True, width=2)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for check in checks:
        found = safe(check.found, limit=500)
        if check.advice:
            found.append("\n→ ")
            found.append_text(safe(check.advice, limit=500))
        group = "" if check.group == before else check.group
        table.add_row(Text(group), _MARKS[check.finding], safe(check.name), found)
        before = check.group
    return table
