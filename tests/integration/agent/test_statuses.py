"""How an execution ended, and what was still open when it did."""

from __future__ import annotations

import contextlib
import socket
import sqlite3

import pytest
from support_agent import Echo, Function, Gate, invoke, ok, unanswering

from lambdatrace import items, wire

KEEP_EVERY_VERSION = """
CREATE TABLE versions(number INTEGER PRIMARY KEY, id TEXT, kind TEXT, body BLOB);
CREATE TRIGGER keep AFTER INSERT ON items BEGIN
    INSERT INTO versions(id, kind, body) VALUES (NEW.execution_id, NEW.kind, NEW.body);
END;
"""
VERSIONS = "SELECT body FROM versions WHERE id = :id AND kind = 'summary' ORDER BY number"


@pytest.mark.parametrize(
    ("what", "status"), [("raise", "error"), ("exit", "crash"), ("segfault", "crash")]
)
def test_a_failure(function: Function, echo: Echo, what: str, status: str) -> None:
    port = echo.port()
    with function.emulator() as emulator:
        before = ok(emulator, {"what": "connect", "port": port})
        failed = invoke(emulator, {"what": "use_kept", "port": port, "send": 5}, {"what": what})
        after = ok(emulator, {"what": "connect", "port": port})
    assert failed.error is not None
    execution = function.read(failed.request_id)
    assert execution.summary["status"] == status
    assert execution.summary["edges"] == "kernel"
    assert execution.summary["dropped"] == {}
    assert execution.to(port).bytes_out == 5
    # Also where the kernel closed it after the process had ended.
    assert execution.to(port).flags & wire.CONNECTION_OPEN
    for request_id in (before, after):
        execution = function.read(request_id)
        assert execution.summary["status"] == "ok"
        assert execution.ports == {port: 1}
    assert len(function.stored()) == 3


def test_a_timeout_while_waiting_for_an_answer(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator(timeout_s=1) as emulator, Gate() as gate:
        steps = {"what": "connect", "port": port}, {"what": "wait_for", "port": gate.port}
        late = invoke(emulator, *steps)
        after = ok(emulator, {"what": "connect", "port": port})
    assert late.error == "Task timed out after 1.00 seconds"
    execution = function.read(late.request_id)
    assert execution.summary["status"] == "timeout"
    assert execution.ports == {port: 1, gate.port: 1}
    record = execution.to(gate.port)
    assert record.established
    # It waited to the end.
    assert has_no_end_before(execution.summary, record)
    assert not has_no_end_before(execution.summary, execution.to(port))
    assert function.read(after).ports == {port: 1}
    assert len(function.stored()) == 2  # what was written before the deadline was replaced


def test_a_timeout_while_connecting(function: Function) -> None:
    with function.emulator(timeout_s=1) as emulator, unanswering() as port:
        late = invoke(emulator, {"what": "connect", "port": port})
    assert late.error == "Task timed out after 1.00 seconds"
    execution = function.read(late.request_id)
    assert execution.summary["status"] == "timeout"
    record = execution.to(port)
    assert not record.established
    assert record.error == 0
    assert has_no_end_before(execution.summary, record)


def test_what_is_open_is_written_before_the_deadline(function: Function) -> None:
    with function.emulator(timeout_s=1) as emulator, Gate() as gate:
        function.read(ok(emulator))
        with contextlib.closing(sqlite3.connect(function.store.removeprefix("sqlite://"))) as file:
            file.executescript(KEEP_EVERY_VERSION)
        late = invoke(emulator, {"what": "wait_for", "port": gate.port})
    assert late.error == "Task timed out after 1.00 seconds"
    assert function.read(late.request_id).summary["status"] == "timeout"
    with contextlib.closing(sqlite3.connect(function.store.removeprefix("sqlite://"))) as file:
        rows = file.execute(VERSIONS, {"id": late.request_id}).fetchall()
    written = [items.Item(late.request_id, 0, 0, items.SUMMARY, body, 0) for (body,) in rows]
    statuses = [items.read_summary(item)["status"] for item in written]
    assert statuses == ["unfinished", "timeout"]
    first, last = (
        wire.ConnectionRecord.unpack(items.read_chunks([item])[wire.KIND_CONNECTION])
        for item in written
    )
    assert first.id == last.id
    assert first.port == gate.port
    assert first.flags & wire.CONNECTION_OPEN


def test_a_refused_connection_whose_socket_stays_is_told_once(
    function: Function, echo: Echo
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with function.emulator() as emulator:
        ids = [ok(emulator, {"what": "leave_refused", "port": port}), ok(emulator), ok(emulator)]
    executions = [function.read(request_id) for request_id in ids]
    assert [execution.summary["errors"] for execution in executions] == [1, 0, 0]
    assert [len(execution.connections) for execution in executions] == [1, 0, 0]


def has_no_end_before(summary: dict[str, int], record: wire.ConnectionRecord) -> bool:
    """Whether a connection went on as long as its execution did."""
    ended = summary["monotonic_ns"] + summary["duration_ns"]
    return bool(record.flags & wire.CONNECTION_OPEN) or record.closed >= ended
