"""More of something than the probe has room for. Arguments: of what, how many, a port."""

from __future__ import annotations

import socket
import sys
import threading

WHAT, COUNT, PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

if WHAT == "destinations":
    s = socket.socket(type=socket.SOCK_DGRAM)
    for number in range(COUNT):
        s.sendto(b"x", (f"127.0.{1 + number // 250}.{1 + number % 250}", PORT))
    s.close()
elif WHAT == "ended":
    for _ in range(COUNT):
        socket.create_connection(("127.0.0.1", PORT)).close()
elif WHAT == "threads":
    threading.stack_size(65536)
    ready, leave = threading.Barrier(COUNT + 1), threading.Event()

    def wait() -> None:
        ready.wait()
        leave.wait()

    for _ in range(COUNT):
        threading.Thread(target=wait).start()
    ready.wait()
    leave.set()
