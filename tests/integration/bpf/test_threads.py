"""One thread writes to a connection, another reads from it: which bytes are whose exchange's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
import support_probe as kernel
from support import in_a_calm_moment, require
from support_late import keeping_back
from support_servers import Servers

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lambdatrace import wire

MS = 1_000_000
PAIRS = 400
ANYWHERE = -1
RING = 1 << 22  # bytes: for all exchanges at once


class Request(NamedTuple):
    """What client and server noted, monotonic ns."""

    begun: int  # before send()
    done: int  # behind it
    received: int  # behind the reader's recv()
    came: int  # to the server
    answered: int  # before the server's send()


class Asked(NamedTuple):
    requests: list[Request]
    connection: wire.ConnectionRecord
    exchanges: list[wire.ExchangeRecord]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kernel.compiled("two_threads.c", tmp_path_factory.mktemp("two_threads"))


def _numbers(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.splitlines()]


def ask(
    program: Path,
    way: str,
    writer: int,
    reader: int,
    server: int,
    delay_us: int = 0,
    count: int = PAIRS,
) -> Asked:
    """Run programs/two_threads.c, its threads and its server on these CPUs."""
    serving = subprocess.Popen([program, "serve", str(server)], stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout
        port = serving.stdout.readline().strip()
        with kernel.watching(most_exchanges=count, events_ring=RING) as watch:
            command = [program, "ask", port, str(count), str(delay_us), str(writer), str(reader)]
            ran = kernel.run([*command, way])
            [connection] = watch.connections()
            exchanges = watch.exchanges()
            assert not any(watch.probe.lost())
        books, _ = serving.communicate(timeout=30)
    finally:
        serving.kill()
        serving.wait()
    both = zip(_numbers(ran.stdout), _numbers(books), strict=True)
    return Asked([Request(*ours, *theirs) for ours, theirs in both], connection, exchanges)


@contextlib.contextmanager
def hogging(cpus: Sequence[int]) -> Iterator[None]:
    """Others compute on these CPUs."""
    script = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"
    hogs = [subprocess.Popen([sys.executable, "-S", "-c", script, str(cpu)]) for cpu in cpus]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def check(asked: Asked) -> None:
    """Each request is an exchange of its own, at a time at which it can have been."""
    count = len(asked.requests)
    expected = [(20 + number % 50, 30 + number % 70) for number in range(count)]
    assert [(each.bytes_out, each.bytes_in) for each in asked.exchanges] == expected
    assert asked.connection.exchanges == count - 1
    for request, exchange in zip(asked.requests, asked.exchanges, strict=True):
        assert exchange.sends == 1
        assert request.begun < exchange.first_out < request.came
        assert request.answered < exchange.first_in < request.received
        assert exchange.first_out <= exchange.last_out < request.done
        # All that the server took went by between these two.
        assert exchange.first_in - exchange.first_out > request.answered - request.came
    # And nothing of the time between an answer and the next request is in the connection's sums.
    waited = sum(each.first_in - each.last_out for each in asked.exchanges)
    transferred = sum(each.last_in - each.first_in for each in asked.exchanges)
    assert asked.connection.transferred == transferred
    # Where both threads come back at one moment, on two CPUs, connection and exchange may each have
    # another view of which came first. In 400 requests that happens once, if at all.
    longest = max(each.done - each.begun for each in asked.requests)
    assert abs(asked.connection.waited - waited) < longest


@pytest.mark.parametrize("way", ["blocks", "polls"])
@pytest.mark.parametrize("delay_us", [0, 250])
def test_an_answer_that_is_there_before_the_sender_is_back(
    program: Path, way: str, delay_us: int
) -> None:
    require((os.cpu_count() or 1) > 1, "one thread has to be kept while others run")
    with keeping_back("writes", MS):
        asked = ask(program, way, writer=0, reader=1, server=1, delay_us=delay_us)
    check(asked)
    early = [
        (request, exchange)
        for request, exchange in zip(asked.requests, asked.exchanges, strict=True)
        if exchange.last_out == exchange.first_out
    ]
    assert early
    for request, exchange in early:
        assert exchange.first_in < request.done
        # It waited for the server, however long it was kept itself.
        assert exchange.first_in - exchange.last_out > request.answered - request.came


@pytest.mark.parametrize("delay_us", [0, 250])
@pytest.mark.parametrize(
    ("way", "writer", "reader", "server", "hogs"),
    [
        ("blocks", 0, 0, 0, ()),
        ("blocks", 0, 1, 1, ()),
        ("blocks", 0, 0, 1, ()),
        ("blocks", ANYWHERE, ANYWHERE, ANYWHERE, ()),
        ("polls", 0, 1, 0, ()),
        ("spins", 0, 1, 0, ()),
        ("urgent", 0, 0, 0, ()),
        ("blocks", 0, 0, 0, (0,)),
        ("blocks", 0, 1, 1, (0, 1)),
        ("blocks", ANYWHERE, ANYWHERE, ANYWHERE, (0, 1)),
        ("urgent", 0, 0, 0, (0,)),
    ],
)  # fmt: skip
def test_requests_one_after_the_other(
    program: Path, way: str, writer: int, reader: int, server: int, hogs: tuple[int, ...],
    delay_us: int,
) -> None:  # fmt: skip
    require((os.cpu_count() or 1) > max(writer, reader, server, *hogs), "there are fewer CPUs")
    with hogging(hogs):
        check(ask(program, way, writer, reader, server, delay_us))


def test_nothing_is_lost_where_both_sides_send_at_any_time(program: Path) -> None:
    require((os.cpu_count() or 1) > 1, "two threads have to run at once")
    asked = ask(program, "streams", writer=0, reader=1, server=1, count=20_000)
    assert len(asked.exchanges) > 1
    for name in ("bytes_out", "bytes_in", "sends", "receives"):
        total = sum(getattr(exchange, name) for exchange in asked.exchanges)
        assert total == getattr(asked.connection, name), name


@in_a_calm_moment
def test_what_comes_while_a_send_waits_for_room_is_not_its_answer() -> None:
    size, pause = 16_000_000, 0.1
    moments = []

    def serve(s: socket.socket) -> None:
        time.sleep(pause)  # until there is no room left
        s.sendall(b"go on")
        time.sleep(pause)
        left = size
        while left:
            left -= len(s.recv(1 << 16))
        moments.append(time.monotonic_ns())
        time.sleep(pause)
        moments.append(time.monotonic_ns())
        s.sendall(b"that was all")

    with Servers() as servers, kernel.watching() as watch:
        port = servers.talking(serve, "127.0.0.1")
        kernel.run([sys.executable, "-S", kernel.PROGRAMS / "uploads.py", str(port), str(size)])
        [connection] = watch.connections()
        exchange, early = watch.exchanges()  # by when they began, and that had begun before
    came, answered = moments
    assert (early.bytes_out, early.bytes_in) == (0, len("go on"))
    assert (exchange.bytes_out, exchange.bytes_in) == (size, len("that was all"))
    assert exchange.first_out < early.first_in < exchange.last_out < answered < exchange.first_in
    assert exchange.first_in - exchange.last_out > answered - came
    # That the send would go on was not known when the early bytes came.
    at_first = early.first_in - exchange.first_out
    assert connection.waited == at_first + exchange.first_in - exchange.last_out
