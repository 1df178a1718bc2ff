"""What --filter can be about: the fields of the documents, and their kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.filters import BOOLEAN, MOMENT, NUMBER, TEXT, Filter, parse
from lambdatrace.model import Level, Outcome, Part, Protocol, Status
from lambdatrace.values import replaced

if TYPE_CHECKING:
    from lambdatrace.analysis.filters import Kind
    from lambdatrace.model import Execution

EXECUTIONS = "executions"
DESTINATIONS = "destinations"
CONNECTIONS = "connections"
ROWS = "rows"

EXECUTION_FIELDS: dict[str, Kind] = {
    "execution_id": TEXT, "function": TEXT, "version": TEXT, "started_at": MOMENT,
    "duration_ms": NUMBER, "status": tuple(Status), "cold_start": BOOLEAN, "backend": TEXT,
    "backend_why": TEXT, "level": tuple(Level), "edges": TEXT, "tolerance_ms": NUMBER,
    "memory_mb": NUMBER, "command": TEXT, "exit_code": NUMBER, "connection_count": NUMBER,
    "error_count": NUMBER, "dropped": NUMBER,
    **{f"partition.{part}_ms": NUMBER for part in Part},
}  # fmt: skip
_PLACE: dict[str, Kind] = {
    "host": TEXT, "address": TEXT, "port": NUMBER, "protocol": tuple(Protocol),
}  # fmt: skip
# Of one execution with one destination; of several times the longest.
DESTINATION_FIELDS: dict[str, Kind] = {
    **_PLACE, "connections": NUMBER, "errors": NUMBER, "reused": NUMBER, "requests": NUMBER,
    "bytes_out": NUMBER, "bytes_in": NUMBER, "time_ms": NUMBER, "dns_ms": NUMBER,
    "connect_ms": NUMBER, "tls_ms": NUMBER, "wait_ms": NUMBER,
}  # fmt: skip
_NUMBERS = (
    "id", "local_port", "process_id", "thread_id", "fd", "started_ms", "connect_ms",
    "first_byte_out_ms", "last_byte_out_ms", "first_byte_in_ms", "last_byte_in_ms", "wait_ms",
    "transfer_ms", "duration_ms", "bytes_out", "bytes_in", "sends", "receives", "exchanges",
    "retransmits", "tls_started_ms", "tls_ms",
)  # fmt: skip
_TEXTS = ("process", "tls_version", "tls_server_name", "tls_error", "error", "closed_by")
CONNECTION_FIELDS: dict[str, Kind] = {
    **_PLACE,
    **dict.fromkeys(_NUMBERS, NUMBER),
    **dict.fromkeys(_TEXTS, TEXT),
    "outcome": tuple(Outcome),
    **dict.fromkeys(("stale", "reused", "before", "sampled"), BOOLEAN),
}
# Of what top-destinations makes of many executions.
ROW_FIELDS: dict[str, Kind] = {
    "addresses": NUMBER, "executions": NUMBER, "connections": NUMBER, "requests": NUMBER,
    "errors": NUMBER, "bytes_out": NUMBER, "bytes_in": NUMBER, "reuse_ratio": NUMBER,
    **{f"{phase}_p{share}_ms": NUMBER
       for phase in ("dns", "connect", "tls", "wait") for share in (50, 95, 99)},
    "time_ms": NUMBER, "share": NUMBER, "change": NUMBER,
}  # fmt: skip


def execution_filter(text: str | None) -> Filter:
    """A filter of executions, by their own fields and by their destinations'. Raises UsageError."""
    return parse(text, {EXECUTIONS: EXECUTION_FIELDS, DESTINATIONS: DESTINATION_FIELDS})


def connection_filter(text: str | None) -> Filter:
    """A filter of connections, and of the execution by fields only that has. Raises UsageError."""
    return parse(text, {CONNECTIONS: CONNECTION_FIELDS, EXECUTIONS: EXECUTION_FIELDS})


def destination_filter(text: str | None) -> Filter:
    """A filter of rows over many executions, and of what goes into them. Raises UsageError."""
    return parse(
        text,
        {ROWS: ROW_FIELDS, DESTINATIONS: DESTINATION_FIELDS, EXECUTIONS: EXECUTION_FIELDS},
    )


def keeps(wanted: Filter, execution: Execution) -> bool:
    """Whether an execution passes, and talked to a destination that does."""
    if not wanted.on(EXECUTIONS) and not wanted.on(DESTINATIONS):
        return True
    from lambdatrace.export import documents

    return (
        not wanted.on(EXECUTIONS) or wanted.holds(EXECUTIONS, documents.fields_document(execution))
    ) and (
        not wanted.on(DESTINATIONS)
        or wanted.holds_for_one(
            DESTINATIONS, map(documents.figures_document, execution.destinations)
        )
    )


def only_destinations(wanted: Filter, execution: Execution) -> Execution:
    """The execution with those of its destinations that pass."""
    from lambdatrace.export import documents

    if not wanted.on(DESTINATIONS):
        return execution
    return replaced(
        execution,
        destinations=tuple(
            each
            for each in execution.destinations
            if wanted.holds(DESTINATIONS, documents.figures_document(each))
        ),
    )
