"""The processes of one execution that ended, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.folding import folded_note
from lambdatrace.cli.views.tables import new_table
from lambdatrace.cli.views.text import BAD, GOOD, duration, process_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Ending, Process

MAX_ROWS = 15


class ProcessTable:
    """One row for each process, by start; where they are too many, the failed and longest ones."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table."""
        names = {process.process_id: process.name for process in self._processes}
        table = new_table()
        table.add_column("process", overflow="fold", min_width=12)
        table.add_column("started by", overflow="fold", min_width=12)
        for name in ("start", "took"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("ended", overflow="fold", min_width=12)
        for process in self._shown():
            parent = process.parent_id
            table.add_row(
                process_text(process.name, process.process_id),
                process_text(names.get(parent), parent) if parent else Text(""),
                duration(process.started_ns),
                duration(process.duration_ns),
                ending_text(process.ending),
            )
        yield table
        if len(self._processes) > MAX_ROWS:
            yield folded_note(len(self._processes), MAX_ROWS)

    def _shown(self) -> list[Process]:
        ordered = sorted(
            self._processes, key=lambda each: (each.ending.exit_code == 0, -each.duration_ns)
        )
        return sorted(ordered[:MAX_ROWS], key=lambda each: (each.started_ns, each.process_id))


def ending_text(ending: Ending) -> Text:
    """`exit code 1`, or `SIGKILL, out of memory`."""
    if ending.signal is not None:
        text = Text(ending.signal, style=BAD)
    else:
        text = Text(f"exit code {ending.exit_code}", style=BAD if ending.exit_code else GOOD)
    if ending.out_of_memory:
        text.append(", out of memory", style=BAD)
    return text
