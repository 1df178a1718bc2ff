"""Asks a server and reads its answers. Arguments: JSON of the way, the port, and its numbers.

A request says what it wants: b"DELAY SIZE MORE_DELAY;" padded to its length (see
test_exchanges.py).
"""

from __future__ import annotations

import json
import socket
import sys
import time

WAY, PORT, REQUESTS = json.loads(sys.argv[1])


def request(delay: float, size: int, length: int, more_delay: float = 0) -> bytes:
    return f"{delay} {size} {more_delay};".encode().ljust(length, b".")


def receive(s: socket.socket, size: int) -> None:
    while size:
        size -= len(s.recv(size))


def keep_alive(s: socket.socket) -> None:
    for delay, size, length, *more in REQUESTS:
        s.sendall(request(delay, size, length, *more))
        receive(s, size)


def pipelined(s: socket.socket) -> None:
    for delay, size, length, *_ in REQUESTS:
        s.sendall(request(delay, size, length))
    receive(s, sum(size for _, size, *_ in REQUESTS))


def in_two_sends(s: socket.socket) -> None:
    for delay, size, length, *_ in REQUESTS:
        whole = request(delay, size, length)
        s.sendall(whole[:-1])
        time.sleep(0.03)
        s.sendall(whole[-1:])
        receive(s, size)


def greeted(s: socket.socket) -> None:
    receive(s, 5)
    keep_alive(s)


def no_answer(s: socket.socket) -> None:
    keep_alive(s)
    s.sendall(request(-1, 0, 50))
    assert s.recv(1) == b""


def in_clear_and_then_tls(s: socket.socket) -> None:
    for said in (b"first", b"second", b"\x16\3\1\0\1\1", b"\x17\3\3\0\1x", b"\x17\3\3\0\2xy"):
        s.sendmsg([said])
        receive(s, len(said))


def datagrams() -> None:
    s = socket.socket(type=socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", PORT))
    for _ in range(5):
        s.send(b"12345")
        s.recv(100)


if WAY == "datagrams":
    datagrams()
else:
    with socket.create_connection(("127.0.0.1", PORT)) as connected:
        # Nothing waits for the other side to say that it has come.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        globals()[WAY](connected)
