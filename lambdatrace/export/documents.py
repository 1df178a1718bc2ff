"""Results as JSON documents: stable names with their units in them, described in docs/json.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.analysis.phases import transfer_ns, wait_ns
from lambdatrace.analysis.times import rfc_3339
from lambdatrace.model import Part
from lambdatrace.values import as_dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lambdatrace.analysis.compare import Comparison, PlaceFigures
    from lambdatrace.analysis.destinations import DestinationRow
    from lambdatrace.analysis.stats import Bin, Distribution
    from lambdatrace.analysis.trace import Records
    from lambdatrace.model import (
        AgentCost,
        Blocked,
        Connection,
        CpuTime,
        DestinationFigures,
        Elsewhere,
        Exchange,
        Execution,
        Namelookup,
        Partition,
        Pause,
        Process,
        Verdict,
        Xray,
    )

Document = dict[str, Any]

# Of the documents, not of the stored items: raised when a name changes its meaning or goes away.
SCHEMA_VERSION = 1

CONNECTION_FIELDS = (
    "id", "host", "address", "port", "protocol", "local_port", "process_id", "thread_id",
    "process", "fd", "started_ms", "connect_ms", "first_byte_out_ms", "last_byte_out_ms",
    "first_byte_in_ms", "last_byte_in_ms", "wait_ms", "transfer_ms", "duration_ms", "bytes_out",
    "bytes_in", "sends", "receives", "exchanges", "retransmits", "tls_started_ms", "tls_ms",
    "tls_version", "tls_server_name", "tls_error", "outcome", "error", "closed_by", "stale",
    "reused", "before", "sampled",
)  # fmt: skip
LIST_FIELDS = (
    "schema_version", "execution_id", "function", "version", "started_at", "duration_ms", "status",
    "cold_start", "backend", "backend_why", "level", "edges", "tolerance_ms",
    "memory_mb", "command", "exit_code", "connection_count", "error_count", "dropped", "partition",
    "shares",
)  # fmt: skip
# A row has no room for objects: the partition's members stand side by side.
LIST_CSV_FIELDS = (
    *(name for name in LIST_FIELDS if name not in ("partition", "shares")),
    *(f"partition.{part}_ms" for part in Part),
)
DISTRIBUTION_FIELDS = (
    "schema_version", "name", "count", "share", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms",
)  # fmt: skip
COMPARISON_FIELDS = (
    "schema_version", "record", "name", "port", "protocol", "a_ms", "b_ms", "difference_ms",
)  # fmt: skip
_QUANTILES = ("p50", "p95", "p99")
_PHASES = ("dns", "connect", "tls", "wait")
DESTINATION_FIELDS = (
    "schema_version", "function", "host", "address", "addresses", "port", "protocol", "executions",
    "connections", "reused", "reuse_ratio", "requests", "errors", "bytes_out", "bytes_in",
    *(f"{phase}_{quantile}_ms" for phase in _PHASES for quantile in _QUANTILES),
    "time_ms", "share", "change", "times_ms",
)  # fmt: skip


def milliseconds(ns: int | None) -> float | None:
    """Nanoseconds as milliseconds, none of them lost."""
    return None if ns is None else ns / 1_000_000


def figures_document(figures: DestinationFigures) -> Document:
    """What one execution did with one destination, of several times the longest (for --filter)."""
    longest = {
        f"{phase}_ms": milliseconds(max(getattr(figures, f"{phase}_ns"), default=None))
        for phase in _PHASES
    }
    return {
        "host": figures.host,
        "address": figures.address,
        "port": figures.port,
        "protocol": str(figures.protocol),
        "connections": figures.connections,
        "errors": figures.errors if figures.time_seen or figures.errors else None,
        "reused": figures.reused,
        "requests": figures.requests if figures.time_seen else None,
        "bytes_out": figures.bytes_out,
        "bytes_in": figures.bytes_in,
        "time_ms": milliseconds(figures.time_ns if figures.time_seen else None),
        **longest,
    }


def execution_document(execution: Execution, missing_chunks: int = 0) -> Document:
    """The `execution` object of `show`."""
    dropped = {name: count for name, count in as_dict(execution.dropped).items() if count}
    return {
        **_execution(execution),
        "dropped_by": dropped,
        "folded": dict(execution.folded),
        "missing_chunks": missing_chunks,
        "capture": list(execution.capture),
        "unavailable": dict(execution.unavailable),
        "unseen": list(execution.unseen),
        **_cpu(execution.cpu),
        "steal_ms": milliseconds(execution.steal_ns),
        "major_faults": execution.major_faults,
        "ending": None if execution.ending is None else as_dict(execution.ending),
        "in_init": execution.in_init,
        "kept": execution.kept,
        "keep": execution.keep,
        "agent": None if execution.agent is None else _agent(execution.agent),
    }


def xray_trace_id(xray: Xray | None) -> str | None:
    """A trace's id as X-Ray writes it: its version, when it began, its number."""
    return None if xray is None else f"1-{xray.trace_id[:8]}-{xray.trace_id[8:]}"


def _agent(agent: AgentCost) -> Document:
    return {
        "cpu_ms": milliseconds(agent.cpu_ns),
        "peak_mb": round(agent.peak_bytes / 1e6, 3),
        "after_ms": milliseconds(agent.after_ns),
        "sent_bytes": agent.sent_bytes,
        "write_units": agent.write_units,
        "flushes": agent.flushes,
        "retries": agent.retries,
        "spooled": agent.spooled,
        "drained": agent.drained,
    }


def _cpu(cpu: CpuTime | None) -> Document:
    names = ("cpu", "cpu_wall", "runqueue", "runqueue_wall")
    return {
        f"{name}_ms": None if cpu is None else milliseconds(getattr(cpu, f"{name}_ns"))
        for name in names
    }


def _partition(partition: Partition | None) -> Document | None:
    if partition is None:
        return None
    return {f"{part}_ms": milliseconds(partition.of(part)) for part in Part}


def verdict_document(verdict: Verdict) -> Document:
    """The `verdict` of one execution."""
    return {
        "cause": verdict.cause,
        "destination": verdict.destination,
        "share": verdict.share,
        "text": verdict.text,
        "evidence": [as_dict(reference) for reference in verdict.evidence],
        "usual_ms": milliseconds(verdict.usual_ns),
        "compared": verdict.compared,
    }


def fields_document(execution: Execution) -> Document:
    """What --filter can be about of an execution: as in `list`, without the verdict."""
    return {"schema_version": SCHEMA_VERSION, **_execution(execution)}


def list_document(execution: Execution, verdict: Verdict) -> Document:
    """One object of `list`, with the verdict that the summary alone carries."""
    return {**fields_document(execution), "verdict": verdict_document(verdict)}


def list_row(execution: Execution) -> Document:
    """One row of `list`: the members of the partition side by side, no verdict."""
    document = fields_document(execution)
    partition = document.pop("partition") or dict.fromkeys(f"{part}_ms" for part in Part)
    return {**document, **{f"partition.{name}": value for name, value in partition.items()}}


def _execution(execution: Execution) -> Document:
    return {
        "execution_id": execution.execution_id,
        "function": execution.function,
        "version": execution.version,
        "started_at": rfc_3339(execution.started_at_ns),
        "duration_ms": milliseconds(execution.duration_ns),
        "status": str(execution.status),
        "cold_start": execution.cold_start,
        "backend": execution.backend,
        "backend_why": execution.backend_why,
        "level": str(execution.level),
        "edges": execution.edges,
        "tolerance_ms": milliseconds(execution.tolerance_ns),
        "memory_mb": execution.memory_mb,
        "command": execution.command,
        "exit_code": execution.exit_code,
        "connection_count": execution.connections,
        "error_count": execution.errors,
        "dropped": execution.dropped.total,
        "partition": _partition(execution.partition),
        "shares": [
            {"part": str(each.part), "subject": each.subject, "ms": milliseconds(each.ns)}
            for each in execution.shares
        ],
    }


def connection_document(
    connection: Connection, exchanges: Sequence[Exchange] | None = None
) -> Document:
    """One object of `connections` in `show`; `exchanges` are its own, where they are known."""
    seen = connection.transfers_seen
    return {
        "id": connection.id,
        "host": connection.host,
        "address": connection.address,
        "port": connection.port,
        "protocol": str(connection.protocol),
        "local_port": connection.local_port,
        "process_id": connection.process_id,
        "thread_id": connection.thread_id,
        "process": connection.process_name,
        "fd": connection.fd,
        "started_ms": milliseconds(connection.started_ns),
        "connect_ms": milliseconds(connection.connect_ns),
        "first_byte_out_ms": milliseconds(connection.first_out_ns),
        "last_byte_out_ms": milliseconds(connection.last_out_ns),
        "first_byte_in_ms": milliseconds(connection.first_in_ns),
        "last_byte_in_ms": milliseconds(connection.last_in_ns),
        "wait_ms": milliseconds(wait_ns(connection, exchanges)),
        "transfer_ms": milliseconds(transfer_ns(connection, exchanges)),
        "duration_ms": milliseconds(connection.duration_ns),
        "bytes_out": connection.known(connection.bytes_out),
        "bytes_in": connection.known(connection.bytes_in),
        "sends": connection.sends if seen else None,
        "receives": connection.receives if seen else None,
        "exchanges": connection.exchanges,
        "retransmits": connection.retransmits,
        "tls_started_ms": milliseconds(connection.tls_started_ns),
        "tls_ms": milliseconds(connection.tls_ns),
        "tls_version": connection.tls_version,
        "tls_server_name": connection.tls_server_name,
        "tls_error": connection.tls_error,
        "outcome": str(connection.outcome),
        "error": connection.error,
        "closed_by": connection.closed_by,
        "stale": connection.stale,
        "reused": connection.reused,
        "before": connection.before,
        "sampled": connection.sampled,
    }


def namelookup_document(lookup: Namelookup) -> Document:
    """One object of `namelookups` in `show`."""
    return {
        "name": lookup.name,
        "type": lookup.type,
        "server": lookup.server,
        "started_ms": milliseconds(lookup.started_ns),
        "duration_ms": milliseconds(lookup.duration_ns),
        "attempts": lookup.attempts,
        "answer": lookup.answer,
        "truncated": lookup.truncated,
        "addresses": list(lookup.addresses),
        "process_id": lookup.process_id,
        "connection_id": lookup.connection_id,
    }


def exchange_document(exchange: Exchange) -> Document:
    """One object of `exchanges` in `show`."""
    return {
        "connection_id": exchange.connection_id,
        "started_ms": milliseconds(exchange.started_ns),
        "request_ms": milliseconds(exchange.request_ns),
        "wait_ms": milliseconds(exchange.wait_ns),
        "transfer_ms": milliseconds(exchange.transfer_ns),
        "bytes_out": exchange.bytes_out,
        "bytes_in": exchange.bytes_in,
        "sends": exchange.sends,
        "receives": exchange.receives,
        "retransmits": exchange.retransmits,
    }


def blocked_document(blocked: Blocked) -> Document:
    """One object of `blocked` in `show`."""
    return {
        "op": blocked.op,
        "kind": str(blocked.kind),
        "fd": blocked.fd,
        "path": blocked.path,
        "process_id": blocked.process_id,
        "thread_id": blocked.thread_id,
        "started_ms": milliseconds(blocked.started_ns),
        "duration_ms": milliseconds(blocked.duration_ns),
        "blocked_ms": milliseconds(blocked.blocked_ns),
        "result": blocked.result,
    }


def pause_document(pause: Pause) -> Document:
    """One object of `pauses` in `show`."""
    return {
        "part": str(pause.part),
        "subject": pause.subject or None,
        "op": pause.op,
        "connection_id": pause.connection_id,
        "process_id": pause.process_id,
        "thread_id": pause.thread_id,
        "cpu_idle": pause.cpu_idle,
        "started_ms": milliseconds(pause.started_ns),
        "duration_ms": milliseconds(pause.duration_ns),
    }


def process_document(process: Process) -> Document:
    """One object of `processes` in `show`."""
    return {
        "process_id": process.process_id,
        "parent_id": process.parent_id,
        "name": process.name,
        "started_ms": milliseconds(process.started_ns),
        "duration_ms": milliseconds(process.duration_ns),
        **as_dict(process.ending),
    }


def elsewhere_document(connection: Elsewhere) -> Document:
    """One object of `extensions` in `show`."""
    return {
        "process": connection.process_name,
        "process_id": connection.process_id,
        "host": connection.host,
        "address": connection.address,
        "port": connection.port,
        "protocol": str(connection.protocol),
        "started_ms": milliseconds(connection.started_ns),
        "connect_ms": milliseconds(connection.connect_ns),
        "duration_ms": milliseconds(connection.duration_ns),
        "bytes_out": connection.bytes_out,
        "bytes_in": connection.bytes_in,
        "error": connection.error,
    }


def syscall_lines(records: Records, head: str = "") -> Iterator[str]:
    """The objects of `syscalls` in `show`, as JSON; `head` is put before their members.

    Written out, because there may be hundreds of thousands and an encoder takes three times as
    long. Nothing in them needs escaping: they are numbers, and names of our own.
    """
    from lambdatrace.analysis.trace import syscall_rows  # most commands have no use for it

    for op, fd, connection, process, thread, started, duration, result in syscall_rows(records):
        yield (
            f'{{{head}"op": "{op}", "fd": {fd}, "connection_id": {connection or "null"}, '
            f'"process_id": {process}, "thread_id": {thread}, '
            f'"started_ms": {started / 1_000_000}, "duration_ms": {duration / 1_000_000}, '
            f'"result": {result}}}'
        )


def destination_document(row: DestinationRow) -> Document:
    """One object of `top-destinations`."""
    times = {
        f"{phase}_{quantile}_ms": milliseconds(getattr(getattr(row, phase), quantile))
        for phase in _PHASES
        for quantile in _QUANTILES
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "function": row.function,
        "host": row.host,
        "address": row.address,
        "addresses": row.addresses,
        "port": row.port,
        "protocol": None if row.protocol is None else str(row.protocol),
        "executions": row.executions,
        "connections": row.connections,
        "reused": row.reused,
        "reuse_ratio": _ratio(row.reuse_ratio),
        "requests": row.requests,
        "errors": row.errors,
        "bytes_out": row.bytes_out,
        "bytes_in": row.bytes_in,
        **times,
        "time_ms": milliseconds(row.time_ns),
        "share": _ratio(row.share),
        "change": _ratio(row.change),
        "times_ms": None if row.time_ns is None else [milliseconds(each) for each in row.cells],
    }


def _ratio(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def distribution_document(row: Distribution) -> Document:
    """One object of `distributions` in `stats`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": row.name,
        "count": row.count,
        "share": _ratio(row.share),
        **{f"{name}_ms": milliseconds(getattr(row, name)) for name in _DISTRIBUTED},
    }


_DISTRIBUTED = ("p50", "p90", "p95", "p99", "max")


def bin_document(each: Bin) -> Document:
    """One object of `histogram` in `stats`."""
    return {
        "from_ms": milliseconds(each.from_ns),
        "to_ms": milliseconds(each.to_ns),
        "count": each.count,
    }


def comparison_document(comparison: Comparison) -> Document:
    """What `compare` writes as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        **{
            name: {
                "execution_id": side.execution_id,
                "executions": side.executions,
                "duration_ms": milliseconds(side.duration_ns),
            }
            for name, side in (("a", comparison.a), ("b", comparison.b))
        },
        "parts": [
            {
                "part": str(row.part),
                "a_ms": milliseconds(row.a_ns),
                "b_ms": milliseconds(row.b_ns),
                "difference_ms": milliseconds(row.difference_ns),
            }
            for row in comparison.parts
        ],
        "destinations": [
            {
                "host": row.host,
                "port": row.port,
                "protocol": str(row.protocol),
                "a": _place(row.a),
                "b": _place(row.b),
                "difference_ms": milliseconds(row.difference_ns),
            }
            for row in comparison.places
        ],
    }


def _place(figures: PlaceFigures | None) -> Document | None:
    if figures is None:
        return None
    return {
        "time_ms": milliseconds(figures.time_ns),
        "connections": figures.connections,
        "requests": figures.requests,
        "errors": figures.errors,
        "longest_wait_ms": milliseconds(figures.longest_wait_ns),
    }


def comparison_rows(comparison: Comparison) -> Iterator[Document]:
    """What `compare` writes as rows: the whole, the parts, the destinations."""
    difference = comparison.b.duration_ns - comparison.a.duration_ns
    yield _compared(
        "total", "total", comparison.a.duration_ns, comparison.b.duration_ns, difference
    )
    for part in comparison.parts:
        yield _compared("part", str(part.part), part.a_ns, part.b_ns, part.difference_ns)
    for place in comparison.places:
        a, b = (None if side is None else side.time_ns for side in (place.a, place.b))
        row = _compared("destination", place.host, a, b, place.difference_ns)
        yield {**row, "port": place.port, "protocol": str(place.protocol)}


def _compared(
    record: str, name: str, a_ns: int | None, b_ns: int | None, difference_ns: int | None
) -> Document:
    return {
        "schema_version": SCHEMA_VERSION,
        "record": record,
        "name": name,
        "port": None,
        "protocol": None,
        "a_ms": milliseconds(a_ns),
        "b_ms": milliseconds(b_ns),
        "difference_ms": milliseconds(difference_ns),
    }
