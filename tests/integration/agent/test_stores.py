"""Stores that are not there: the function answers, one line, and the loss is told later."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from faulty_proxy import FaultyProxy, cuts_before, is_slow, passes
from support_agent import Echo, Function, eventually, ok
from support_faults import spooled, through

from lambdatrace import items
from lambdatrace.agent.writer import open_writer
from lambdatrace.analysis.trace import read_trace
from lambdatrace.store import open_store
from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

# Connections only, of which there are none here: a syscall that happened to wait would be an item
# more.
BARE = {"LAMBDATRACE_CAPTURE": "none", "LAMBDATRACE_FLUSH": "end"}


def all_stored(function: Function, ids: list[str], late: int) -> None:
    """Each once, nothing lost, and `late` of them after a time in the spool."""
    summaries = [function.read(request_id).summary for request_id in ids]
    assert [summary["dropped"] for summary in summaries] == [{}] * len(ids)
    assert sorted(each["execution_id"] for each in function.stored()) == sorted(ids)
    assert len(spooled(function)) == 0
    told = sum(summary["agent"]["spooled"] for summary in summaries)
    assert told == late


def test_a_folder_that_cannot_be_made(function: Function) -> None:
    obstacle = function.folder / "data"
    obstacle.write_text("a file, not a folder")
    function.store = f"sqlite://{obstacle}/store.db"
    with function.emulator(BARE) as emulator:
        ids = [ok(emulator), ok(emulator)]
        assert len(spooled(function)) == 2
        obstacle.unlink()
        ids += [ok(emulator), ok(emulator)]
    # The third came too soon to ask again.
    all_stored(function, ids, late=3)
    # One at the start, that it will be so; that it is so; and that it is no more.
    start, trouble, recovered = function.agent_lines
    assert "cannot create the folder" in start
    assert "cannot create the folder" in trouble
    assert "the store takes executions again" in recovered


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
        through(function, proxy, "Unreachable")
        with function.emulator({**aws_environ, **BARE}) as emulator:
            ids = [ok(emulator)]
            proxy._then = cuts_before
            ids += [ok(emulator)]
            assert len(spooled(function)) == 1
            proxy._then = passes
            ids += [ok(emulator), ok(emulator)]
        all_stored(function, ids, late=1)
        trouble, _ = function.agent_lines
        assert "without an answer" in trouble


def test_a_table_that_is_missing(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    function.store = f"dynamodb://Missing?region=eu-west-1&endpoint={dynamodb_local}"
    with function.emulator({**aws_environ, **BARE}) as emulator:
        ids = [ok(emulator), ok(emulator)]
        create_table(store_url.parse(function.store, {}))
        ids += [ok(emulator), ok(emulator)]
    summaries = [function.read(request_id).summary for request_id in ids]
    assert all(summary["dropped"] == {} for summary in summaries)
    assert len(function.stored()) == len(ids)
    assert spooled(function) == []
    trouble, _ = function.agent_lines
    assert "ResourceNotFoundException" in trouble
    assert "is there a table Missing in eu-west-1?" in trouble


def test_a_store_that_never_answers_does_not_make_a_timeout(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    def is_silent(_: object) -> None:
        time.sleep(10)

    with FaultyProxy(dynamodb_local, then=is_silent) as proxy:
        function.store = f"dynamodb://Silent?region=eu-west-1&endpoint={proxy.endpoint}"
        with function.emulator({**aws_environ, **BARE}, timeout_s=1) as emulator:
            ids = [ok(emulator) for _ in range(4)]
        assert len(spooled(function)) == len(ids)
        # Twice the time there was; from then on nobody asked, until the end.
        assert proxy.requests < 2 * len(ids)
    # Said by the worker itself: it was not replaced.
    trouble, goodbye = function.agent_lines
    assert "in time" in trouble
    assert f"{len(ids)} executions are not in the store" in goodbye


def test_a_spool_that_somebody_clears(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    with FaultyProxy(dynamodb_local) as proxy:
        through(function, proxy, "Cleared")
        proxy._then = cuts_before
        with function.emulator({**aws_environ, **BARE}) as emulator:
            lost = [ok(emulator) for _ in range(3)]
            assert len(spooled(function)) == len(lost)
            shutil.rmtree(function.folder / "spool")
            proxy._then = passes
            ids: list[str] = []

            def is_found() -> bool:
                ids.append(ok(emulator))
                return any("damaged, or gone" in line for line in function.agent_lines)

            eventually(is_found, "a line about it")
            ids.append(ok(emulator))
        found = function.stored()
    assert sorted(each["execution_id"] for each in found) == sorted(ids)
    told = [each["dropped"] for each in found if each["dropped"]]
    assert [each["executions"] for each in told] == [len(lost)]


def test_a_store_that_is_back_and_slow(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    with FaultyProxy(dynamodb_local) as proxy:
        through(function, proxy, "Back-slow")
        environ = {**aws_environ, **BARE, "LAMBDATRACE_FLUSH": "end"}
        with function.emulator(environ) as emulator:
            ids = [ok(emulator)]
            proxy._then = cuts_before
            ids += [ok(emulator) for _ in range(4)]
            assert len(spooled(function)) == 4
            # Longer than half of the time that a store which was down is given.
            proxy._then = is_slow(0.3)

            def is_drained() -> bool:
                ids.append(ok(emulator))
                time.sleep(0.1)
                return not spooled(function)

            eventually(is_drained, "an empty spool")
        proxy._then = passes
        summaries = [function.read(request_id).summary for request_id in ids]
    assert [summary["dropped"] for summary in summaries] == [{}] * len(ids)
    _, recovered = function.agent_lines
    assert "the store takes executions again" in recovered


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
