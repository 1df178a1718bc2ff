"""What one look of the proc backend takes: `python bench/proc.py`, no privilege needed.

At the runtime's socket to the runtime API, and at all sockets and threads of a process with 20
connections; in a network namespace with nothing else in it the latter takes less.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING

from lambdatrace.proc.backend import Proc, _Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 20
TIMES = 2_000


def microseconds(look: Callable[[], None]) -> float:
    """CPU time of one, µs."""
    look()
    began = time.process_time_ns()
    for _ in range(TIMES):
        look()
    return (time.process_time_ns() - began) / TIMES / 1e3


def main() -> None:
    """Print both."""
    api = socket.create_server(("127.0.0.1", 0), backlog=8)
    other = socket.create_server(("127.0.0.1", 0), backlog=64)
    asking = socket.create_connection(api.getsockname())
    asking.sendall(b"GET")
    kept = [socket.create_connection(other.getsockname()) for _ in range(CONNECTIONS)]
    sensor = Proc.create(os.getppid(), runtime_api=f"127.0.0.1:{api.getsockname()[1]}")
    runtime = _Runtime(os.getpid(), os.pidfd_open(os.getpid()), sensor._is_api)
    sensor._poll.register(runtime.pidfd, select.EPOLLIN)
    sensor._runtime = runtime
    sensor.invoked("bench", time.monotonic_ns())

    def look() -> None:
        sensor._next, sensor._next_of_all = 0, 1 << 62
        sensor.look()

    def look_at_all() -> None:
        sensor._next = sensor._next_of_all = 0
        sensor.look()

    print(f"the runtime's socket  {microseconds(look):7.1f} µs")
    print(f"all of the function   {microseconds(look_at_all):7.1f} µs, {len(kept)} connections")


main()
