"""Sockets as the kernel tells of them, both ways, and a process's connections made of that."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace import wire
from lambdatrace.proc import sockets
from lambdatrace.proc.connections import Connections
from lambdatrace.proc.sockets import Diagnosis, Socket, Tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCES = {"diagnosis": Diagnosis, "tables": Tables}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Iterator[Diagnosis | Tables]:
    found = SOURCES[request.param]()
    yield found
    found.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection: who connected, who accepted."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        yield client, accepted
        client.close()
        accepted.close()


def seen(source: Diagnosis | Tables, which: socket.socket) -> Socket | None:
    inode = os.fstat(which.fileno()).st_ino
    return next((each for each in source.sockets() if each.inode == inode), None)


def test_a_connection(
    source: Diagnosis | Tables, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, accepted = pair
    client.sendall(b"x" * 1000)
    accepted.recv(1000)
    found = seen(source, client)
    assert found is not None
    host, port = accepted.getsockname()[:2]
    assert wire.address_text(found.family, found.address) == host
    assert (found.port, found.local_port) == (port, client.getsockname()[1])
    assert found.state == sockets.ESTABLISHED
    # Who accepts one has not opened it.
    assert seen(source, accepted) is None
    if isinstance(source, Diagnosis):
        assert (found.bytes_out, found.bytes_in, found.retransmits) == (1000, 0, 0)
        accepted.sendall(b"y" * 10)
        client.recv(10)
    again = source.again(found)
    assert again is not None
    assert again.cookie == found.cookie
    assert again.bytes_in == (10 if isinstance(source, Diagnosis) else None)
    accepted.close()
    client.close()  # the second to end: nothing of it remains
    assert source.again(found) is None


def test_ipv4_over_a_socket_of_ipv6_is_ipv4(source: Diagnosis | Tables) -> None:
    """As Java has it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        port = server.getsockname()[1]
        client.connect(("::ffff:127.0.0.1", port))
        found = seen(source, client)
        assert found is not None
        assert (found.family, found.address) == wire_address("127.0.0.1")
        assert source.again(found) is not None


def wire_address(text: str) -> tuple[int, bytes]:
    return 4, wire.runtime_address(f"{text}:1")[0]


def test_where_diagnosis_is_refused_the_tables_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(sockets, "Diagnosis", refuse)
    found, why = sockets.open_sockets()
    assert isinstance(found, Tables)
    assert why == "NETLINK_SOCK_DIAG is refused (EPERM)"


def test_tables_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("sl local rem st\n 0: nonsense\n 1: 0100007F:0016 0:0 01\n")
    assert Tables(str(tmp_path)).sockets() == []


def test_the_connections_of_a_process(
    source: Diagnosis | Tables, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, accepted = pair
    port = accepted.getsockname()[1]
    own = Connections(os.getpid(), 1, lambda each: each.port != port)
    assert own.look(source, 200, 100) == []
    client.sendall(b"x" * 30)
    assert own.look(source, 300, 300) == []
    (record,) = own.open_ones()
    assert (record.port, record.tgid, record.branch) == (port, os.getpid(), 1)
    assert (record.started, record.established, record.closed) == (100, 100, 0)
    assert record.flags == wire.SAMPLED_CONNECTION
    counted = isinstance(source, Diagnosis)
    assert record.fd == (client.fileno() if counted else -1)
    assert record.bytes_out == (30 if counted else 0)
    client.close()
    # When it was closed is not known: it was last seen at 300.
    (gone,) = own.look(source, 400, 400)
    assert (gone.id, gone.closed) == (record.id, 300)
    assert list(own.open_ones()) == []


def test_what_was_found_too_late_began_before(pair: tuple[socket.socket, socket.socket]) -> None:
    port = pair[1].getsockname()[1]
    own = Connections(os.getpid(), 1, lambda each: each.port != port)
    own.look(Diagnosis(), 200, 200)
    own.begun_by(150)
    (record,) = own.open_ones()
    assert (record.started, record.established) == (150, 150)
    own.begun_by(170)
    assert next(own.open_ones()).started == 150


def test_what_was_open_when_its_process_ended(pair: tuple[socket.socket, socket.socket]) -> None:
    port = pair[1].getsockname()[1]
    own = Connections(os.getpid(), 1, lambda each: each.port != port)
    own.look(Diagnosis(), 200, 100)
    (gone,) = own.end(500)
    assert gone.closed == 500
