"""Stores that are not there: the function answers, one line, and the loss is told later."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from faulty_proxy import FaultyProxy, cuts_before, passes
from support_agent import Echo, Function, ok

from lambdatrace import items
from lambdatrace.agent.writer import open_writer
from lambdatrace.analysis.trace import read_trace
from lambdatrace.store import open_store
from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

# Connections only, of which there are none here: a syscall that happened to wait would be an item
# more.
BARE = {"LAMBDATRACE_CAPTURE": "none"}


def lost_and_found(function: Function, lost: list[str], told: str) -> None:
    """Nothing of `lost` was stored, and `told` says how much that was."""
    assert all(function.find(request_id) is None for request_id in lost)
    # With nothing else in it (BARE) an execution is a summary and an index row.
    assert function.read(told).summary["dropped"] == {"items": 2 * len(lost)}
    for request_id in lost:
        (line,) = [line for line in function.agent_lines if request_id in line]
        assert "2 of 2 items" in line


def test_a_folder_that_cannot_be_made(function: Function) -> None:
    obstacle = function.folder / "data"
    obstacle.write_text("a file, not a folder")
    function.store = f"sqlite://{obstacle}/store.db"
    with function.emulator(BARE) as emulator:
        lost = [ok(emulator), ok(emulator)]
        obstacle.unlink()
        told, after = ok(emulator), ok(emulator)
    lost_and_found(function, lost, told)
    assert function.read(after).summary["dropped"] == {}
    # And one at the start, that it will be so.
    assert len(function.agent_lines) == 1 + len(lost)
    assert "cannot create the folder" in function.agent_lines[0]


def test_not_a_store_at_all(function: Function) -> None:
    function.store = "dynamo://Traces"
    with function.emulator() as emulator:
        ok(emulator)
        ok(emulator)
    (line,) = function.agent_lines
    assert "this environment is not traced" in line


def test_an_endpoint_that_does_not_answer(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    with FaultyProxy(dynamodb_local) as proxy:
        function.store = f"dynamodb://Unreachable?region=eu-west-1&endpoint={proxy.endpoint}"
        create_table(store_url.parse(function.store, {}))
        with function.emulator({**aws_environ, **BARE}) as emulator:
            first = ok(emulator)
            proxy._then = cuts_before
            lost = [ok(emulator)]
            proxy._then = passes
            told, after = ok(emulator), ok(emulator)
        assert function.read(first).summary["dropped"] == {}
        assert function.read(after).summary["dropped"] == {}
        lost_and_found(function, lost, told)
        assert len(function.agent_lines) == 1


def test_a_table_that_is_missing(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    function.store = f"dynamodb://Missing?region=eu-west-1&endpoint={dynamodb_local}"
    with function.emulator({**aws_environ, **BARE}) as emulator:
        lost = [ok(emulator), ok(emulator)]
        create_table(store_url.parse(function.store, {}))
        told, after = ok(emulator), ok(emulator)
    lost_and_found(function, lost, told)
    assert function.read(after).summary["dropped"] == {}
    assert all("ResourceNotFoundException" in line for line in function.agent_lines)


def test_a_store_that_never_answers_does_not_make_a_timeout(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    def is_silent(_: object) -> None:
        time.sleep(10)

    with FaultyProxy(dynamodb_local, then=is_silent) as proxy:
        function.store = f"dynamodb://Silent?region=eu-west-1&endpoint={proxy.endpoint}"
        with function.emulator({**aws_environ, **BARE}, timeout_s=1) as emulator:
            ids = [ok(emulator) for _ in range(2)]
    # Given up in time, and said by the worker itself: it was not replaced.
    assert len(function.agent_lines) == len(ids)
    for request_id, line in zip(ids, function.agent_lines, strict=True):
        assert f"2 of 2 items of {request_id} were not stored" in line


@pytest.mark.parametrize("level", ["flows", "syscalls"])
def test_the_same_executions_read_back_identical(
    function: Function, echo: Echo, table: str, aws_environ: dict[str, str], level: str
) -> None:
    ports = [echo.port() for _ in range(3)]
    with function.emulator({"LAMBDATRACE_LEVEL": level}) as emulator:
        ids = [
            ok(emulator, *({"what": "connect", "port": port, "times": 20} for port in ports)),
            ok(emulator),
            ok(emulator, {"what": "use_kept", "port": ports[0], "send": 100_000}),
        ]
    local = open_store(function.store)
    writer = open_writer(table, aws_environ)
    for request_id in ids:
        function.read(request_id)
        written = local.get(request_id)
        # What the agent does with one cut: chunks, summary and index row in one call.
        row = [item for item in local.index(0, time.time_ns()) if is_of(item, request_id)]
        assert len(row) == 1
        assert writer.write(written + row, time.monotonic() + 10) == 0
    remote = open_store(table)
    for request_id in ids:
        assert remote.get(request_id) == local.get(request_id)
        trace = read_trace(remote.get(request_id))
        assert trace == read_trace(local.get(request_id))
        assert bool(trace.syscalls) == (level == "syscalls" and bool(trace.connections))
    hour = time.time_ns() - 3_600_000_000_000
    rows = list(local.index(hour, time.time_ns()))
    assert len(rows) == len(ids)
    assert list(remote.index(hour, time.time_ns())) == rows
    remote.close()
    local.close()


def is_of(row: items.Item, request_id: str) -> bool:
    return bool(items.read_summary(row)["execution_id"] == request_id)


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "secret-key-2ab7",
    "AWS_SESSION_TOKEN": "secret-token-9f3c",
    "DATABASE_PASSWORD": "secret-password-77e1",
}


@pytest.mark.parametrize("level", ["flows", "syscalls"])
def test_no_secret_reaches_the_store_or_the_log(function: Function, echo: Echo, level: str) -> None:
    port = echo.port()
    environ = {**SECRETS, "LAMBDATRACE_LEVEL": level}
    with function.emulator(environ) as emulator:
        step = {"what": "connect", "port": port, "payload": "secret-payload-51d0"}
        request_id = ok(emulator, step, secret="secret-event-c40d")
    assert function.read(request_id).ports == {port: 1}
    path = Path(function.store.removeprefix("sqlite://"))
    stored = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    store = open_store(function.store)
    found = [*store.get(request_id), *store.index(0, time.time_ns())]
    store.close()
    stored += b"".join(items.read_chunks(found).values())
    for item in found:
        if item.kind != items.CHUNK:
            stored += json.dumps(items.read_summary(item)).encode()
    # The search finds what is there.
    assert request_id.encode() in stored
    secrets = [*SECRETS.values(), "secret-event-c40d", "secret-payload-51d0"]
    said = "\n".join(function.agent_lines)
    for secret in secrets:
        for spelling in (secret, quote(secret), secret.encode().hex()):
            assert spelling.encode() not in stored
            assert spelling not in said
