"""Waits in one way or another. Arguments: the way, for how long (ms), a folder to work in.

Prints JSON: {"before", "after": monotonic ns around the call, "result", "fd", "path",
"thread": who waited, "child": a process's id, "asleep": how much of that time (ns) it was neither
on a CPU nor waiting for one, "left": how often it had to wait, both by the kernel's own books}.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

WAY, WAIT_S, FOLDER = sys.argv[1], float(sys.argv[2]) / 1000, Path(sys.argv[3])
told: dict[str, Any] = {"fd": None, "path": None, "child": None}


def timed(call: object) -> None:
    told["thread"] = threading.get_native_id()
    awake, left = not_asleep(), left_cpu()
    told["before"] = time.monotonic_ns()
    result = call()  # type: ignore[operator]
    told["after"] = time.monotonic_ns()
    told["left"] = left_cpu() - left
    told["asleep"] = told["after"] - told["before"] - (not_asleep() - awake)
    told["result"] = result if type(result) is int else None


def left_cpu() -> int:
    """How often this thread has left the CPU because it had to wait."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def not_asleep() -> int:
    """What this thread has spent on a CPU and in a run queue (ns)."""
    with open("/proc/thread-self/schedstat", encoding="ascii") as file:  # noqa: PTH123  # quick
        on_cpu, in_queue, _ = file.read().split()
    return int(on_cpu) + int(in_queue)


def later(call: object) -> None:
    """In a thread of its own, when the wait is over."""

    def work() -> None:
        time.sleep(WAIT_S)
        call()  # type: ignore[operator]

    threading.Thread(target=work).start()


def file(name: str = "file") -> int:
    told["path"] = str(FOLDER / name)
    told["fd"] = os.open(told["path"], os.O_RDWR | os.O_CREAT, 0o600)
    return told["fd"]  # type: ignore[no-any-return]


def held_by_another(how: str) -> None:
    """A process that locks the file, says so, and leaves when the wait is over."""
    script = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+'); "
        f"fcntl.{how}(file, fcntl.LOCK_EX); print(flush=True); time.sleep(float(sys.argv[2]))"
    )
    holder = subprocess.Popen(
        [sys.executable, "-S", "-c", script, told["path"], str(WAIT_S)], stdout=subprocess.PIPE
    )
    assert holder.stdout
    holder.stdout.readline()


def nanosleep() -> None:
    timed(lambda: time.sleep(WAIT_S))


def futex() -> None:
    lock = threading.Lock()
    lock.acquire()
    later(lock.release)
    timed(lock.acquire)


def flock() -> None:
    fd = file()
    held_by_another("flock")
    timed(lambda: fcntl.flock(fd, fcntl.LOCK_EX))


def fcntl_lock() -> None:
    fd = file()
    held_by_another("lockf")
    timed(lambda: fcntl.lockf(fd, fcntl.LOCK_EX))


def wait4() -> None:
    told["child"] = os.fork()
    if told["child"] == 0:
        time.sleep(WAIT_S)
        os._exit(0)
    timed(lambda: os.waitpid(told["child"], 0)[0])


def poll() -> None:
    waiting = select.poll()
    timed(lambda: len(waiting.poll(WAIT_S * 1000)))


def epoll() -> None:
    waiting = select.epoll()
    told["fd"] = waiting.fileno()
    timed(lambda: len(waiting.poll(WAIT_S)))


def selects() -> None:
    timed(lambda: len(select.select([], [], [], WAIT_S)[0]))


def pipe() -> None:
    told["fd"], write_end = os.pipe()
    later(lambda: os.write(write_end, b"12345"))
    timed(lambda: len(os.read(told["fd"], 100)))


def accept() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    told["fd"] = server.fileno()
    later(lambda: socket.create_connection(server.getsockname()))
    timed(lambda: server.accept()[0].fileno())


def fifo() -> None:
    told["path"] = str(FOLDER / "fifo")
    os.mkfifo(told["path"])
    later(lambda: os.open(told["path"], os.O_WRONLY))
    timed(lambda: os.open(told["path"], os.O_RDONLY))


def fsync() -> None:
    fd = file()
    os.write(fd, b"x" * (4 << 20))
    timed(lambda: os.fsync(fd))


def closed_and_opened() -> None:
    """The number of a descriptor whose file had another path before."""
    fd = file("before")
    os.close(fd)
    told["path"] = str(FOLDER / "fifo")
    os.mkfifo(told["path"])
    assert os.open(told["path"], os.O_RDWR) == fd
    later(lambda: os.write(fd, b"1"))
    timed(lambda: len(os.read(fd, 1)))


def closed_and_piped() -> None:
    fd = file("before")
    os.close(fd)
    told["path"] = None
    pipe()
    assert told["fd"] == fd


def receive() -> None:
    """On a connection, whose own record tells of it."""
    server = socket.create_server(("127.0.0.1", 0))
    s = socket.create_connection(server.getsockname())
    accepted = server.accept()[0]
    told["fd"] = s.fileno()
    later(lambda: accepted.send(b"12345"))
    timed(lambda: len(s.recv(100)))


def many() -> None:
    """Twenty short ones, each from when the kernel is asked: sleep() counts from before that."""
    nothing = select.poll()
    timed(lambda: [nothing.poll(WAIT_S * 1000 / 20) for _ in range(20)])


def two() -> None:
    """A short one and a long one."""
    time.sleep(WAIT_S / 10)
    timed(lambda: time.sleep(WAIT_S))


def in_a_thread() -> None:
    thread = threading.Thread(target=nanosleep)
    thread.start()
    thread.join()


globals()[WAY]()
print(json.dumps(told))
