"""A web server that keeps the books: which clients came, and what passed on the wire.

HTTP/1.1 with kept connections, over TCP and over TLS. Bytes are counted below TLS, at the socket:
what a kernel counts on the other side. It stands on threads of the test's own process.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANSWER_BYTES = 200_000  # to a GET; a POST is answered with an empty JSON object
THINKING_S = 0.02
PATIENCE_S = 20.0
_HEAD_END = b"\r\n\r\n"
_T = TypeVar("_T")


@dataclass
class Request:
    """One request and its answer, without what TLS adds."""

    line: str
    bytes_in: int
    bytes_out: int
    thought_s: float  # from the whole request to the beginning of its answer


@dataclass
class Accepted:
    """One connection as the server saw it. Bytes are those on the wire."""

    address: str
    port: int
    client_port: int
    bytes_in: int = 0
    bytes_out: int = 0
    requests: list[Request] = field(default_factory=list)
    tls_version: str | None = None
    server_name: str | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def ends(self) -> tuple[str, int, int]:
        """Which connection it is."""
        return self.address, self.port, self.client_port


class WebServer:
    """Listeners made one by one, all gone at the end of the context.

    They belong to the network namespace of the thread that makes them.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._accepted: list[Accepted] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def listen(self, address: str, port: int, certificate: Path | None = None) -> None:
        """Serve at one more address; over TLS if there is a certificate (with its key)."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, peer = listener.accept()
                    entry = Accepted(address, port, peer[1])
                    self._accepted.append(entry)
                    arguments = (client, entry, certificate)
                    threading.Thread(target=_serve, args=arguments, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()

        def end() -> None:
            # A thread that waits in accept() wakes up by this, and not by close().
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()

        self._stack.callback(end)
        self._fence(address, port)

    def take(self, listening: list[tuple[str, int]]) -> list[Accepted]:
        """What came since the last call, once it has ended. Call in the listeners' namespace."""
        for address, port in listening:
            self._fence(address, port)
        taken, self._accepted = self._accepted, []
        for each in taken:
            assert each.ended.wait(PATIENCE_S), f"never ended: {each}"
        return taken

    def _fence(self, address: str, port: int) -> None:
        """Return when everything that connected before has been accepted."""
        with socket.create_connection((address, port)) as probe:
            mine = (address, port, probe.getsockname()[1])
            deadline = time.monotonic() + PATIENCE_S
            while not (found := [each for each in self._accepted if each.ends == mine]):
                assert time.monotonic() < deadline, "the server does not accept"
                time.sleep(0.001)
        self._accepted.remove(found[0])


def _serve(client: socket.socket, entry: Accepted, certificate: Path | None) -> None:
    with client, contextlib.suppress(OSError):
        wire = _Wire(client, entry)
        if certificate is None:
            _answer(wire.receive, wire.send, entry)
        else:
            layer = _Tls(wire, certificate, entry)
            _answer(layer.receive, layer.send, entry)
    entry.ended.set()


def _answer(receive: Callable[[], bytes], send: Callable[[bytes], None], entry: Accepted) -> None:
    """Answer requests until there are no more."""
    waiting = b""
    while True:
        while _HEAD_END not in waiting:
            more = receive()
            if not more:
                return
            waiting += more
        head, _, waiting = waiting.partition(_HEAD_END)
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (e.partition(":") for e in lines)
        }
        length = int(headers.get("content-length", 0))
        while len(waiting) < length:
            waiting += receive()
        waiting = waiting[length:]
        asked = time.monotonic()
        time.sleep(THINKING_S)
        body = b"a" * ANSWER_BYTES if line.startswith("GET ") else b"{}"
        answer = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        thought_s = time.monotonic() - asked
        send(answer)
        entry.requests.append(
            Request(line, len(head) + len(_HEAD_END) + length, len(answer), thought_s)
        )


class _Wire:
    """A socket whose bytes are counted."""

    def __init__(self, connection: socket.socket, entry: Accepted) -> None:
        self._connection = connection
        self._entry = entry

    def receive(self) -> bytes:
        data = self._connection.recv(1 << 16)
        self._entry.bytes_in += len(data)
        return data

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)
        self._entry.bytes_out += len(data)


class _Tls:
    """The server's side of TLS over a wire."""

    def __init__(self, wire: _Wire, certificate: Path, entry: Accepted) -> None:
        self._wire = wire
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context.sni_callback = lambda _, name, __: setattr(entry, "server_name", name)
        self._object = context.wrap_bio(self._in, self._out, server_side=True)
        self._run(self._object.do_handshake)
        entry.tls_version = self._object.version()

    def receive(self) -> bytes:
        try:
            return self._run(lambda: self._object.read(1 << 16))
        except ssl.SSLZeroReturnError:
            return b""

    def send(self, data: bytes) -> None:
        self._object.write(data)
        self._flush()

    def _run(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._wire.receive()
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._out.read():
            self._wire.send(data)
