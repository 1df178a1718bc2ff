"""The namelookups of one execution as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import BAD, DIM, GOOD, WARNING, duration, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Namelookup

MAX_ROWS = 20
_ROOM_FOR_ALL_COLUMNS = 100
_ADDRESSES_SHOWN = 2


class NamelookupTable:
    """One row for each question, by start."""

    def __init__(self, lookups: Sequence[Namelookup]) -> None:
        self._lookups = lookups

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        wide = options.max_width >= _ROOM_FOR_ALL_COLUMNS
        table = new_table()
        table.add_column("name", overflow="fold", min_width=12)
        table.add_column("type", no_wrap=True)
        if wide:
            table.add_column("server", overflow="fold")
            table.add_column("start", justify="right", no_wrap=True)
        table.add_column("took", justify="right", no_wrap=True)
        table.add_column("answer", overflow="fold", min_width=12)
        for lookup in self._lookups[:MAX_ROWS]:
            cells = [safe(lookup.name or "."), safe(lookup.type)]
            if wide:
                cells += [safe(lookup.server), duration(lookup.started_ns)]
            table.add_row(*cells, duration(lookup.duration_ns), _answer(lookup))
        yield table
        if len(self._lookups) > MAX_ROWS:
            more = len(self._lookups) - MAX_ROWS
            yield Text(f"… and {more:,} more namelookups; --output json has them all", style=DIM)


def _answer(lookup: Namelookup) -> Text:
    if lookup.answer is None:
        text = Text("unanswered", style=BAD)
    elif lookup.answer != "NOERROR":
        text = safe(lookup.answer, BAD)
    elif lookup.addresses:
        text = safe(", ".join(lookup.addresses[:_ADDRESSES_SHOWN]), GOOD)
        if len(lookup.addresses) > _ADDRESSES_SHOWN:
            text.append(f" +{len(lookup.addresses) - _ADDRESSES_SHOWN}", style=DIM)
    else:
        text = Text("no address", style=DIM)
    if lookup.attempts > 1:
        text.append(f", asked {lookup.attempts} times", style=WARNING)
    if lookup.truncated:
        text.append(", truncated", style=WARNING)
    return text
