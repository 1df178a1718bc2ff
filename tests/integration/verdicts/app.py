"""The function of the fault world: what may make an execution slow, by name.

An event is {"do": NAME, …}; what else it needs to know stands in it as well. Nothing in here
knows of tracing. VERDICTS_CGROUP and VERDICTS_CPU say where the runtime lives: in that cgroup, and
on that CPU alone; with VERDICTS_FIRST it goes before everybody else on its CPU.
"""

from __future__ import annotations

import fcntl
import http.client
import itertools
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any

if group := os.environ.get("VERDICTS_CGROUP"):
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
if cpu := os.environ.get("VERDICTS_CPU"):
    os.sched_setaffinity(0, {int(cpu)})
if os.environ.get("VERDICTS_FIRST"):
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

PATIENCE_S = 20.0
Event = dict[str, Any]
_kept: list[http.client.HTTPConnection] = []
_numbers = itertools.count(1)


def get(host: str, port: int, path: str, timeout: float = PATIENCE_S) -> None:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    finally:
        connection.close()


def request(event: Event) -> None:
    """One request, or several to one destination after another."""
    for host, port, path in event["requests"]:
        get(host, port, path, event.get("timeout", PATIENCE_S))


def ipv4_only(event: Event) -> None:
    """One request to a name that is looked up for one kind of address."""
    host, port, path = event["requests"][0]
    found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    get(found[0][4][0], port, path)


def secure(event: Event) -> None:
    """One request over TLS; the certificate is checked against `authority`, or the usual ones."""
    host, port, path = event["requests"][0]
    context = ssl.create_default_context(cafile=event.get("authority"))
    context.check_hostname = "authority" not in event
    connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE_S, context=context)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()


def greeting(event: Event) -> None:
    """Connect, and wait for what the server says first."""
    host, port, _ = event["requests"][0]
    with socket.create_connection((host, port), timeout=PATIENCE_S) as connection:
        connection.recv(100)


def conversation(event: Event) -> None:
    """The requests, on one connection."""
    host, port, _ = event["requests"][0]
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    for _, _, path in event["requests"]:
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()


def kept_alive(event: Event) -> None:
    """A request on a connection that is kept for the next invocation."""
    host, port, path = event["requests"][0]
    if not _kept:
        _kept.append(http.client.HTTPConnection(host, port, timeout=PATIENCE_S))
    _kept[0].request("GET", path)
    _kept[0].getresponse().read()
    time.sleep(event["idle"])


def compute(event: Event) -> None:
    """So many seconds of CPU, however long they take."""
    until = time.thread_time() + event["seconds"]
    while time.thread_time() < until:
        sum(range(100))


def compete(event: Event) -> None:
    """As much again, by a process of its own on the same CPU at the same time."""
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    child = os.fork()
    if not child:
        compute(event)
        os._exit(0)
    compute(event)
    os.waitpid(child, 0)


def sleep(event: Event) -> None:
    """Wait for nothing."""
    time.sleep(event["seconds"])


def lock(event: Event) -> None:
    """Ask for the lock that somebody else holds, having told them so."""
    Path(event["asked"]).touch()
    with Path(event["file"]).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def write(event: Event) -> None:
    """Write a file and see to it that it is on the disk."""
    fd = os.open(event["file"], os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"w" * event["bytes"])
    os.fsync(fd)
    os.close(fd)


def after_a_while(event: Event) -> None:
    """One request, of the path that the number of this invocation calls for."""
    host, port, quick, slow = event["requests"][0]
    get(host, port, slow if next(_numbers) > event["quick"] else quick)


CAUSES = {
    each.__name__: each
    for each in (
        *(request, ipv4_only, secure, conversation, kept_alive, compute, compete, sleep, lock),
        *(write, after_a_while, greeting),
    )
}


def handler(event: Event, context: Any) -> dict[str, str]:
    """Do what the event asks for."""
    CAUSES[event["do"]](event)
    return {"done": event["do"]}
