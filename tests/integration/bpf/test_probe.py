"""The probe's own interface: what is still open, handing a loaded probe over, who is woken."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import support_probe as kernel
from support_servers import Servers

from lambdatrace import wire
from lambdatrace.bpf.loader import Probe

if TYPE_CHECKING:
    from collections.abc import Callable


def connect_once(port: int) -> None:
    kernel.run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"])


def test_what_is_open_can_be_read_at_any_time() -> None:
    with Servers() as servers, kernel.watching() as watch:
        ports = [servers.sink(), servers.full(), servers.datagrams()]
        program = subprocess.Popen(
            [sys.executable, "-S", kernel.PROGRAMS / "stays.py", *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        for _ in range(2):  # reading them changes nothing
            told = list(watch.probe.followed_connections())
            followed = {record.port: record for record, _, _ in told}
            exchanges = {record.port: exchange for record, exchange, _ in told}
            assert all(is_open for _, _, is_open in told)
            assert set(followed) == set(ports)
            established, connecting, datagrams = (followed[port] for port in ports)
            assert (established.state, established.bytes_out) == (wire.TCP_ESTABLISHED, 5)
            latest = exchanges[ports[0]]
            assert (latest.bytes_out, latest.sends, latest.first_in) == (5, 1, 0)
            assert latest.first_out == established.first_out
            nothing = wire.Exchange.unpack(bytes(wire.Exchange.SIZE))
            assert [exchanges[port] for port in ports[1:]] == [nothing, nothing]
            assert established.started < established.established <= established.first_out
            assert (connecting.state, connecting.established) == (wire.TCP_SYN_SENT, 0)
            assert (datagrams.protocol, datagrams.bytes_out) == (17, 3)
            assert [record.closed for record in followed.values()] == [0, 0, 0]
        program.communicate()
        ended = watch.connections()
        assert [record.port for record in ended] == ports
        assert all(record.closed >= record.started for record in ended)
        assert list(watch.probe.followed_connections()) == []  # told once
        assert len(watch.connections()) == 3


def in_fork(work: Callable[[], object]) -> int:
    """The pid of a copy of this process that writes what `work` returns and waits to be killed."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(tell, json.dumps(work()).encode() + b"\n")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(told) as answer:
        line = answer.readline()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(line)  # type: ignore[no-any-return]


def test_another_process_can_take_over_and_die_without_a_gap() -> None:
    """How the agent works: a process that only holds the probe, and workers that may die."""

    def adopted() -> list[int]:
        return kernel.Watch(Probe.adopt(probe.handover())).ports()

    probe = Probe.load(root=os.getpid())
    try:
        with Servers() as servers:
            first, second, third = (servers.sink() for _ in range(3))
            connect_once(first)
            assert in_fork(adopted) == [first]
            connect_once(second)  # while nobody looks
            connect_once(third)
            assert in_fork(adopted) == sorted([second, third])
            assert in_fork(adopted) == []
            assert not any(probe.lost())
    finally:
        probe.close()


def test_closing_the_probe_gives_everything_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    probe = Probe.load(root=os.getpid())
    assert len(list(Path("/proc/self/fd").iterdir())) > before
    probe.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_reader_sleeps_through_connections_and_wakes_when_the_command_ends() -> None:
    # Without pauses: one before it asks, and it would find something there at once.
    with Servers() as servers, kernel.watching(capture=frozenset({"cpu"})) as watch:
        port = servers.sink()
        program = subprocess.Popen(
            ["bash", "-c", f"read; for i in 1 2 3; do exec 3<>/dev/tcp/127.0.0.1/{port}; done; "
             "echo done; read"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        woken = threading.Event()

        def sleep() -> None:
            poll = select.poll()
            poll.register(watch.probe.events_fd, select.POLLIN)
            poll.poll()
            woken.set()

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        until_it_polls(sleeper)
        program.stdin.write(b"go\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"done\n"
        # Two of them have ended: their records are there, and the reader sleeps on.
        assert not woken.wait(0.2)
        program.communicate()
        assert woken.wait(10)
        sleeper.join()
        assert watch.ports() == [port] * 3


def until_it_polls(thread: threading.Thread) -> None:
    wchan = Path(f"/proc/self/task/{thread.native_id}/wchan")
    for _ in range(1000):
        if "poll" in wchan.read_text():
            return
        time.sleep(0.005)
    raise AssertionError("the thread never polled")
