"""The tiny HTTP client: its parser against arbitrary bytes, its connection against a real peer."""

from __future__ import annotations

import itertools
import select
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support_agent import unanswering

from lambdatrace.agent import http
from lambdatrace.agent.http import (
    HttpClient,
    HttpError,
    HttpTimeoutError,
    UnansweredError,
    read_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def feed(raw: bytes, step: int = 65536) -> Callable[[], bytes]:
    """`raw` in pieces of `step` bytes, then the end of the connection."""
    pieces = iter([raw[begin : begin + step] for begin in range(0, len(raw), step)])
    return lambda: next(pieces, b"")


@given(raw=st.binary(max_size=300), step=st.integers(1, 50))
@example(raw=b"HTTP/1.1 200 OK\r\n\r\n", step=1)
def test_arbitrary_bytes_are_an_answer_or_an_http_error(raw: bytes, step: int) -> None:
    for prefix in (b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        try:
            response, _ = read_response(feed(prefix + raw, step), 100)
        except HttpError:
            continue
        assert 200 <= response.status <= 999
        assert len(response.body) <= 100


@given(body=st.binary(max_size=400), sizes=st.lists(st.integers(1, 50)), step=st.integers(1, 30))
def test_a_body_arrives_whole_however_it_is_cut(body: bytes, sizes: list[int], step: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-One: 1\r\n"
    chunked, rest = b"", body
    for size in [*sizes, len(body) + 1]:
        piece, rest = rest[:size], rest[size:]
        if piece:
            chunked += b"%x;note=1\r\n%s\r\n" % (len(piece), piece)
    raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\nX-Trailer: 1\r\n\r\n"
    response, keep = read_response(feed(raw, step))
    assert (response.body, keep) == (body, True)
    raw = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    response, keep = read_response(feed(raw, step))
    assert (response.status, response.headers["x-one"], response.body) == (200, "1", body)
    assert keep
    response, keep = read_response(feed(head + b"\r\n" + body, step))
    assert (response.body, keep) == (body, False)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 500 No\nContent-Length: 0\n\n", 500),
    ],
)
def test_answers_without_a_body(raw: bytes, status: int) -> None:
    response, keep = read_response(feed(raw))
    assert response.status == status
    assert keep


@pytest.mark.parametrize(
    ("raw", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (OK + b"more", False),
        (OK, True),
    ],
)
def test_when_a_connection_may_be_used_again(raw: bytes, keep: bool) -> None:
    assert read_response(feed(raw))[1] is keep


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + OK,
    ],
)
def test_what_is_not_http_or_too_much_is_refused(raw: bytes) -> None:
    with pytest.raises(HttpError):
        read_response(feed(raw), 100)


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b"", b"x"),
        (b"HTTP/1.1 200 ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n"),
    ],
)
def test_a_peer_that_never_stops_is_stopped(head: bytes, tail: bytes) -> None:
    pieces = itertools.chain([head + tail], itertools.repeat(tail * 100))
    received = 0

    def receive() -> bytes:
        nonlocal received
        piece = next(pieces)
        received += len(piece)
        return piece

    with pytest.raises(HttpError):
        read_response(receive, 10_000)
    assert received < 2 * http.MAX_HEAD_BYTES + 10_000


class Peer:
    """A server that treats its n-th connection the n-th way; the last way is for all others."""

    def __init__(self, *ways: Callable[[socket.socket], None]) -> None:
        self.accepted = 0
        self._ways = ways
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            way = self._ways[min(self.accepted, len(self._ways) - 1)]
            self.accepted += 1
            with connection:
                way(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def receive_request(connection: socket.socket) -> bytes:
    """One request without a body, b"" when the client has gone."""
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        try:
            piece = connection.recv(65536)
        except OSError:
            return b""
        if not piece:
            return b""
        raw += piece
    return raw


def answer(count: int, raw: bytes = OK) -> Callable[[socket.socket], None]:
    """Answer `count` requests, then end the connection."""

    def way(connection: socket.socket) -> None:
        for _ in range(count):
            if not receive_request(connection):
                return
            connection.sendall(raw)

    return way


def hang(connection: socket.socket) -> None:
    """Take everything, answer nothing, until the client goes."""
    while connection.recv(65536):
        pass


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(*ways: Callable[[socket.socket], None]) -> Peer:
        made.append(Peer(*ways))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


def soon() -> float:
    return time.monotonic() + 20


def test_a_connection_is_kept(peers: Callable[..., Peer]) -> None:
    peer = peers(answer(10))
    client = HttpClient("127.0.0.1", peer.port)
    for _ in range(3):
        assert client.request("GET", "/", deadline=soon()).body == b"ok"
    client.close()
    assert peer.accepted == 1


def test_without_a_deadline_it_waits(peers: Callable[..., Peer]) -> None:
    client = HttpClient("127.0.0.1", peers(answer(1)).port)
    assert client.request("GET", "/").status == 200
    client.close()


def test_a_connection_that_ended_meanwhile_is_replaced(peers: Callable[..., Peer]) -> None:
    peer = peers(answer(1))
    client = HttpClient("127.0.0.1", peer.port)
    for _ in range(3):
        assert client.request("GET", "/", deadline=soon()).body == b"ok"
        kept = client._socket
        assert kept is not None
        select.select([kept.fileno()], [], [], 20)  # until the peer's end has arrived
    client.close()
    assert peer.accepted == 3


def test_a_connection_that_ends_on_the_next_request_is_replaced(
    peers: Callable[..., Peer],
) -> None:
    def answer_then_drop(connection: socket.socket) -> None:
        answer(1)(connection)
        receive_request(connection)

    peer = peers(answer_then_drop)
    client = HttpClient("127.0.0.1", peer.port)
    for _ in range(3):
        assert client.request("GET", "/", deadline=soon()).body == b"ok"
    client.close()
    assert peer.accepted == 3


def test_a_new_connection_that_ends_is_an_error(peers: Callable[..., Peer]) -> None:
    peer = peers(receive_request)
    client = HttpClient("127.0.0.1", peer.port)
    with pytest.raises(UnansweredError):
        client.request("GET", "/", deadline=soon())
    assert peer.accepted == 1


def test_a_connection_idle_for_too_long_is_not_used(peers: Callable[..., Peer]) -> None:
    peer = peers(answer(2))
    client = HttpClient("127.0.0.1", peer.port, max_idle=0.0)
    for _ in range(2):
        client.request("GET", "/", deadline=soon())
        time.sleep(0.01)
    client.close()
    assert peer.accepted == 2


def test_an_answer_that_does_not_come_ends_at_the_deadline(peers: Callable[..., Peer]) -> None:
    client = HttpClient("127.0.0.1", peers(hang).port)
    with pytest.raises(HttpTimeoutError):
        client.request("GET", "/", deadline=time.monotonic() + 0.1)


def test_a_request_that_is_not_taken_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # never accepts, never reads
        client = HttpClient("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(HttpTimeoutError):
            client.request("POST", "/", body=bytes(20_000_000), deadline=time.monotonic() + 0.2)


def test_an_answer_in_drops_ends_at_the_deadline(peers: Callable[..., Peer]) -> None:
    def drip(connection: socket.socket) -> None:
        receive_request(connection)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.01)
        except OSError:
            return

    client = HttpClient("127.0.0.1", peers(drip).port)
    with pytest.raises(HttpTimeoutError):
        client.request("GET", "/", deadline=time.monotonic() + 0.2)


def test_a_deadline_that_has_passed_sends_nothing(peers: Callable[..., Peer]) -> None:
    peer = peers(answer(1))
    with pytest.raises(HttpTimeoutError):
        HttpClient("127.0.0.1", peer.port).request("GET", "/", deadline=time.monotonic() - 1)
    assert peer.accepted == 0


def test_after_a_timeout_the_late_answer_is_not_taken_for_the_next(
    peers: Callable[..., Peer],
) -> None:
    peer = peers(hang, answer(1))
    client = HttpClient("127.0.0.1", peer.port)
    with pytest.raises(HttpTimeoutError):
        client.request("GET", "/", deadline=time.monotonic() + 0.1)
    assert client.request("GET", "/", deadline=soon()).body == b"ok"
    assert peer.accepted == 2


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HttpError, match="cannot connect"):
        HttpClient("127.0.0.1", port).request("GET", "/", deadline=soon())


def test_a_name_is_resolved(peers: Callable[..., Peer]) -> None:
    client = HttpClient("localhost", peers(answer(1)).port)
    assert client.request("GET", "/", deadline=soon()).status == 200
    client.close()


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(HttpError, match="no address for"):
        HttpClient("nowhere.invalid", 80).request("GET", "/", deadline=soon())


def test_no_thread_for_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(http._thread, "start_new_thread", refuses)
    with pytest.raises(HttpError, match="no thread to look"):
        HttpClient("slow.invalid", 80).request("GET", "/", deadline=soon())


def test_an_address_that_nobody_answers_leaves_time_for_the_next(
    peers: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with unanswering() as silent:
        addresses = [
            (socket.AF_INET, ("127.0.0.1", port)) for port in (silent, peers(answer(1)).port)
        ]
        monkeypatch.setattr(http, "_addresses", lambda *_: addresses)
        client = HttpClient("two.invalid", 80)
        assert client.request("GET", "/", deadline=time.monotonic() + 1).status == 200
        client.close()


def test_a_resolver_that_does_not_answer_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    numeric = socket.AI_NUMERICHOST

    def stuck(*arguments: object) -> list[object]:
        if arguments[-1] == numeric:
            raise socket.gaierror
        release.wait(20)
        return []

    monkeypatch.setattr(http._socket, "getaddrinfo", stuck)
    with pytest.raises(HttpTimeoutError, match="no address for"):
        HttpClient("slow.invalid", 80).request("GET", "/", deadline=time.monotonic() + 0.1)
    release.set()


def test_what_is_sent(peers: Callable[..., Peer]) -> None:
    seen: list[bytes] = []

    def way(connection: socket.socket) -> None:
        raw = b""
        while not raw.endswith(b"abc"):
            raw += connection.recv(65536)
        seen.append(raw)
        connection.sendall(OK)

    peer = peers(way)
    client = HttpClient("127.0.0.1", peer.port)
    client.request("POST", "/path", {"X-One": "1"}, b"abc", soon())
    client.close()
    expected = (
        f"POST /path HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\nX-One: 1\r\n"
        "Content-Length: 3\r\n\r\nabc"
    )
    assert seen == [expected.encode()]
    assert client.bytes_sent == len(expected)


def test_a_header_cannot_smuggle_another() -> None:
    with pytest.raises(ValueError, match="line break"):
        HttpClient("127.0.0.1", 1).request("GET", "/", {"X-One": "1\r\nX-Two: 2"})


def test_plain_http_loads_neither_ssl_nor_socket() -> None:
    code = "import sys, lambdatrace.agent.http; print(*sys.modules)"
    listed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lambdatrace.agent.http" in listed
    assert not {"ssl", "socket", "http.client", "email", "urllib.parse"} & set(listed)
