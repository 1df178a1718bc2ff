"""The far side of the world: HTTP and HTTPS, as slow as each request asks for.

`server.py CERTIFICATE PORT…` listens on all addresses and says "ready". A port is one of HTTP, or
PORT/VERSION/TICKETS: one of HTTPS with this version of TLS and so many session tickets; with a
fourth figure, handshakes begin so many ms late. With - for the version there is no TLS: it speaks
first, so many ms late, and says no more. A request's path is /DELAY/SIZE/PAUSE: the answer
begins after DELAY ms, has SIZE bytes, and stops for PAUSE ms in the middle; with a fourth figure,
the connection is closed so many ms after it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import sys
import threading
import time

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def request(s: socket.socket, had: bytes) -> tuple[str, bytes]:
    """A request's path, and what was read beyond the request; no path if there is none."""
    while b"\r\n\r\n" not in had:
        data = s.recv(1 << 16)
        if not data:
            return "", b""
        had += data
    head, _, had = had.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    left = int(length[1]) if length else 0
    while len(had) < left:
        had += s.recv(1 << 20)
    return head.split()[1].decode(), had[left:]


def answer(s: socket.socket, path: str) -> bool:
    """Answer; whether the connection is kept."""
    delay, size, pause, *close = (int(part) for part in path.strip("/").split("/"))
    time.sleep(delay / 1000)
    text = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"a" * size
    middle = len(text) // 2 if pause else len(text)
    s.sendall(text[:middle])
    if pause:
        time.sleep(pause / 1000)
        s.sendall(text[middle:])
    if close:
        time.sleep(close[0] / 1000)
    return not close


def serve(s: socket.socket, context: ssl.SSLContext | None, late: int) -> None:
    with contextlib.suppress(OSError), s:
        if context:
            time.sleep(late / 1000)
            s = context.wrap_socket(s, server_side=True)
        elif late:
            time.sleep(late / 1000)
            s.sendall(b"220 far.test ready\r\n")
        with s:
            path, had = request(s, b"")
            while path and answer(s, path):
                path, had = request(s, had)


def accept(listener: socket.socket, context: ssl.SSLContext | None, late: int) -> None:
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve, args=(s, context, late), daemon=True).start()


def main() -> None:
    certificate, *ports = sys.argv[1:]
    for text in ports:
        port, *secure = text.split("/")
        context, late = None, 0
        if secure:
            late = int(secure[2]) if len(secure) > 2 else 0
        if secure and secure[0] != "-":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.minimum_version = context.maximum_version = VERSIONS[secure[0]]
            context.num_tickets = int(secure[1])
        listener = socket.create_server(
            ("::", int(port)), family=socket.AF_INET6, backlog=100, dualstack_ipv6=True
        )
        threading.Thread(target=accept, args=(listener, context, late), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
