"""The head of `show`: which execution this is, how it ended, and what is not known about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.capture import CAPTURE
from lambdatrace.cli.views.grid import facts_grid
from lambdatrace.cli.views.stack import Stack
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    WARNING,
    counted,
    duration_words,
    moment,
    safe,
    size,
    status_style,
)
from lambdatrace.model import LOST_BEFORE
from lambdatrace.values import as_dict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lambdatrace.model import AgentCost, Ending, Execution

_EDGES = {
    "kernel": "edges exact, from the kernel",
    "looks": "edges seen by looking",
    "extension": "edges from the Extensions API",
    "process": "edges: a command's life",
}
_LOST = {
    "events": "record",
    "syscalls": "syscall record",
    "connections": "connection not followed",
    "threads": "thread not followed",
    "sockets": "socket not followed",
    "records": "record above what is kept",
    "items": "item not stored",
    "gaps": "gap while the agent's worker was away",
    "executions": "execution not stored",
}
_LOST_MANY = {
    "connections": "connections not followed",
    "threads": "threads not followed",
    "sockets": "sockets not followed",
    "records": "records above what is kept",
    "items": "items not stored",
    "gaps": "gaps while the agent's worker was away",
    "executions": "executions not stored",
}


_UNSEEN = {"overlap": "overlap: other executions ran in this process meanwhile: no traffic shown"}
_FOLDED = {
    "exchanges": ("exchange", "exchanges"),
    "blocked": ("blocked syscall", "blocked syscalls"),
    "texts": (
        "piece of a DNS message or TLS handshake",
        "pieces of DNS messages or TLS handshakes",
    ),
}
# From here on threads ran side by side, and their sum is worth a figure of its own.
_PARALLEL = 1.1


def execution_view(execution: Execution, missing_chunks: int = 0) -> RenderableType:
    """The header of one execution, with a warning for whatever is missing from its trace."""
    # Reasons quote what this machine's kernel says.
    return Stack(
        facts_grid([(Text(label), value) for label, value in facts(execution)], DIM),
        *(safe(f"! {each}", WARNING, limit=400) for each in warnings(execution, missing_chunks)),
    )


def facts(execution: Execution) -> list[tuple[str, Text]]:
    """What there is to say of an execution, each under its label."""
    function = safe(execution.function, style="bold")
    if execution.version is not None:
        function.append(", version ", style="not bold").append_text(
            safe(execution.version, "not bold")
        )
    if execution.memory_mb is not None:
        function.append(f", {execution.memory_mb} MB", style="not bold")
    ended = Text(duration_words(execution.duration_ns), style="bold")
    ended.append(", ", style="not bold")
    ended.append(str(execution.status), style=status_style(execution.status))
    if execution.in_init:
        ended.append(" in init", style=status_style(execution.status))
    if execution.ending is not None:
        ended.append_text(_ending(execution.ending, execution.exit_code))
    if execution.exit_code is not None:
        ended.append(f", exit code {execution.exit_code}", style="not bold")
    if execution.cold_start:
        ended.append(", cold start", style="not bold")
    seen = safe(execution.backend)
    seen.append(f", level {execution.level}, ")
    edges = _EDGES.get(execution.edges, f"edges: {execution.edges}")
    if execution.edges == "kernel" and execution.backend != "ebpf":
        edges = "edges exact, from the runtime's own calls"
    if execution.tolerance_ns is not None:
        edges += f": it ended up to {duration_words(execution.tolerance_ns)} earlier"
    seen.append_text(safe(edges))
    off = [group for group in CAPTURE if group not in execution.capture]
    if not execution.capture:
        seen.append(", connections only")
    elif chosen_off := [group for group in off if group not in execution.unavailable]:
        seen.append(f", without {', '.join(chosen_off)}")
    connections = Text("no connection was seen")
    if execution.connections is not None:
        connections = Text(counted(execution.connections, "connection"))
    if execution.errors:
        connections.append(", ").append(counted(execution.errors, "error"), style=BAD)
    rows = [
        ("execution", safe(execution.execution_id)),
        ("function", function),
        ("started", moment(execution.started_at_ns, milliseconds=True).append(" UTC")),
        ("took", ended),
        ("network", connections),
        *_machine(execution),
        ("seen by", seen),
    ]
    if execution.backend_why is not None:
        why = safe(f"because {execution.backend_why}", limit=400)
        rows.append(("", why))
    if not execution.kept:
        rows.append(
            ("events", Text("were not kept (policy ").append_text(safe(execution.keep)).append(")"))
        )
    if execution.command is not None:
        rows.insert(2, ("command", safe(execution.command)))
    if execution.agent is not None:
        rows.append(("agent", _agent(execution.agent)))
    return rows


def _agent(agent: AgentCost) -> Text:
    """What the agent cost; what came after the execution before has to be told as such."""
    text = Text(f"{duration_words(agent.cpu_ns)} of CPU, {agent.peak_bytes / 1e6:.1f} MB")
    text.append(" at its peak")
    if agent.after_ns is None:
        return text
    before = [f"{duration_words(agent.after_ns)} after the response"]
    if agent.flushes:
        before.append(f"{size(agent.sent_bytes or 0)} sent")
    told = (
        (agent.write_units, "write unit", "write units"),
        (agent.retries, "retry", "retries"),
        (agent.spooled, "execution spooled", "executions spooled"),
        (agent.drained, "drained", "drained"),
    )
    before += [counted(count, one, many) for count, one, many in told if count]
    return text.append(f"; since the one before: {', '.join(before)}")


def _ending(ending: Ending, exit_code: int | None) -> Text:
    """How the function's process ended, as far as the exit code of a command does not say it."""
    text = Text()
    if ending.signal is not None:
        text.append(f", ended by {ending.signal}", style=BAD)
    elif exit_code is None:
        style = BAD if ending.exit_code else ""
        text.append(f", its process ended with exit code {ending.exit_code}", style=style)
    if ending.out_of_memory:
        text.append(", out of memory", style=BAD)
    return text


def _machine(execution: Execution) -> list[tuple[str, Text]]:
    """CPU, steal and page faults, those of which there is something to say."""
    rows = []
    cpu = execution.cpu
    if cpu is not None:
        share = round(100 * cpu.cpu_wall_ns / max(1, execution.duration_ns))
        parallel = cpu.cpu_ns > _PARALLEL * cpu.cpu_wall_ns
        threads = f"; all threads: {duration_words(cpu.cpu_ns)}" if parallel else ""
        text = f"{duration_words(cpu.cpu_wall_ns)} on a CPU ({share}%{threads})"
        text += f", {duration_words(cpu.runqueue_wall_ns)} waiting for one"
        rows.append(("cpu", Text(text)))
    elif "cpu" in execution.capture:
        rows.append(("cpu", Text("unavailable", style=WARNING)))
    machine = []
    if execution.steal_ns:
        machine.append(f"{duration_words(execution.steal_ns)} stolen by its host")
    if execution.major_faults:
        machine.append(counted(execution.major_faults, "major fault"))
    if machine:
        rows.append(("machine", Text(", ".join(machine))))
    return rows


def warnings(execution: Execution, missing_chunks: int) -> list[str]:
    """What was lost or could not be seen, in words that are not cleaned."""
    found = []
    lost = {
        name: counted(count, _LOST[name], _LOST_MANY.get(name, ""))
        for name, count in as_dict(execution.dropped).items()
        if count and name in _LOST
    }
    if own := [text for name, text in lost.items() if name not in LOST_BEFORE]:
        found.append(f"dropped: {', '.join(own)}: the figures below are too low")
    if before := [text for name, text in lost.items() if name in LOST_BEFORE]:
        found.append(f"lost before this one: {', '.join(before)}")
    if execution.dropped.forged:
        times = counted(execution.dropped.forged, "time")
        found.append(
            f"forged: {times} something else than the runtime spoke on the runtime API as if it "
            "were: an execution may be missing, or not be what it seems"
        )
    if missing_chunks:
        chunks = counted(missing_chunks, "event chunk")
        found.append(f"missing: {chunks} did not reach the store: connections below are missing")
    by_reason: dict[str, list[str]] = {}
    for group, reason in execution.unavailable.items():
        by_reason.setdefault(reason, []).append(group)
    found += [f"unavailable: {', '.join(groups)}: {reason}" for reason, groups in by_reason.items()]
    found += [
        _UNSEEN.get(used, f"{used} was used: what goes through it is not seen")
        for used in execution.unseen
    ]
    folded = [
        counted(count, *_FOLDED.get(kind, (kind, kind))) for kind, count in execution.folded.items()
    ]
    if folded:
        found.append(f"folded: {', '.join(folded)}: counted, but not kept one by one")
    return found
