"""Something for each group of a capture. Arguments: ports of an echo server, twice; a resolver."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import time

PLAIN, TLS, RESOLVER = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
QUERY = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03api\x07example\0\0\x01\0\x01"


def ask(s: socket.socket, request: bytes) -> None:
    s.sendall(request)
    left = len(request)
    while left:
        left -= len(s.recv(left))


def client_hello() -> bytes:
    asks = ssl.MemoryBIO()
    context = ssl.create_default_context()
    side = context.wrap_bio(ssl.MemoryBIO(), asks, server_hostname="api.example")
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return asks.read()
    raise AssertionError("a handshake with nobody")


with socket.socket(type=socket.SOCK_DGRAM) as s:
    s.sendto(QUERY, (RESOLVER, 53))
    s.recvfrom(512)
with socket.create_connection(("127.0.0.1", PLAIN)) as s:
    for _ in range(3):
        ask(s, b"12345")
with socket.create_connection(("127.0.0.1", TLS)) as s:
    ask(s, client_hello())
    ask(s, b"\x17\3\3\0\5hello")
while time.process_time() < 0.05:
    pass
time.sleep(0.03)
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)
os.waitpid(child, 0)
