"""A proxy in front of DynamoDB Local that answers as DynamoDB does on a bad day."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Fault = Callable[["Exchange"], None]


class Exchange:
    """One request on its way: pass it on, answer it, or let it down."""

    def __init__(self, handler: BaseHTTPRequestHandler, backend: str) -> None:
        self._handler = handler
        self._backend = urlsplit(backend)
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def ask(self, body: bytes | None = None) -> tuple[int, bytes]:
        """What DynamoDB Local says to this request, or to another body in its place."""
        connection = HTTPConnection(self._backend.hostname or "", self._backend.port, timeout=60)
        headers = {
            name: value
            for name, value in self._handler.headers.items()
            if name.lower() not in ("content-length", "host", "connection")
        }
        connection.request("POST", "/", self.body if body is None else body, headers)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def answer(self, status: int, body: bytes) -> None:
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", "application/x-amz-json-1.0")
        self._handler.send_header("Content-Length", str(len(body)))
        self._handler.end_headers()
        self._handler.wfile.write(body)

    def cut(self) -> None:
        """End the connection, whatever has been said on it."""
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)


def passes(exchange: Exchange) -> None:
    exchange.answer(*exchange.ask())


def refuses(name: str, status: int = 400) -> Fault:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{name}", "message": "a fault"})
    return lambda exchange: exchange.answer(status, body.encode())


def cuts_before(exchange: Exchange) -> None:
    exchange.cut()


def cuts_after(exchange: Exchange) -> None:
    """DynamoDB did it, and nobody hears of it."""
    exchange.ask()
    exchange.cut()


def cuts_in_the_middle(exchange: Exchange) -> None:
    exchange.ask()
    exchange._handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    exchange.cut()


def is_slow(seconds: float) -> Fault:
    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        passes(exchange)

    return fault


def leaves_half(exchange: Exchange) -> None:
    """Writes the first half of a batch and leaves the rest unprocessed."""
    request: dict[str, Any] = json.loads(exchange.body)
    ((table, puts),) = request["RequestItems"].items()
    done, left = puts[: len(puts) // 2], puts[len(puts) // 2 :]
    answer: dict[str, Any] = {}
    if done:
        status, raw = exchange.ask(json.dumps({**request, "RequestItems": {table: done}}).encode())
        assert status == 200, raw
        answer = json.loads(raw)
    answer["UnprocessedItems"] = {table: left}
    exchange.answer(200, json.dumps(answer).encode())


class FaultyProxy:
    """Treats one request after the other as `script` says, then every other one as `then` does."""

    def __init__(self, backend: str, script: Iterable[Fault] = (), then: Fault = passes) -> None:
        self.requests = 0
        self._script = deque(script)
        self._then = then
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                exchange = Exchange(self, backend)
                with proxy._lock:
                    proxy.requests += 1
                    fault = proxy._script.popleft() if proxy._script else proxy._then
                try:
                    fault(exchange)
                except ConnectionError:
                    self.close_connection = True  # the client did not wait for it

            def log_message(self, *arguments: Any) -> None:
                pass

        self._handler = Handler
        self._server = self._serve(0)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens until the block ends, and kept connections end when they are used."""
        then, self._then = self._then, cuts_before
        port = self._server.server_port
        self._stop()
        try:
            yield
        finally:
            self._then = then
            self._server = self._serve(port)

    def _serve(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", port), self._handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
