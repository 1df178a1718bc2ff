"""The processes of one execution that ended, as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.listing import Column, Listing
from lambdatrace.cli.views.stack import Stack
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import BAD, DIM, GOOD, counted, duration, process_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from lambdatrace.model import Ending, Process

_MOST_ROWS = 8
_NAME = 12  # cells that a name keeps at least


def process_list(processes: Sequence[Process]) -> Listing:
    """One row for each process, by start."""
    title = counted(len(processes), "process", "processes") + " that ended"
    return _listing(title, processes, list(enumerate(processes, 1)))


def failed_processes(
    processes: Sequence[Process], lists: str = "--events lists them"
) -> list[RenderableType]:
    """Those that the function started and that ended badly; nothing if none did.

    `lists` says how all can be had.
    """
    # How the function's own ended stands in the header.
    failed = [
        (number, each)
        for number, each in enumerate(processes, 1)
        if each.ending.exit_code != 0 and each.parent_id
    ]
    if not failed:
        return []
    title = counted(len(failed), "process", "processes") + " ended badly"
    listing = _listing(title, processes, failed[:_MOST_ROWS])
    if len(failed) <= _MOST_ROWS:
        return [listing]
    more = len(failed) - _MOST_ROWS
    return [Stack(listing, Text(f"and {more:,} more: {lists} all", style=DIM))]


def _listing(title: str, everyone: Sequence[Process], rows: list[tuple[int, Process]]) -> Listing:
    names = {each.process_id: each.name for each in everyone}
    shown = [each for _, each in rows]
    processes = [process_text(each.name, each.process_id) for each in shown]
    parents = [
        process_text(names.get(each.parent_id), each.parent_id) if each.parent_id else Text()
        for each in shown
    ]
    return Listing(
        title,
        [
            Column("#", [Text(f"x{number}", style=DIM) for number, _ in rows]),
            Column("process", processes, right=False, least=_NAME),
            Column("started by", parents, 1, right=False, least=_NAME),
            Column("start", [duration(each.started_ns) for each in shown], 2),
            Column("took", [duration(each.duration_ns) for each in shown]),
            Column("ended", [ending_text(each.ending) for each in shown], right=False, least=_NAME),
        ],
    )


def ending_text(ending: Ending) -> Text:
    """`exit code 1`, or `SIGKILL, out of memory`."""
    if ending.signal is not None:
        text = Text(ending.signal, style=BAD)
    else:
        text = Text(f"exit code {ending.exit_code}", style=BAD if ending.exit_code else GOOD)
    if ending.out_of_memory:
        text.append(", out of memory", style=BAD)
    return text
