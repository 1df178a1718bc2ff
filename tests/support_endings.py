"""How a function ends: what is written of an execution that never gets to its end."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from support_agent import Function, invoke, ok, trace
from support_faults import seen_by_the_caller, without_agent

from lambdatrace.analysis.trace import read_trace
from lambdatrace.items import SUMMARY, Item
from lambdatrace.model import BlockedKind, Status

if TYPE_CHECKING:
    from lambdatrace.model import Trace

KEEP_EVERY_VERSION = """
CREATE TABLE versions(id, nano, tie, kind, schema, expires, body);
CREATE TRIGGER keep AFTER INSERT ON items BEGIN
    INSERT INTO versions VALUES (NEW.execution_id, NEW.timestamp_nano, NEW.tie, NEW.kind,
        NEW.schema, NEW.expires_at, NEW.body);
END;
"""
VERSIONS = """SELECT id, nano, tie, kind, body, expires, schema FROM versions
    WHERE id = :id ORDER BY rowid"""

TIMED_OUT = "Task timed out after 1.00 seconds"
# Of a second, less what the emulator's own start takes of it.
LONG_NS = 0.3e9


def late(function: Function, *steps: dict[str, Any], **options: Any) -> tuple[Trace, Trace]:
    """An invocation that times out: (as it was written before its deadline, as it stands)."""
    with function.emulator(timeout_s=1, **options) as emulator:
        function.read(ok(emulator))
        path = function.store.removeprefix("sqlite://")
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.executescript(KEEP_EVERY_VERSION)
        invocation = invoke(emulator, *steps)
    with without_agent(function, timeout_s=1, **options) as emulator:
        ok(emulator)
        bare = invoke(emulator, *steps)
    assert invocation.error == TIMED_OUT
    assert seen_by_the_caller(invocation) == seen_by_the_caller(bare)
    last = trace(function, invocation.request_id)
    assert last.execution.status is Status.TIMEOUT
    assert last.execution.dropped.total == 0
    assert last.execution.duration_ns > LONG_NS
    return first_version(path, invocation.request_id), last


def first_version(path: str, request_id: str) -> Trace:
    """An execution as it was written first: the items up to the first summary."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = [Item(*row) for row in file.execute(VERSIONS, {"id": request_id})]
    end = next(number for number, item in enumerate(rows) if item.kind == SUMMARY)
    found = read_trace(rows[: end + 1])
    assert found.execution.status is Status.UNFINISHED
    return found


def asleep(found: Trace, kind: BlockedKind) -> int:
    """How long the one call of a kind had waited that never returned, in ns."""
    (call,) = [each for each in found.blocked if each.kind is kind and -516 <= each.result <= -512]
    assert call.started_ns + call.blocked_ns <= found.execution.duration_ns + 5_000_000
    return call.blocked_ns
