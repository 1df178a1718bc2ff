"""The head of `show`: which execution this is, how it ended, and what is not known about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    GOOD,
    WARNING,
    counted,
    duration_words,
    moment,
    safe,
)
from lambdatrace.model import Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lambdatrace.model import Execution

_EDGES = {
    "kernel": "edges exact, from the kernel",
    "extension": "edges from the Extensions API",
    "process": "edges: a command's life",
}
_LOST = {
    "events": "connection record",
    "syscalls": "syscall record",
    "connections": "connection not followed",
    "threads": "thread not followed",
    "sockets": "socket not followed",
    "items": "item not stored",
    "gaps": "gap while the agent's worker was away",
}
_LOST_MANY = {
    "connections": "connections not followed",
    "threads": "threads not followed",
    "sockets": "sockets not followed",
    "items": "items not stored",
    "gaps": "gaps while the agent's worker was away",
}


def status_style(status: Status) -> str:
    """Green for what ended well, red for what did not."""
    return GOOD if status is Status.OK else WARNING if status is Status.UNFINISHED else BAD


def execution_view(execution: Execution, missing_chunks: int = 0) -> RenderableType:
    """The header of one execution, with a warning for whatever is missing from its trace."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in _rows(execution):
        grid.add_row(Text(label), value)
    return Group(grid, *_warnings(execution, missing_chunks))


def _rows(execution: Execution) -> list[tuple[str, Text]]:
    function = safe(execution.function, style="bold")
    if execution.version is not None:
        function.append(", version ", style="not bold").append_text(safe(execution.version))
    if execution.memory_mb is not None:
        function.append(f", {execution.memory_mb} MB", style="not bold")
    ended = Text(duration_words(execution.duration_ns), style="bold")
    ended.append(", ", style="not bold")
    ended.append(str(execution.status), style=status_style(execution.status))
    if execution.exit_code is not None:
        ended.append(f", exit code {execution.exit_code}", style="not bold")
    if execution.cold_start:
        ended.append(", cold start", style="not bold")
    seen = safe(execution.backend)
    seen.append(f", level {execution.level}, ")
    seen.append_text(safe(_EDGES.get(execution.edges, f"edges: {execution.edges}")))
    connections = Text(counted(execution.connections, "connection"))
    if execution.errors:
        connections.append(", ").append(counted(execution.errors, "error"), style=BAD)
    rows = [
        ("execution", safe(execution.execution_id)),
        ("function", function),
        ("started", moment(execution.started_at_ns, milliseconds=True).append(" UTC")),
        ("took", ended),
        ("network", connections),
        ("seen by", seen),
    ]
    if execution.command is not None:
        rows.insert(2, ("command", safe(execution.command)))
    if execution.agent is not None:
        cpu = duration_words(execution.agent.cpu_ns)
        peak = f"{execution.agent.peak_bytes / 1e6:.1f} MB"
        rows.append(("agent", Text(f"{cpu} of CPU, {peak} at its peak")))
    return rows


def _warnings(execution: Execution, missing_chunks: int) -> list[Text]:
    warnings = []
    lost = [
        counted(count, _LOST[name], _LOST_MANY.get(name, ""))
        for name, count in asdict(execution.dropped).items()
        if count
    ]
    if lost:
        warnings.append(f"dropped: {', '.join(lost)}: the figures below are too low")
    if missing_chunks:
        chunks = counted(missing_chunks, "event chunk")
        warnings.append(f"missing: {chunks} did not reach the store: connections below are missing")
    return [Text(f"! {warning}", style=WARNING) for warning in warnings]
