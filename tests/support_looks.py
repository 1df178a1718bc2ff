"""What may be said of an execution that was only looked at (`proc`): docs/backends.md, as checks.

What it cannot see is unavailable: null in every row, and never 0 or false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNSEEN_GROUPS = {"dns", "tls", "exchanges", "blocked", "processes"}
UNSEEN_PARTS = ("dns", "connect", "tls", "wait", "transfer", "file", "sleep", "lock")
SEEN_PARTS = ("cpu", "runqueue", "steal", "other")
# Of the rows of an execution, what it cannot have; and of a connection, what nobody has told.
UNSEEN_ROWS = (
    "namelookups", "exchanges", "blocked", "pauses", "processes", "extensions", "syscalls",
)  # fmt: skip
UNSEEN_OF_CONNECTIONS = (
    "host", "thread_id", "first_byte_out_ms", "first_byte_in_ms", "transfer_ms", "sends",
    "receives", "exchanges", "tls_started_ms", "tls_ms", "tls_version", "tls_server_name",
    "tls_error", "error", "closed_by", "stale",
)  # fmt: skip
OF_CPU = frozenset({"cpu", "runqueue", "steal"})
OF_GONE = ("bytes_out", "bytes_in", "retransmits", "wait_ms")
OUTCOMES = ("open", "connecting", "gone")


def of_document(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with an execution as `show --output json` has it."""
    execution = document["execution"]
    parts = {f"partition_{name}": ms for name, ms in (execution["partition"] or {}).items()}
    found = [*of_execution({**execution, **parts})]
    for name in UNSEEN_ROWS:
        if document.get(name):
            found.append(f"there are {name}: {document[name]}")
    for connection in document["connections"]:
        found += of_connection(connection)
    return found


def of_execution(row: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one row of an execution, its parts beside it (`partition_cpu_ms`)."""
    if row["backend"] != "proc":
        yield f"its backend is {row['backend']}"
    if row["error_count"] is not None:
        yield f"error_count is {row['error_count']}"
    if row["connection_count"] == 0:
        yield "connection_count is 0"
    if row["unavailable"].keys() & UNSEEN_GROUPS != UNSEEN_GROUPS:
        yield f"unavailable is {row['unavailable']}"
    if set(row["capture"]) - {"cpu"}:
        yield f"capture is {row['capture']}"
    if "partition_cpu_ms" in row:
        parts = {part: row[f"partition_{part}_ms"] for part in _PARTS}
        yield from of_parts(parts)


def of_parts(parts: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a partition."""
    for part in UNSEEN_PARTS:
        if parts.get(part) is not None:
            yield f"part {part} is {parts[part]}"
    # Where no look saw it run, its CPU time is not known, nor what goes with that.
    was_missed = all(parts.get(each) is None for each in OF_CPU)
    for part in set(SEEN_PARTS) - (OF_CPU if was_missed else set()):
        if parts.get(part) is None:
            yield f"part {part} is not known"


def of_connection(row: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one row of a connection."""
    if row["sampled"] is not True:
        yield "a connection is not sampled"
    for name in UNSEEN_OF_CONNECTIONS:
        if row[name] is not None:
            yield f"a connection's {name} is {row[name]!r}"
    if row["outcome"] not in OUTCOMES:
        yield f"a connection's outcome is {row['outcome']}"
    if row["outcome"] == "gone":
        if row["wait_ms"] is not None:
            yield f"one that was gone waited {row['wait_ms']}"
        for name in OF_GONE:
            if row[name] == 0:
                yield f"one that was gone has {name} 0"


_PARTS = (*UNSEEN_PARTS, *SEEN_PARTS)
