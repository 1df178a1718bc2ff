"""What the threads of one execution waited in, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import DIM, counted, duration, number, process_text, safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.analysis.waiting import BlockedTotals

MAX_ROWS = 10
_ROOM_FOR_ALL_COLUMNS = 100


class BlockedTable:
    """One row for each thread, syscall and file, the most time first.

    `names` are those of processes by id, where known; `folded` says how many blocked syscalls were
    counted and not kept.
    """

    def __init__(
        self, totals: Sequence[BlockedTotals], names: Mapping[int, str], folded: int = 0
    ) -> None:
        self._totals = totals
        self._names = names
        self._folded = folded

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        wide = options.max_width >= _ROOM_FOR_ALL_COLUMNS
        threads = len({(row.process_id, row.thread_id) for row in self._totals}) > 1
        table = new_table()
        table.add_column("waited in", overflow="fold", min_width=8)
        table.add_column("kind", no_wrap=True)
        table.add_column("on", overflow="fold", min_width=8)
        if threads:
            table.add_column("thread", overflow="fold", min_width=8)
        if wide:
            table.add_column("from", justify="right", no_wrap=True)
        for column in ("times",) + ("longest",) * wide + ("in all",):
            table.add_column(column, justify="right", no_wrap=True)
        for row in self._totals[:MAX_ROWS]:
            cells = [safe(row.op), Text(str(row.kind)), _target(row)]
            if threads:
                name = self._names.get(row.process_id)
                cells.append(process_text(name, row.process_id, row.thread_id))
            if wide:
                cells.append(duration(row.first_started_ns))
            cells.append(number(row.count))
            if wide:
                cells.append(duration(row.longest_ns))
            table.add_row(*cells, duration(row.blocked_ns))
        yield table
        notes = []
        if len(self._totals) > MAX_ROWS:
            more = len(self._totals) - MAX_ROWS
            notes.append(f"… and {counted(more, 'more row')}; --output json has every wait")
        if self._folded:
            were = "was" if self._folded == 1 else "were"
            notes.append(f"… and {counted(self._folded, 'more wait')} that {were} not kept")
        for note in notes:
            yield Text(note, style=DIM)


def _target(row: BlockedTotals) -> Text:
    if row.path is not None:
        return safe(row.path)
    return Text("") if row.fd is None else Text(f"fd {row.fd}", style=DIM)
