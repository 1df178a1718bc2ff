"""Talks to hostile servers, and is hostile itself: hostile_packets.py WHAT SEED COUNT [PORT].

dns: COUNT queries to 127.0.0.1:53 in every way there is, then one for good.example.
dns_stream: the same over TCP.
dns_flood: COUNT good ones, all through one socket.
to_servers: COUNT connections that begin with a real ClientHello and take whatever comes.
as_client: COUNT connections that begin like TLS and go on at random.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import ssl
import struct
import sys

WHAT, SEED, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
HERE = "127.0.0.1"
DICE = random.Random(SEED)
TLS = ssl.create_default_context()
ENOUGH = 16 << 20  # bytes from one server


def question(name: bytes, kind: int, number: int) -> bytes:
    head = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes((len(label),)) + label for label in name.split(b".") if label)
    return head + labels + b"\0" + struct.pack(">HH", kind, 1)


def query(number: int) -> bytes:
    """A good one, a bad one, or no query at all."""
    good = question(b"n%d.example" % number, DICE.choice((1, 28, 16, 65, 0xFFFF)), number)
    damaged = bytearray(good)
    for _ in range(DICE.randint(1, 5)):
        damaged[DICE.randrange(len(damaged))] = DICE.randrange(256)
    return DICE.choice(
        (
            good,
            good,
            bytes(damaged),
            question(b"\x1b]0;title\x07.\x1b[31m.[bold]x[/].\xff\xfe\n", 1, number),
            question(b".".join([b"x" * 63] * 9), 1, number),  # longer than a name can be
            good[:2] + b"\1\0" + b"\xff\xff" * 4 + good[12:],
            good[:12] + b"\xc0\x0c" * 200,
            DICE.randbytes(DICE.choice((0, 1, 11, 12, 13, 100, 1400, 9000))),
        )
    )


def ask(number: int, text: bytes) -> bytes:
    """One query and what comes back, by one of the ways programs do it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        way = number % 4
        if way == 0:
            asking.sendto(text, (HERE, 53))
            return asking.recvfrom(65536)[0]
        if way == 1:
            middle = len(text) // 2
            asking.sendmsg([text[:middle], text[middle:]], [], 0, (HERE, 53))
            return asking.recvmsg(65536)[0]
        asking.connect((HERE, 53))
        asking.send(text)
        if way == 2:
            return asking.recv(65536)
        room = bytearray(512)
        return bytes(room[: asking.recv_into(room)])


def dns() -> None:
    for number in range(COUNT):
        ask(number, query(number))
    ask(0, question(b"good.example", 1, COUNT))


def dns_flood() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.connect((HERE, 53))
        for number in range(COUNT):
            asking.send(question(b"n%d.good.example" % number, 1, number))
            asking.recv(65536)


def ask_over_stream(text: bytes, apart: bool, most: int) -> None:
    """`most`: bytes to receive at once, for a while."""
    with socket.create_connection((HERE, 53), timeout=5) as asking, contextlib.suppress(OSError):
        prefix = struct.pack(">H", len(text) & 0xFFFF)
        if apart:
            asking.sendmsg([prefix, text])
        else:
            asking.sendall(prefix + text)
        asking.shutdown(socket.SHUT_WR)
        for turn in itertools.count():
            if not asking.recv(most if turn < 20 else 65536):
                break


def dns_stream() -> None:
    for number in range(COUNT):
        ask_over_stream(query(number), number % 2 == 0, DICE.choice((1, 2, 600, 65536)))
    ask_over_stream(question(b"good.example", 1, COUNT), True, 65536)


def client_hello(name: str) -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLError):
        TLS.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def to_servers() -> None:
    for number in range(COUNT):
        name = f"n{number}.example"
        with (
            socket.create_connection((HERE, int(sys.argv[4])), timeout=20) as s,
            contextlib.suppress(OSError),  # ssl's among them
        ):
            if number % 2:
                TLS.wrap_socket(s, server_hostname=name)
                continue
            s.sendall(client_hello(name))
            received = 0
            while received < ENOUGH and (data := s.recv(DICE.choice((1, 5, 100, 1 << 20)))):
                received += len(data)
                if received > 5000:
                    break
            while received < ENOUGH and (data := s.recv(1 << 20)):
                received += len(data)
            s.sendall(b"\x17\3\3\0\x20" + bytes(32))


def hello_with(name: bytes) -> bytes:
    names = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name
    extension = struct.pack(">HH", 0, len(names)) + names
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += struct.pack(">H", len(extension)) + extension
    message = struct.pack(">I", 1 << 24 | len(body)) + body
    return b"\x16\3\1" + struct.pack(">H", len(message)) + message


def beginning(number: int) -> bytes:
    """What looks like a ClientHello for a while."""
    real = bytearray(client_hello(f"n{number}.example"))
    for _ in range(DICE.randint(1, 30)):
        real[DICE.randrange(5, len(real))] = DICE.randrange(256)
    return DICE.choice(
        (
            b"\x16\3" + DICE.randbytes(DICE.choice((0, 1, 3, 4, 9, 200, 2000, 70_000))),
            b"\x16\3\1\2\0\1\0\1\xfc\3\3" + DICE.randbytes(DICE.randrange(3000)),
            bytes(real),
            bytes(real[: DICE.randrange(2, len(real))]),
            hello_with(DICE.choice((b"\x1b]0;title\x07", b"[bold]x[/]", b"\n\r\0\xff", b"=1+1"))),
            hello_with(b"x" * DICE.choice((0, 255, 256, 1500, 20_000))),
            b"\x16\3\3\0\0" * 1000,
            b"\x16\3\3\xff\xff" + b"\1" * (1 << 20),
            b"\x15\3\3\0\2\2" + DICE.randbytes(1),
        )
    )


def as_client() -> None:
    for number in range(COUNT):
        with (
            socket.create_connection((HERE, int(sys.argv[4])), timeout=20) as s,
            contextlib.suppress(OSError),
        ):
            data = beginning(number)
            way = number % 3
            if way == 0:
                s.sendall(data)
            elif way == 1:
                # The first two bytes in one piece: they are what it is known by.
                s.sendmsg([data[:2], data[2:5], data[5:]])
            else:
                s.sendall(data[:5])
                for place in range(5, min(len(data), 300), 7):
                    s.sendall(data[place : place + 7])
            s.shutdown(socket.SHUT_WR)
            while s.recv(1 << 16):
                pass
    with socket.create_connection((HERE, int(sys.argv[4]))) as s:
        s.sendall(client_hello("good.example"))


globals()[WHAT]()
