"""Why an execution took as long as it did, in one sentence: what `show` says first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.grid import facts_grid
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import DIM, safe

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lambdatrace.model import Verdict

# A sentence quotes at most two names; the longest name that DNS allows has 253 characters.
_MOST_CHARACTERS = 800


def verdict_view(verdict: Verdict) -> RenderableType:
    """The verdict on one execution, in line with the header above it."""
    style = "bold" if verdict.cause is not None else ""
    text = safe(verdict.text, style, _MOST_CHARACTERS)
    return facts_grid([(Text("verdict".ljust(9)), text)], DIM)
