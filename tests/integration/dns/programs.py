"""What the traced programs of test_namelookups.py do; run as `python programs.py NAME`."""

from __future__ import annotations

import contextlib
import socket
import sys
import urllib.request

SERVER, SILENT = ("192.0.2.53", 53), ("192.0.2.54", 53)


def web() -> None:
    for host in ("api.partner.example", "www.partner.example"):
        urllib.request.urlopen(f"http://{host}:8080/", timeout=5).read()


def missing() -> None:
    with contextlib.suppress(OSError):
        socket.getaddrinfo("nowhere.example", 80)


def big() -> None:
    """More addresses than fit a datagram: libc asks again over TCP."""
    socket.getaddrinfo("big.example", 80, socket.AF_INET)


def unanswered() -> None:
    query = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x04slow\x07example\0\0\x01\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.1)
        for _ in range(2):
            asking.sendto(query, SILENT)
            with contextlib.suppress(TimeoutError):
                asking.recvfrom(512)


def garbage() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(SILENT)
        for text in (b"", b"\0", b"\xff" * 600, bytes(range(256)), b"\xc0\x0c" * 300):
            asking.send(text)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
