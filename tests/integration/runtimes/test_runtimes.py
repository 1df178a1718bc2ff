"""Whatever a function is written in: what the servers saw is what the trace shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import require
from support_room import (
    DNS_PORT,
    PLAIN,
    PORTS,
    RESOLVER,
    SECURE,
    Room,
    Visit,
)

if TYPE_CHECKING:
    from support_web import Accepted

PROGRAMS = Path(__file__).parent / "programs"
PLAIN_URL = f"http://{PLAIN}:{PORTS[PLAIN]}"
SECURE_URL = f"https://{SECURE}:{PORTS[SECURE]}"


@pytest.mark.parametrize("program", ["requests", "httpx", "httpx_async", "aiohttp", "boto3"])
def test_python(room: Room, program: str) -> None:
    file = PROGRAMS / f"with_{program}.py"
    check(room.visit(sys.executable, file, PLAIN_URL, SECURE_URL, room.certificate))


def test_node(room: Room) -> None:
    require(shutil.which("node"), "Node is not installed")
    check(
        room.visit(
            "node", PROGRAMS / "with_fetch.mjs", PLAIN_URL, SECURE_URL,
            NODE_EXTRA_CA_CERTS=str(room.certificate),
        )
    )  # fmt: skip


def test_java(room: Room) -> None:
    require(shutil.which("javac"), "no JDK is installed")
    check(room.visit("java", PROGRAMS / "Client.java", PLAIN_URL, SECURE_URL, room.certificate))


def test_go(room: Room, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    require(shutil.which("go"), "Go is not installed")
    program = tmp_path / "client"
    assert pytestconfig.cache is not None
    environ = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(pytestconfig.cache.mkdir("go")),  # Go's own library, built without cgo
    }
    subprocess.run(["go", "build", "-o", program, PROGRAMS / "client.go"], env=environ, check=True)
    check(room.visit(program, PLAIN_URL, SECURE_URL, SSL_CERT_FILE=str(room.certificate)))


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_curl(room: Room, tls: str) -> None:
    require(shutil.which("curl"), "curl is not installed")
    visit = room.visit(
        "sh", PROGRAMS / "with_curl.sh", PLAIN_URL, SECURE_URL, room.certificate, "--tls-max", tls
    )
    check(visit)
    assert {each.tls_version for each in visit.accepted} == {None, f"TLSv{tls}"}


def check(visit: Visit) -> None:
    """The trace shows the connections that the servers accepted, and no others."""
    # Every program asks for the same, and keeps its connections.
    lines = sorted(request.line for each in visit.accepted for request in each.requests)
    assert len(lines) == 5, lines
    assert max(len(each.requests) for each in visit.accepted) > 1

    traced = visit.connections
    assert traced.keys() == {each.client_port for each in visit.accepted}
    for accepted in visit.accepted:
        connection = traced[accepted.client_port]
        check_connection(connection, accepted)
        exchanges = [
            each for each in visit.trace["exchanges"] if each["connection_id"] == connection["id"]
        ]
        check_exchanges(exchanges, accepted)
    assert visit.trace["execution"]["unseen"] == []
    # Resolvers also connect datagram sockets, to see from where an address would be reached, and
    # send nothing: no connection.
    datagrams = [each for each in visit.trace["connections"] if each["protocol"] == "udp"]
    assert {(each["address"], each["port"]) for each in datagrams} == {(RESOLVER, DNS_PORT)}

    answered = {each["name"] for each in visit.trace["namelookups"] if each["answer"] == "NOERROR"}
    assert answered == {PLAIN, SECURE}
    assert {each["server"] for each in visit.trace["namelookups"]} == {RESOLVER}


def check_connection(connection: dict[str, Any], accepted: Accepted) -> None:
    expected = {
        "host": PLAIN if accepted.port == PORTS[PLAIN] else SECURE,
        "address": accepted.address,
        "port": accepted.port,
        "bytes_out": accepted.bytes_in,
        "bytes_in": accepted.bytes_out,
        "outcome": "ok",
        "error": None,
        "reused": False,
        "before": False,
        "stale": False,
        "tls_version": accepted.tls_version and accepted.tls_version.removeprefix("TLSv"),
        "tls_server_name": accepted.server_name,
        "tls_error": None,
    }
    assert {name: connection[name] for name in expected} == expected
    assert connection["connect_ms"] > 0
    assert connection["closed_by"] in ("function", "peer")
    if accepted.tls_version:
        assert connection["tls_started_ms"] >= connection["started_ms"]
        assert 0 < connection["tls_ms"] < connection["duration_ms"]
    else:
        assert (connection["tls_started_ms"], connection["tls_ms"]) == (None, None)


def check_exchanges(exchanges: list[dict[str, Any]], accepted: Accepted) -> None:
    """One for each request and its answer, in order."""
    assert len(exchanges) == len(accepted.requests)
    for exchange, request in zip(exchanges, accepted.requests, strict=True):
        asked, answered = exchange["bytes_out"], exchange["bytes_in"]
        if not accepted.tls_version:
            assert (asked, answered) == (request.bytes_in, request.bytes_out)
        assert asked >= request.bytes_in
        assert answered >= request.bytes_out
        # The request was on its way before the server had it, the answer came after it was sent.
        assert exchange["request_ms"] + exchange["wait_ms"] >= request.thought_s * 1000
    # Nothing is counted twice, and what no exchange holds are handshakes.
    for name, total in (("bytes_out", accepted.bytes_in), ("bytes_in", accepted.bytes_out)):
        rest = total - sum(each[name] for each in exchanges)
        assert (rest > 0) if accepted.tls_version else (rest == 0)
