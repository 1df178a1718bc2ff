"""Ends processes in every way there is.

Prints JSON: [[way, process, its wait status, monotonic ns before it was forked and after its end,
in which it must have lived], ...].
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


def killed_from_outside(number: int) -> None:
    outsider = os.getpid()
    subprocess.Popen(["sh", "-c", f"kill -{number} {outsider}"])
    time.sleep(10)


def with_threads(then: object) -> None:
    """Others are asleep, and one computes."""
    for work in (lambda: time.sleep(30), lambda: time.sleep(30), compute):
        threading.Thread(target=work, daemon=True).start()
    then()  # type: ignore[operator]


def compute() -> None:
    while True:
        pass


def from_a_thread(then: object) -> None:
    thread = threading.Thread(target=then)  # type: ignore[arg-type]
    thread.start()
    thread.join()
    time.sleep(10)


def handled() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    kill(signal.SIGTERM)


def ignored() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), number)
    for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT):
        os.kill(os.getpid(), number)
    os._exit(8)


def handled_and_killed() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)
    kill(signal.SIGKILL)


def blocked() -> None:
    """Two wait until they are let in; the kernel takes the lower number first."""
    numbers = {signal.SIGTERM, signal.SIGRTMAX}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in sorted(numbers, reverse=True):
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    time.sleep(10)


def segfault() -> None:
    ctypes.string_at(0)


WAYS = {
    "0": lambda: os._exit(0),
    "3": lambda: os._exit(3),
    "255": lambda: os._exit(255),
    "256": lambda: LIBC._exit(256),  # the kernel takes the lowest eight bits
    "exec": lambda: os.execvp("sh", ["sh", "-c", "exit 5"]),
    "exec from a thread": lambda: from_a_thread(lambda: os.execvp("sh", ["sh", "-c", "exit 6"])),
    "abort": os.abort,
    "segfault": segfault,
    "segfault in a thread": lambda: from_a_thread(segfault),
    "SIGKILL": lambda: kill(signal.SIGKILL),
    "SIGTERM": lambda: kill(signal.SIGTERM),
    "SIGPIPE": lambda: (signal.signal(signal.SIGPIPE, signal.SIG_DFL), kill(signal.SIGPIPE)),
    "SIGRTMAX": lambda: kill(signal.SIGRTMAX),
    "SIGKILL from outside": lambda: killed_from_outside(signal.SIGKILL),
    "SIGTERM from outside": lambda: killed_from_outside(signal.SIGTERM),
    "handled": handled,
    "handled before it is killed": handled_and_killed,
    "ignored": ignored,
    "blocked": blocked,
    "exit with threads": lambda: with_threads(lambda: os._exit(4)),
    "exit of a thread": lambda: from_a_thread(lambda: os._exit(9)),
    "SIGKILL with threads": lambda: with_threads(lambda: kill(signal.SIGKILL)),
    "SIGTERM with threads": lambda: with_threads(lambda: kill(signal.SIGTERM)),
    "abort with threads": lambda: with_threads(os.abort),
    "main thread first": lambda: (
        threading.Thread(target=lambda: (time.sleep(0.05), os._exit(11))).start(),
        LIBC.pthread_exit(None),
    ),
}

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
told = []
for way in WAYS:
    before = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        try:
            WAYS[way]()  # type: ignore[operator]
        finally:
            os._exit(99)
    status = os.waitpid(pid, 0)[1]
    told.append([way, pid, status, before, time.monotonic_ns()])
print(json.dumps(told))
