"""SnapStart: one environment is started and snapshotted, many are made of that, days later."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support_agent import Echo, Function, require_agent, trace
from support_credentials import GOOD, Endpoint
from support_platform import Platform

from lambdatrace import items
from lambdatrace.agent.delivery import Delivery
from lambdatrace.agent.flush import END, FlushPolicy
from lambdatrace.agent.outbox import Parcel
from lambdatrace.agent.spool import Spool
from lambdatrace.agent.writer import open_writer
from lambdatrace.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400
NEVER = 2**40  # s since the epoch
EXPIRED = {
    # What was there when the snapshot was taken.
    "AWS_ACCESS_KEY_ID": "AKIDOLD",
    "AWS_SECRET_ACCESS_KEY": "old",
    "AWS_SESSION_TOKEN": "old",
}


@pytest.fixture
def credentials() -> Any:
    with Endpoint() as endpoint:
        # Nothing says when they expire: taken before a restore, they would be kept.
        endpoint.answers = [(200, json.dumps({**GOOD, "Expiration": None}).encode())]
        yield endpoint


def of_container(endpoint: Endpoint) -> dict[str, str]:
    return {
        **EXPIRED,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "let me in",
    }


def test_an_environment_made_of_a_snapshot(
    tmp_path: Path, table: str, echo: Echo, credentials: Endpoint
) -> None:
    require_agent()
    function = Function(tmp_path, table)
    port = echo.port()
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = server.getsockname()[1]
        environ = {
            **of_container(credentials),
            "LAMBDATRACE_FLUSH": "end",
            "PORTS_AT_INIT": f"{port} {port}",
            "AT_INIT": json.dumps({"what": "use_kept", "port": kept}),
        }
        peers: list[socket.socket] = []

        def accept() -> None:
            peers.append(server.accept()[0])
            peers[0].sendall(peers[0].recv(1))

        threading.Thread(target=accept, daemon=True).start()
        with Platform(function, 1, environ, snapshot=True) as platform:
            assert credentials.seen == []
            with platform.frozen(DAY_S):
                peers[0].close()
            restored = platform.now()
            platform.restore()
            connect = {"what": "connect", "port": port}
            ids = [platform.begin({"what": "use_dead", "port": kept}, connect)]
            platform.answer(ids[0])
            ids.append(platform.begin(connect))
            platform.answer(ids[1])
            executions = [function.read(request_id) for request_id in ids]
            first = trace(function, ids[0])
            ended = platform.now()
            assert platform.agent_lines == []
    # What init did, it did once, when the snapshot was made.
    assert [execution.ports for execution in executions] == [{port: 1, kept: 1}, {port: 1}]
    assert [execution.summary["cold_start"] for execution in executions] == [True, False]
    assert restored - 1 < first.execution.started_at_ns / 1e9 < ended
    (stale,) = [each for each in first.connections if each.port == kept]
    assert (stale.stale, stale.bytes_out, stale.bytes_in) == (True, 1, 0)
    assert set(credentials.seen) == {("/creds?id=1", "let me in")}


def test_two_environments_of_one_snapshot(
    tmp_path: Path, table: str, credentials: Endpoint
) -> None:
    """The agent's state is copied as a snapshot copies it: by a fork that nobody is told of."""
    spool = Spool(str(tmp_path / "spool"), table)
    writer = open_writer(table, of_container(credentials))
    delivery = Delivery(writer, FlushPolicy(END), spool)
    assert credentials.seen == []
    # Both get an execution that begins in the very same nanosecond.
    started = time.time_ns()
    ids = [f"11111111-aaaa-4aaa-8aaa-00000000000{number}" for number in range(4)]
    in_two([lambda name=name: deliver(delivery, name, started) for name in ids[:2]])
    assert len(credentials.seen) == 2  # each for itself
    # And neither has a store, but both have the folder.
    nowhere = open_writer(
        "dynamodb://None?region=eu-west-1&endpoint=http://127.0.0.1:9", of_container(credentials)
    )
    cut_off = Delivery(nowhere, FlushPolicy(END), spool)
    in_two([lambda name=name: deliver(cut_off, name, started) for name in ids[2:]])
    delivery.flush(time.monotonic() + 20)
    store = open_store(table)
    found = [items.read_summary(item) for item in store.index(started, started)]
    assert sorted(summary["execution_id"] for summary in found) == ids
    for name in ids:
        assert [item.kind for item in store.get(name)] == [items.SUMMARY]
    store.close()


def deliver(delivery: Delivery, execution_id: str, started: int) -> None:
    summary = {"execution_id": execution_id, "started_ns": started}
    parcel = Parcel((execution_id, started), items.make_items(summary, {}, NEVER))
    delivery.put(parcel, 1)
    delivery.flush(time.monotonic() + 2)


def in_two(deeds: list[Any]) -> None:
    """Do each in a copy of this process, at the same time."""
    children = []
    for deed in deeds:
        child = os.fork()
        if not child:
            code = 1
            try:
                deed()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
