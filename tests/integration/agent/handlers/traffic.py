"""Connections to the tests' echo servers."""

from __future__ import annotations

import socket
import time

HOST = "127.0.0.1"


def connect(port: int, data: bytes = b"x") -> None:
    """One connection: `data` out, as many bytes back, closed."""
    with socket.create_connection((HOST, port)) as connection:
        exchange(connection, data)


def exchange(connection: socket.socket, data: bytes) -> None:
    """Send, and receive as much."""
    connection.sendall(data)
    left = len(data)
    while left:
        left -= len(connection.recv(left))


def keep_connecting(port: int) -> None:
    while True:
        connect(port)
        time.sleep(0.005)
