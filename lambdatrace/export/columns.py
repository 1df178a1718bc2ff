"""The columns of tables (csv, parquet): a row for each record, the columns of all kinds together.

Names are those of docs/json.md; what is an object there, are columns here, its name in front
(`partition_wait_ms`): Athena takes no dots. What has no fixed members is JSON text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdatrace.analysis.trace import syscall_rows
from lambdatrace.export.documents import milliseconds
from lambdatrace.export.records import (
    BLOCKED,
    CONNECTION,
    EXCHANGE,
    EXECUTION,
    EXTENSION,
    NAMELOOKUP,
    PAUSE,
    PROCESS,
    SYSCALL,
)
from lambdatrace.export.stored import rows
from lambdatrace.model import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lambdatrace.export.documents import Document
    from lambdatrace.export.stored import StoredExecution

TEXT, INTEGER, FLOAT, BOOLEAN = "text", "integer", "float", "boolean"
MOMENT, TEXTS, JSON = "moment", "texts", "json"

# What every row has.
COMMON = {"record": TEXT, "execution_id": TEXT}

# Objects whose members are columns of their own.
_PARTITION, _AGENT, _ENDING = "partition", "agent", "ending"

_EXECUTION: dict[str, str] = {
    "function": TEXT, "version": TEXT, "started_at": MOMENT, "duration_ms": FLOAT, "status": TEXT,
    "cold_start": BOOLEAN, "backend": TEXT, "backend_why": TEXT, "level": TEXT, "edges": TEXT,
    "tolerance_ms": FLOAT, "memory_mb": INTEGER, "command": TEXT, "exit_code": INTEGER,
    "connection_count": INTEGER, "error_count": INTEGER, "dropped": INTEGER,
    **{f"{_PARTITION}_{part}_ms": FLOAT for part in Part},
    "shares": JSON, "dropped_by": JSON, "folded": JSON, "missing_chunks": INTEGER,
    "capture": TEXTS, "unavailable": JSON, "unseen": TEXTS, "cpu_ms": FLOAT, "cpu_wall_ms": FLOAT,
    "runqueue_ms": FLOAT, "runqueue_wall_ms": FLOAT, "steal_ms": FLOAT, "major_faults": INTEGER,
    f"{_ENDING}_exit_code": INTEGER, f"{_ENDING}_signal": TEXT, f"{_ENDING}_out_of_memory": BOOLEAN,
    "in_init": BOOLEAN, "kept": BOOLEAN, "keep": TEXT,
    f"{_AGENT}_cpu_ms": FLOAT, f"{_AGENT}_peak_mb": FLOAT, f"{_AGENT}_after_ms": FLOAT,
    **{f"{_AGENT}_{name}": INTEGER
       for name in ("sent_bytes", "write_units", "flushes", "retries", "spooled", "drained")},
    "xray_trace_id": TEXT,
}  # fmt: skip
_PLACE = {"host": TEXT, "address": TEXT, "port": INTEGER, "protocol": TEXT}
_WHOSE = {"process_id": INTEGER, "thread_id": INTEGER}
_SPAN = {"started_ms": FLOAT, "duration_ms": FLOAT}
_TRAFFIC = {
    "bytes_out": INTEGER, "bytes_in": INTEGER, "sends": INTEGER, "receives": INTEGER,
    "retransmits": INTEGER,
}  # fmt: skip

COLUMNS: dict[str, dict[str, str]] = {
    EXECUTION: _EXECUTION,
    CONNECTION: {
        "id": INTEGER, **_PLACE, "local_port": INTEGER, **_WHOSE, "process": TEXT, "fd": INTEGER,
        "started_ms": FLOAT, "connect_ms": FLOAT, "first_byte_out_ms": FLOAT,
        "last_byte_out_ms": FLOAT, "first_byte_in_ms": FLOAT, "last_byte_in_ms": FLOAT,
        "wait_ms": FLOAT, "transfer_ms": FLOAT, "duration_ms": FLOAT, **_TRAFFIC,
        "exchanges": INTEGER, "tls_started_ms": FLOAT, "tls_ms": FLOAT, "tls_version": TEXT,
        "tls_server_name": TEXT, "tls_error": TEXT, "outcome": TEXT, "error": TEXT,
        "closed_by": TEXT, "stale": BOOLEAN, "reused": BOOLEAN, "before": BOOLEAN,
        "sampled": BOOLEAN,
    },
    NAMELOOKUP: {
        "name": TEXT, "type": TEXT, "server": TEXT, **_SPAN, "attempts": INTEGER, "answer": TEXT,
        "truncated": BOOLEAN, "addresses": TEXTS, "process_id": INTEGER, "connection_id": INTEGER,
    },
    EXCHANGE: {
        "connection_id": INTEGER, "started_ms": FLOAT, "request_ms": FLOAT, "wait_ms": FLOAT,
        "transfer_ms": FLOAT, **_TRAFFIC,
    },
    BLOCKED: {
        "op": TEXT, "kind": TEXT, "fd": INTEGER, "path": TEXT, **_WHOSE, **_SPAN,
        "blocked_ms": FLOAT, "result": INTEGER,
    },
    PAUSE: {
        "part": TEXT, "subject": TEXT, "op": TEXT, "connection_id": INTEGER, **_WHOSE,
        "cpu_idle": BOOLEAN, **_SPAN,
    },
    PROCESS: {
        "process_id": INTEGER, "parent_id": INTEGER, "name": TEXT, **_SPAN, "exit_code": INTEGER,
        "signal": TEXT, "out_of_memory": BOOLEAN,
    },
    EXTENSION: {
        "process": TEXT, "process_id": INTEGER, **_PLACE, "started_ms": FLOAT,
        "connect_ms": FLOAT, "duration_ms": FLOAT, "bytes_out": INTEGER, "bytes_in": INTEGER,
        "error": TEXT,
    },
    SYSCALL: {
        "op": TEXT, "fd": INTEGER, "connection_id": INTEGER, **_WHOSE, **_SPAN, "result": INTEGER,
    },
}  # fmt: skip


def columns(only: str | None = None) -> dict[str, str]:
    """The columns of one kind of record, or of all, in their order: {name: type}."""
    found = dict(COMMON)
    for kind in COLUMNS if only is None else (only,):
        found |= COLUMNS[kind]
    return found


def flat_rows(stored: StoredExecution, only: str | None = None) -> Iterator[tuple[str, Document]]:
    """(kind, row) of each record of an execution, or of those of one kind."""
    execution_id = stored.execution.execution_id
    for kind, document in rows(stored) if only != SYSCALL else ():
        if only in (None, kind):
            row = flat(document) if kind == EXECUTION else document
            yield kind, {"record": kind, "execution_id": execution_id, **row}
    if only not in (None, SYSCALL):
        return
    for op, fd, connection, process, thread, started, duration, result in syscall_rows(
        stored.records
    ):
        yield SYSCALL, {
            "record": SYSCALL, "execution_id": execution_id, "op": op, "fd": fd,
            "connection_id": connection, "process_id": process, "thread_id": thread,
            "started_ms": milliseconds(started), "duration_ms": milliseconds(duration),
            "result": result,
        }  # fmt: skip


def flat(document: Mapping[str, Any]) -> Document:
    """An execution's document with the members of its objects side by side."""
    row: Document = {}
    for name, value in document.items():
        if name in (_PARTITION, _AGENT, _ENDING):
            row |= {f"{name}_{member}": each for member, each in (value or {}).items()}
        elif _EXECUTION.get(name) == JSON:
            row[name] = json.dumps(value)
        else:
            row[name] = value
    return row
