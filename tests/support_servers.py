"""Small servers on threads of the test's own process: they answer, reset, or never accept."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HERE = "127.0.0.1"


class Servers:
    """Servers made one by one, all gone at the end of the context.

    Every method that makes one returns its port. Sockets belong to the network namespace of the
    thread that calls.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    def echo(self, address: str = HERE) -> int:
        """Sends back what it gets."""

        def serve(s: socket.socket) -> None:
            while data := s.recv(65536):
                s.sendall(data)

        return self._stream(serve, address)

    def sink(self, address: str = HERE) -> int:
        """Takes everything and says nothing."""

        def serve(s: socket.socket) -> None:
            while s.recv(1 << 20):
                pass

        return self._stream(serve, address)

    def late(self, size: int = 5000) -> int:
        """Answers with `size` bytes when the other side has finished."""

        def serve(s: socket.socket) -> None:
            while s.recv(65536):
                pass
            s.sendall(b"a" * size)

        return self._stream(serve)

    def reset(self) -> int:
        """Reads a little and resets the connection."""

        def serve(s: socket.socket) -> None:
            s.recv(65536)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        return self._stream(serve)

    def refused(self) -> int:
        """A port that is taken and that nobody listens on."""
        s = self._keep(socket.socket())
        s.bind((HERE, 0))
        port: int = s.getsockname()[1]
        return port

    def full(self) -> int:
        """Listens, but its backlog is full: whoever connects hears nothing."""
        listener = self._keep(socket.socket())
        listener.bind((HERE, 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        self._keep(socket.create_connection((HERE, port)))
        return port

    def datagrams(self, address: str = HERE, port: int = 0) -> int:
        """Sends back each datagram."""
        return self.answering(lambda data: data, address, port)

    def answering(self, answer: Callable[[bytes], bytes], address: str, port: int = 0) -> int:
        """Sends back `answer` of each datagram."""
        s = self._keep(socket.socket(_family(address), socket.SOCK_DGRAM))
        s.bind((address, port))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, peer = s.recvfrom(65536)
                    if peer is None:  # shut down
                        return
                    s.sendto(answer(data), peer)

        threading.Thread(target=serve, daemon=True).start()
        bound: int = s.getsockname()[1]
        return bound

    def talking(self, serve: Callable[[socket.socket], None], address: str, port: int = 0) -> int:
        """Runs `serve` with each connection, on a thread of its own."""
        return self._stream(serve, address, port)

    def _stream(
        self, serve: Callable[[socket.socket], None], address: str = HERE, port: int = 0
    ) -> int:
        listener = self._keep(socket.create_server((address, port), family=_family(address)))

        def one(s: socket.socket) -> None:
            with s, contextlib.suppress(OSError):
                serve(s)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    s, _ = listener.accept()
                    threading.Thread(target=one, args=(s,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        bound: int = listener.getsockname()[1]
        return bound

    def _keep(self, s: socket.socket) -> socket.socket:
        def end() -> None:
            # A thread that waits in accept() or recv() wakes up by this, and not by close().
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

        self._stack.callback(end)
        return s


def dns_answer(query: bytes, addresses: dict[int, bytes]) -> bytes:
    """The answer to a query with one question: one record of each type in `addresses`."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
    found = addresses.get(kind)
    head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1 if found else 0, 0, 0)
    if found is None:
        return head + question
    return head + question + struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(found)) + found


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
