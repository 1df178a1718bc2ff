"""Connections to the tests' echo servers."""

from __future__ import annotations

import socket
import time

HOST = "127.0.0.1"


def connect(port: int, send: int = 1) -> None:
    """One connection: `send` bytes out, as many back, closed."""
    with socket.create_connection((HOST, port)) as connection:
        exchange(connection, send)


def exchange(connection: socket.socket, send: int) -> None:
    connection.sendall(b"x" * send)
    left = send
    while left:
        left -= len(connection.recv(left))


def keep_connecting(port: int) -> None:
    while True:
        connect(port)
        time.sleep(0.005)
