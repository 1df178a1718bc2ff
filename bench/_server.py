"""An HTTP server that answers without reading: as little work beside the client's as can be.

Its argument is the CPU to stay on; it prints its port.
"""

from __future__ import annotations

import os
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + b"x" * 100


def main() -> None:
    """Serve one connection after the other until killed."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.recv(65536):
            connection.sendall(ANSWER)
        connection.close()


if __name__ == "__main__":
    main()
