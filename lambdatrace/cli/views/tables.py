"""How every table looks."""

from __future__ import annotations

from rich import box
from rich.table import Table

from lambdatrace.cli.views.text import DIM


def new_table() -> Table:
    """An empty table: a rule below its head, two blanks between its columns."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style=DIM,
    )
