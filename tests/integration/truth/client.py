"""The traced program: visits to the far side, no two alike. `client.py WORLD LANE…`.

WORLD is JSON: the addresses and ports of the far side, and the certificate. The visits of a lane
are made one after the other, those of several lanes side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import random
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WORLD = json.loads(sys.argv[1])
PORTS: dict[str, int] = WORLD["ports"]
FAST, FAST6, NARROW, SLOW = WORLD["addresses"]
SECONDS = 20.0
DELAYS = (0, 0, 1, 3, 10, 25, 70)  # ms


@dataclass(frozen=True)
class Request:
    """One exchange: what goes out, and what the server is asked to do."""

    upload: int = 0
    pieces: int = 1
    delay: int = 0  # ms
    size: int = 100
    pause: int = 0  # ms
    read_after: int = 0  # ms

    @property
    def path(self) -> str:
        return f"/{self.delay}/{self.size}/{self.pause}"

    def texts(self) -> list[bytes]:
        """The request as it is handed to the kernel, piece by piece."""
        head = f"POST {self.path} HTTP/1.1\r\nContent-Length: {self.upload}\r\n\r\n"
        whole = head.encode() + b"u" * self.upload
        step = -(-len(whole) // self.pieces)
        return [whole[at : at + step] for at in range(0, len(whole), step)]


class Talk:
    """One connection: send and recv, blocking. Others say how else bytes get through."""

    timeout: float | None = None

    def __init__(self, s: socket.socket) -> None:
        self.s = s

    def send(self, data: bytes) -> None:
        self.s.sendall(data)

    def receive(self) -> bytes:
        return self.s.recv(65536)

    def ask(self, request: Request) -> None:
        for text in request.texts():
            self.send(text)
        time.sleep(request.read_after / 1000)
        data = self.receive()
        while b"\r\n\r\n" not in data:
            data += self.receive()
        left = request.size - len(data.partition(b"\r\n\r\n")[2])
        while left:
            more = len(self.receive())
            assert more, "the answer is cut short"
            left -= more


class Timeouts(Talk):
    """poll, then send and recv."""

    timeout = SECONDS


class Messages(Talk):
    """sendmsg with two pieces, recvmsg."""

    def send(self, data: bytes) -> None:
        middle = len(data) // 2
        sent = self.s.sendmsg([data[:middle], data[middle:]])
        self.s.sendall(data[sent:])

    def receive(self) -> bytes:
        return self.s.recvmsg(65536)[0]


class Files(Talk):
    """write and readv."""

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.s.fileno(), data) :]

    def receive(self) -> bytes:
        buffer = bytearray(65536)
        return bytes(buffer[: os.readv(self.s.fileno(), [buffer])])


class Polled(Talk):
    """A socket that never blocks, with epoll."""

    timeout = 0.0

    def send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.s.send(data) :]
            except BlockingIOError:
                ready(self.s, selectors.EVENT_WRITE)

    def receive(self) -> bytes:
        while True:
            try:
                return self.s.recv(65536)
            except BlockingIOError:
                ready(self.s, selectors.EVENT_READ)


STYLES: list[type[Talk]] = [Talk, Timeouts, Messages, Files, Polled]


def ready(s: socket.socket, event: int) -> None:
    with selectors.EpollSelector() as selector:
        selector.register(s, event)
        assert selector.select(SECONDS)


def connect(host: str, port: int, style: type[Talk]) -> socket.socket:
    """A connected socket, in the style's own way of connecting."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(style.timeout)
    if style is Polled:
        s.connect_ex(address)
        ready(s, selectors.EVENT_WRITE)
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    else:
        s.connect(address)
    return s


def tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=WORLD["certificate"])
    context.check_hostname = False
    return context


def by_sockets(
    style: type[Talk], host: str, port: str, requests: list[Request], tls: bool = False
) -> None:
    """A connection with nothing but sockets."""
    s = connect(host, PORTS[port], style)
    if tls:
        # Over TLS only these two can be told apart.
        style = Timeouts if style in (Timeouts, Polled) else Talk
        s.settimeout(style.timeout)
        s = tls_context().wrap_socket(s, server_hostname="far.test")
    with s:
        for request in requests:
            style(s).ask(request)


def some_requests(number: int, most: int, tls: str = "") -> list[Request]:
    """What is asked for in this visit. No upload is longer than `most`.

    Ten packets (initcwnd) leave at once, wherever they go.
    """
    chance = random.Random(number)
    found = [
        Request(
            upload=chance.choice((0, 0, 10, 1_000, most // 3, most)),
            pieces=chance.choice((1, 1, 2, 4)),
            delay=chance.choice(DELAYS),
            size=chance.choice((0, 1, 100, 5_000, 60_000)),
            pause=chance.choice((0, 0, 5, 20)),
        )
        for _ in range(chance.choice((1, 1, 2, 4)))
    ]
    if tls == "https_1.3":
        found[0] = replace(found[0], pause=0)  # see answer_in_two
    return found


def name(number: int, zone: str, words: str = "host") -> str:
    """A name that only this visit asks for."""
    return f"{words}-{number}.{zone}.test"


def secure_port(number: int) -> str:
    return f"https_1.{2 + number // 2 % 2}"


def plain(number: int) -> None:
    """HTTP, in every style, over every link."""
    zones = ("fast", "", "", "narrow", "slow")
    addresses = (FAST, FAST6, NARROW, SLOW)
    zone = zones[number % len(zones)]
    host = name(number, zone) if zone else addresses[number // 5 % len(addresses)]
    by_sockets(STYLES[number // 3 % len(STYLES)], host, "http", some_requests(number, 9_000))


def secure(number: int) -> None:
    """HTTPS, both versions."""
    host = name(number, ("fast", "fast", "slow", "narrow")[number % 4])
    port = secure_port(number)
    by_sockets(STYLES[number % 2], host, port, some_requests(number, 2_000, port), tls=True)


def library(number: int) -> None:
    """As programs do it: http.client."""
    host = name(number, ("fast", "slow")[number // 4 % 2])
    port = secure_port(number) if number % 2 else "http"
    made = http.client.HTTPConnection(host, PORTS[port], timeout=SECONDS)
    if number % 2:
        context = tls_context()
        made = http.client.HTTPSConnection(host, PORTS[port], timeout=SECONDS, context=context)
    with contextlib.closing(made):
        for request in some_requests(number, 2_000, port):
            made.request("POST", request.path, body=b"u" * request.upload)
            assert len(made.getresponse().read()) == request.size


def event_loop(number: int) -> None:
    """asyncio, each time with a loop of its own."""
    asyncio.run(by_asyncio(number))


async def by_asyncio(number: int) -> None:
    port = secure_port(number) if number % 2 else "http"
    more: dict[str, Any] = {"ssl": tls_context()} if number % 2 else {}
    host = name(number, ("fast", "slow")[number // 4 % 2])
    reader, writer = await asyncio.open_connection(host, PORTS[port], **more)
    for request in some_requests(number, 2_000, port):
        for text in request.texts():
            writer.write(text)
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(request.size)) == request.size
    writer.close()
    with contextlib.suppress(ssl.SSLError):
        await writer.wait_closed()


def threads(number: int) -> None:
    """Three threads at once, a connection each."""
    chance = random.Random(number)
    request = Request(delay=chance.choice((40, 80, 150)), size=2_000)
    running = [
        threading.Thread(
            target=by_sockets, args=(chance.choice(STYLES), FAST, "http", [request, request])
        )
        for _ in range(3)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def loss(number: int) -> None:
    """Packets are lost either way."""
    chance = random.Random(number)
    delay, size = chance.choice(DELAYS), chance.choice((500, 30_000))
    # What follows a loss does not leave at once, unless it is one packet.
    requests = [Request(9_000, chance.choice((1, 2, 4)), delay, size), Request(500, size=size)]
    host = (FAST, FAST6, SLOW)[number // 2 % 3]
    port = ("loses_requests", "loses_answers")[number % 2]
    by_sockets(STYLES[number % len(STYLES)], host, port, requests)


def secure_loss(number: int) -> None:
    """Packets of a TLS connection are lost either way."""
    port = ("loses_requests_1.2", "loses_answers_1.3")[number % 2]
    by_sockets(Talk, FAST, port, [Request(500, delay=20, size=20_000)] * 2, tls=True)


def lost_handshake(number: int) -> None:
    """The first SYN, or its answer, does not get through: a second goes by."""
    host = (FAST, FAST6)[number // 2 % 2]
    port = ("loses_syns", "loses_syn_acks")[number % 2]
    by_sockets(STYLES[number % len(STYLES)], host, port, [Request(delay=30)])


def refused(number: int) -> None:
    """Nobody listens."""
    host = (FAST, FAST6, SLOW)[number % 3]
    with contextlib.suppress(ConnectionRefusedError):
        connect(host, WORLD["refused_from"] + number, STYLES[number % 4])


def silence(number: int, host: str, seconds: float | None) -> None:
    """Nobody answers; None: as long as the kernel tries."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s, contextlib.suppress(TimeoutError):
        s.settimeout(seconds)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
        s.connect((host, WORLD["silent_from"] + number))


def late_name(number: int) -> None:
    """A connection to a name that takes its time."""
    delay = random.Random(number).choice((1, 4, 15, 50))
    host = name(number, "late", f"late{delay}")
    by_sockets(STYLES[number % len(STYLES)], host, "http", [Request(delay=5)])


def lookup(number: int, host: str, family: socket.AddressFamily) -> None:
    """A name alone: it is not there, lost on the way, or more than fits a datagram."""
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo(host.format(number), 80, family, socket.SOCK_STREAM)


def repeated(visit: Callable[..., None], times: int, *arguments: Any) -> list[Any]:
    return [(visit, arguments)] * times


def closed_early() -> None:
    """The connection is closed while the kernel still has to send, and to send again."""
    for _ in range(5):  # every fifth packet is lost
        with connect(FAST, PORTS["loses_requests"], Talk) as s:
            s.sendall(b"u" * 3_000)
    time.sleep(0.5)


def long_upload() -> None:
    """All of it fits the socket's buffer, and leaves as fast as it is acknowledged."""
    with connect(SLOW, PORTS["http"], Talk) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        Talk(s).ask(Request(200_000, delay=30))


def two_names_at_once() -> None:
    """Over TCP, as glibc does it for both kinds of address if they do not fit a datagram."""
    pieces = []
    for number, kind in enumerate((1, 28), 1):
        query = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + b"\4many\4test\0"
        query += struct.pack(">2H", kind, 1)
        pieces += [len(query).to_bytes(2, "big"), query]
    with connect(FAST, 53, Talk) as s:
        os.writev(s.fileno(), pieces)
        for _ in range(2):
            length = int.from_bytes(s.recv(2, socket.MSG_WAITALL), "big")
            s.recv(length, socket.MSG_WAITALL)


BOTH, V4, V6 = socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6
LANES: dict[str, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {
    "varied": [
        *repeated(plain, 65), *repeated(secure, 36), *repeated(library, 20),
        *repeated(event_loop, 14), *repeated(threads, 6), *repeated(loss, 18),
        *repeated(secure_loss, 6), *repeated(late_name, 20), *repeated(refused, 10),
        *(
            (lookup, (host, family))
            for host in ("late5-{}.late.test", "late80-servfail-{}.late.test", "nobody-{}.test")
            for family in (BOTH, V4, V6)
        ),
        (lookup, ("many.test", V4)),
    ],
    "silences": [
        (silence, (FAST, 0.3)), (silence, (FAST6, 1.5)), (silence, (SLOW, 2.5)),
        (silence, (FAST, None)),
    ],
    "lost_handshakes": repeated(lost_handshake, 4),
    "lost_names": [
        (lookup, ("lost-{}.fast.test", V4)), (lookup, ("lost-{}.slow.test", BOTH)),
        (lookup, ("lost-late40-{}.late.test", V4)), (lookup, ("gone-{}.fast.test", V4)),
    ],
}  # fmt: skip
# What the tests of what is not true yet are about.
ALONE: dict[str, Callable[[], None]] = {
    "late_reader": partial(by_sockets, Talk, FAST, "http", [Request(delay=5, read_after=40)] * 2),
    "long_upload": long_upload,
    "lossy_upload": partial(by_sockets, Talk, FAST, "loses_requests", [Request(300_000)] * 2),
    "two_tickets": partial(by_sockets, Talk, SLOW, "two_tickets", [Request(delay=150)], tls=True),
    "answer_in_two": partial(
        by_sockets, Talk, FAST, "no_tickets", [Request(delay=20, pause=30)], tls=True
    ),
    "closed_early": closed_early,
    "two_names_at_once": two_names_at_once,
}


def in_child(lane: list[Callable[[], None]]) -> int:
    child = os.fork()
    if not child:
        code = 1
        try:
            for visit in lane:
                visit()
            code = 0
        finally:
            os._exit(code)
    return child


def main() -> None:
    # Whoever waits for a packet gets a CPU as soon as it is there: a reader whom this machine is
    # too busy to run would be no finding about the probe.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    numbers = itertools.count()
    lanes: dict[str, list[Callable[[], None]]] = {word: [only] for word, only in ALONE.items()}
    for word, visits in LANES.items():
        lanes[word] = [partial(visit, next(numbers), *more) for visit, more in visits]
    children = [in_child(lanes[word]) for word in sys.argv[2:]]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


if __name__ == "__main__":
    main()
