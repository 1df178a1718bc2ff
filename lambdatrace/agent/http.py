"""A tiny HTTP/1.1 client: one kept connection, every operation under a deadline.

For the Extensions API and for DynamoDB. `http.client` would load `ssl` and `email` (half of the
agent's 17.6 MB in FACTS.md), and `socket` alone costs 13 ms of CPU there through `enum` and
`selectors`; the `_socket` module underneath costs none. encryption.py does likewise for https.
"""

from __future__ import annotations

import _socket
import _thread
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from lambdatrace.agent.encryption import EncryptedSocket, Encryption

    Socket: TypeAlias = _socket.socket | EncryptedSocket
    Addresses: TypeAlias = list[tuple[int, int, int, str, tuple[Any, ...]]]

# Bounds on what a peer can make the agent hold (bytes). Heads: what most servers allow themselves.
# Bodies: a DynamoDB answer repeats at most the batch that was sent (agent/dynamodb.py).
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024
_RECEIVE_BYTES = 64 * 1024
_MAX_INTERIM_RESPONSES = 8
_HEX = frozenset(b"0123456789abcdefABCDEF")


class HttpError(Exception):
    """The exchange did not come about; the message is one short line."""


class HttpTimeoutError(HttpError):
    """The deadline passed first."""


class NoAddressError(HttpError):
    """The resolver knows no such host, or none answers it."""


class UnansweredError(HttpError):
    """The connection ended before the first byte of an answer."""


class Response:
    """An answer. Header names are in lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"Response({self.status}, {self.headers}, {len(self.body)} bytes)"


class HttpClient:
    """Requests to one host, one after the other, over a connection that is kept.

    Parameters
    ----------
    host, port, tls
        Where to connect; `host` is a name or an address without brackets.
    max_idle
        Seconds (wall clock: an environment is frozen between invocations, and only that clock
        goes on) after which a kept connection is not used again; None: always try.
    ca_file
        Certificates to trust instead of the system's (PEM).
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: bool = False,
        *,
        max_idle: float | None = None,
        max_body: int = MAX_BODY_BYTES,
        ca_file: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.bytes_sent = 0  # heads and bodies, without TLS's own
        self._encryption: Encryption | None = None
        if tls:
            # Not before it is needed: it brings OpenSSL in.
            from lambdatrace.agent.encryption import Encryption

            self._encryption = Encryption(host, ca_file)
        self._max_idle = max_idle
        self._max_body = max_body
        self._socket: Socket | None = None
        self._used = 0.0  # time.time()
        name = f"[{host}]" if ":" in host else host
        self._authority = name if port == (443 if tls else 80) else f"{name}:{port}"

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        deadline: float | None = None,
        wait: Callable[[int], None] | None = None,
    ) -> Response:
        """Send one request and return the whole answer, whatever its status.

        `deadline` is in seconds on `time.monotonic`; None waits for ever. A kept connection that
        turns out to have ended is replaced and the request sent once more, so requests have to be
        such that the second does no harm. `wait` is called with the connection's descriptor when
        the request is out, and returns when there is something to read. Raises HttpError.
        """
        data = self._head(method, path, headers or {}, len(body)) + body
        try:
            kept = self._socket
            if kept is not None and self._is_usable(kept):
                try:
                    return self._exchange(kept, data, deadline, wait)
                except UnansweredError:
                    pass
            return self._exchange(self._connect(deadline), data, deadline, wait)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the kept connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _head(self, method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length or method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {length}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a request header")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _is_usable(self, connection: Socket) -> bool:
        if self._max_idle is not None and not 0 <= time.time() - self._used <= self._max_idle:
            return False
        # Nothing is asked for, so anything that can be read is the peer's goodbye.
        try:
            connection.settimeout(0)
            connection.recv(1)
        except OSError as error:
            return _would_block(error)
        return False

    def _connect(self, deadline: float | None) -> Socket:
        self.close()
        failure: OSError | None = None
        addresses = _addresses(self.host, self.port, deadline)
        for number, (family, address) in enumerate(addresses):
            raw = _socket.socket(family, _socket.SOCK_STREAM)
            try:
                # One that nobody answers leaves the others their part of the time.
                left = _remaining(deadline)
                raw.settimeout(None if left is None else left / (len(addresses) - number))
                raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                raw.connect(address)
                connection: Socket = raw
                if self._encryption is not None:
                    raw.settimeout(_remaining(deadline))
                    connection = self._encryption.wrap(raw)
                self._socket = connection
                return connection
            except OSError as error:
                raw.close()
                if self._encryption is not None and self._encryption.widen(error):
                    return self._connect(deadline)
                failure = error
            except BaseException:
                raw.close()
                raise
        raise _explained(failure, f"cannot connect to {self._authority}", deadline)

    def _exchange(
        self,
        connection: Socket,
        data: bytes,
        deadline: float | None,
        wait: Callable[[int], None] | None,
    ) -> Response:
        try:
            connection.settimeout(_remaining(deadline))
            connection.sendall(data)
        except OSError as error:
            raise _explained(error, f"no answer from {self._authority}", deadline) from error
        self.bytes_sent += len(data)
        if wait is not None:
            wait(connection.fileno())

        def receive() -> bytes:
            try:
                connection.settimeout(_remaining(deadline))
                return connection.recv(_RECEIVE_BYTES)
            except OSError as error:
                raise _explained(error, f"no answer from {self._authority}", deadline) from error

        response, keep = read_response(receive, self._max_body)
        if keep:
            self._used = time.time()
        else:
            self.close()
        return response


def read_response(
    receive: Callable[[], bytes], max_body: int = MAX_BODY_BYTES
) -> tuple[Response, bool]:
    """Read one answer, and whether another one may follow on the same connection.

    `receive` returns the next bytes, b"" at the end of the connection. Never holds more than
    `max_body` + MAX_HEAD_BYTES + one receive. Raises HttpError on anything that is not HTTP/1.x.
    """
    stream = _Stream(receive)
    for _ in range(_MAX_INTERIM_RESPONSES):
        version, status = _status_line(stream.first_line())
        headers = _header_lines(stream)
        if status >= 200:
            break
    else:
        raise HttpError("the answer never comes to its status")
    keep = version == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
    encoding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if status in (204, 304):
        body = b""
    elif encoding is not None:
        if encoding.lower() != "chunked":
            raise HttpError("the answer has a transfer encoding that was not asked for")
        body = _chunks(stream, max_body)
    elif length is not None:
        if not (length.isascii() and length.isdigit() and len(length) <= 18):
            raise HttpError("the answer has an impossible length")
        if int(length) > max_body:
            raise HttpError(f"the answer is larger than {max_body} bytes")
        body = stream.exactly(int(length))
    else:
        body, keep = stream.until_end(max_body), False
    return Response(status, headers, body), keep and not stream.buffer


def _status_line(line: bytes) -> tuple[bytes, int]:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not (len(code) == 3 and code.isdigit()):
        raise HttpError("the answer is not HTTP")
    if int(code) < 100 or rest[3:4] not in (b"", b" "):
        raise HttpError("the answer is not HTTP")
    return version, int(code)


def _header_lines(stream: _Stream) -> dict[str, str]:
    headers: dict[str, str] = {}
    left = MAX_HEAD_BYTES
    while line := stream.line():
        left -= len(line)
        if left < 0:
            raise HttpError("the head of the answer is too long")
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise HttpError("the answer has a malformed header")
        name, value = name.lower(), value.strip()
        # Joined, so that two different lengths are no number any more and are refused.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _chunks(stream: _Stream, max_body: int) -> bytes:
    body = bytearray()
    while True:
        size = stream.line().partition(b";")[0].strip()
        if not (0 < len(size) <= 8 and _HEX.issuperset(size)):
            raise HttpError("the answer has a malformed chunk")
        length = int(size, 16)
        if len(body) + length > max_body:
            raise HttpError(f"the answer is larger than {max_body} bytes")
        if not length:
            _header_lines(stream)  # trailers
            return bytes(body)
        body += stream.exactly(length)
        if stream.line():
            raise HttpError("the answer has a malformed chunk")


class _Stream:
    """What was received and not yet read."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self.buffer = bytearray()
        self._receive = receive

    def _fill(self) -> None:
        data = self._receive()
        if not data:
            raise HttpError("the connection ended in the middle of the answer")
        self.buffer += data

    def first_line(self) -> bytes:
        if not self.buffer:
            self.buffer += self._receive()
            if not self.buffer:
                raise UnansweredError("the connection ended without an answer")
        return self.line()

    def line(self) -> bytes:
        searched = 0
        while (end := self.buffer.find(b"\n", searched)) < 0:
            searched = len(self.buffer)
            if searched > MAX_HEAD_BYTES:
                raise HttpError("the head of the answer is too long")
            self._fill()
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        return line.removesuffix(b"\r")

    def exactly(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self._fill()
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        return data

    def until_end(self, limit: int) -> bytes:
        while len(self.buffer) <= limit:
            received = self._receive()
            if not received:
                break
            self.buffer += received
        else:
            raise HttpError(f"the answer is larger than {limit} bytes")
        data = bytes(self.buffer)
        self.buffer.clear()
        return data


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise HttpTimeoutError("no time left")
    return left


def _addresses(host: str, port: int, deadline: float | None) -> list[tuple[int, tuple[Any, ...]]]:
    # Bytes, because getaddrinfo puts str through the idna codec, whose import is not free.
    name = host.encode("ascii", "replace")
    try:
        found = _socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except _socket.gaierror:
        found = _resolved(name, port, deadline)
    return [(entry[0], entry[4]) for entry in found]


def _resolved(name: bytes, port: int, deadline: float | None) -> Addresses:
    # The resolver knows no deadline, so it gets a thread that can be left behind.
    results: list[Addresses] = []
    failures: list[OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def resolve() -> None:
        try:
            results.append(_socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM))
        except OSError as error:
            failures.append(error)
        finally:
            done.release()

    left = _remaining(deadline)
    try:
        _thread.start_new_thread(resolve, ())
    except RuntimeError as error:
        # The function may have all the threads that an environment allows.
        raise HttpError(f"no thread to look {name.decode()} up: {error}") from error
    if not done.acquire(timeout=-1 if left is None else left):
        raise HttpTimeoutError(f"no address for {name.decode()} in time")
    if not results:
        reason = failures[0].strerror if failures else "the resolver failed"
        raise NoAddressError(f"no address for {name.decode()}: {reason}")
    return results[0]


def _would_block(error: OSError) -> bool:
    # ssl has its own error for it, which is not a BlockingIOError.
    return isinstance(error, BlockingIOError) or type(error).__name__ == "SSLWantReadError"


def _explained(error: OSError | None, what: str, deadline: float | None) -> HttpError:
    if deadline is not None and isinstance(error, TimeoutError):
        return HttpTimeoutError(f"{what} in time")
    reason = (error.strerror or str(error)) if error is not None else "it has no address"
    if isinstance(error, ConnectionError):
        return UnansweredError(f"{what}: {reason}")
    return HttpError(f"{what}: {reason}")
