"""Long lists made readable: which rows are shown, and what is said about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.text import DIM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.model import Connection

MAX_ROWS = 40

# A connection and its number in the whole list, from 1.
Numbered = tuple[int, "Connection"]


def fold(connections: Sequence[Connection], limit: int = MAX_ROWS) -> list[Numbered]:
    """At most `limit` connections in their order: the failed ones first, then the longest."""
    numbered = list(enumerate(connections, 1))
    if len(numbered) <= limit:
        return numbered
    numbered.sort(key=lambda row: (row[1].error is None, -row[1].duration_ns))
    return sorted(numbered[:limit], key=lambda row: row[0])


def folded_note(total: int, shown: int) -> Text:
    """What to say below a list of which only `shown` rows are there."""
    return Text(
        f"… and {total - shown:,} more (failed and longest ones shown), --output json has them all",
        style=DIM,
    )
