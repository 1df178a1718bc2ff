"""Why an execution took as long as it did, in one sentence: what `show` says first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lambdatrace.cli.views.text import DIM, safe

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lambdatrace.model import Verdict

# A sentence quotes at most two names; the longest name that DNS allows has 253 characters.
_MOST_CHARACTERS = 800


def verdict_view(verdict: Verdict) -> RenderableType:
    """The verdict on one execution, in line with the header above it."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    style = "bold" if verdict.cause is not None else ""
    grid.add_row(Text("verdict".ljust(9)), safe(verdict.text, style, _MOST_CHARACTERS))
    return grid
