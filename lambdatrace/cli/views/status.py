"""Functions and their layers as a table: what `status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.table import Table

_LAYER_STATES = {None: "not traced", True: "up to date", False: "another"}
_SECONDS = len("2026-11-22T07:00:00")


def status_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """One row a function; `rows` are the documents of `status`."""
    table = new_table()
    table.add_column("function", overflow="fold")
    for name in ("layer", "state", "table", "level"):
        table.add_column(name, no_wrap=True)
    table.add_column("executions", justify="right", no_wrap=True)
    table.add_column("last began UTC", no_wrap=True)
    table.add_column("dropped", justify="right", no_wrap=True)
    for row in rows:
        layer, last = row["layer"], row["last_started_at"]
        cells = (
            row["function"],
            None if layer is None else ":".join(layer.split(":")[-2:]),
            _LAYER_STATES[row["up_to_date"]],
            row["table"],
            row["level"],
            row["executions"],
            None if last is None else last[:_SECONDS].replace("T", " "),
            row["dropped"],
        )
        table.add_row(*(safe("-" if cell is None else str(cell)) for cell in cells))
    return table
