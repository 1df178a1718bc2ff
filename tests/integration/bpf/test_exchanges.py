"""Requests and answers on connections, against what the server itself measured."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import support_probe as kernel
from support import in_a_calm_moment
from support_servers import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace import wire

MS = 1_000_000
# A scheduler may come between any two looks at a clock.
SLACK_NS = 5 * MS


class Answer(NamedTuple):
    """One request as the server saw it, monotonic ns."""

    came: int  # its last byte was received
    began: int  # the first byte of the answer is about to be sent
    ended: int  # the last one was


class Server:
    """Answers what programs/requests.py asks, one connection after the other."""

    def __init__(self, length: int, greeting: bytes = b"") -> None:
        self.answers: list[Answer] = []
        self._length = length
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                s, _ = self._listener.accept()
                with s:
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._answer(s)

    def _answer(self, s: socket.socket) -> None:
        if self._greeting:
            time.sleep(0.03)
            s.sendall(self._greeting)
        while True:
            request = b""
            while len(request) < self._length:
                piece = s.recv(self._length - len(request))
                if not piece:
                    return
                request += piece
            came = time.monotonic_ns()
            delay, size, more_delay = map(float, request.split(b";")[0].split())
            if delay < 0:
                return
            time.sleep(delay / 1000)
            answer = b"a" * int(size)
            began = time.monotonic_ns()
            s.sendall(answer[: len(answer) // 2])
            time.sleep(more_delay / 1000)
            s.sendall(answer[len(answer) // 2 :])
            self.answers.append(Answer(came, began, time.monotonic_ns()))


@contextlib.contextmanager
def serving(length: int, greeting: bytes = b"") -> Iterator[Server]:
    server = Server(length, greeting)
    try:
        yield server
    finally:
        server.close()


class Asked(NamedTuple):
    """What the probe saw of one run of programs/requests.py."""

    connection: wire.ConnectionRecord
    exchanges: list[wire.ExchangeRecord]
    end: wire.EdgeRecord


def ask(way: str, port: int, requests: list[tuple[float, ...]], **options: Any) -> Asked:
    with kernel.watching(**options) as watch:
        argument = json.dumps([way, port, requests])
        kernel.run([sys.executable, "-S", kernel.PROGRAMS / "requests.py", argument])
        [connection] = [record for record in watch.connections() if record.port == port]
        [end] = watch.ends()
        exchanges = [each for each in watch.exchanges() if each.connection == connection.id]
        assert not any(watch.probe.lost())
    return Asked(connection, exchanges, end)


LENGTH = 50
REQUESTS = [(0, 10, LENGTH), (40, 2_000, LENGTH), (10, 3, LENGTH), (120, 300_000, LENGTH)]


def check(exchange: wire.ExchangeRecord, answer: Answer) -> None:
    """Its times are the server's, as far as anybody else can know."""
    waited = exchange.first_in - exchange.last_out
    assert waited == pytest.approx(answer.began - answer.came, rel=0.1, abs=SLACK_NS)
    assert exchange.first_out <= exchange.last_out < exchange.first_in <= exchange.last_in
    # The beginning of the request and the end of the answer are the client's to know.
    assert exchange.first_out < answer.came
    assert exchange.first_in > answer.began


@in_a_calm_moment
def test_each_request_on_a_kept_connection_is_an_exchange() -> None:
    with serving(LENGTH) as server:
        asked = ask("keep_alive", server.port, REQUESTS)
    assert len(asked.exchanges) == len(REQUESTS) == len(server.answers)
    for exchange, answer, (_, size, length) in zip(
        asked.exchanges, server.answers, REQUESTS, strict=True
    ):
        assert (exchange.bytes_out, exchange.bytes_in) == (length, size)
        assert exchange.sends == 1
        assert exchange.receives >= 1
        assert exchange.retransmits == 0
        assert (exchange.tgid, exchange.branch) == (asked.end.tgid, asked.end.branch)
        check(exchange, answer)
    # They add up to the connection.
    for name in ("bytes_out", "bytes_in", "sends", "receives"):
        total = sum(getattr(exchange, name) for exchange in asked.exchanges)
        assert total == getattr(asked.connection, name), name
    # The latest one is not among those it counts.
    assert asked.connection.exchanges == len(REQUESTS) - 1
    assert asked.end.folded_exchanges == 0


@in_a_calm_moment
def test_how_long_an_answer_took_to_come() -> None:
    with serving(LENGTH) as server:
        asked = ask("keep_alive", server.port, [(10, 5_000, LENGTH, 60), (0, 4, LENGTH, 30)])
    for exchange, answer in zip(asked.exchanges, server.answers, strict=True):
        assert exchange.receives >= 2
        transfer = exchange.last_in - exchange.first_in
        assert transfer == pytest.approx(answer.ended - answer.began, rel=0.1, abs=SLACK_NS)
        check(exchange, answer)


@in_a_calm_moment
def test_a_request_in_two_sends_is_one() -> None:
    with serving(LENGTH) as server:
        asked = ask("in_two_sends", server.port, [(20, 10, LENGTH), (0, 20, LENGTH)])
    assert [exchange.sends for exchange in asked.exchanges] == [2, 2]
    assert [exchange.bytes_out for exchange in asked.exchanges] == [LENGTH, LENGTH]
    for exchange, answer in zip(asked.exchanges, server.answers, strict=True):
        assert exchange.last_out - exchange.first_out >= 29 * MS
        check(exchange, answer)


@in_a_calm_moment
def test_requests_before_the_first_answer_are_one_exchange() -> None:
    requests = [(10, 100, LENGTH), (10, 200, LENGTH), (10, 300, LENGTH)]
    with serving(LENGTH) as server:
        asked = ask("pipelined", server.port, requests)
    [exchange] = asked.exchanges
    assert (exchange.sends, exchange.bytes_out, exchange.bytes_in) == (3, 3 * LENGTH, 600)
    assert exchange.last_in > server.answers[-1].began
    assert exchange.last_in - exchange.first_in == pytest.approx(
        server.answers[-1].ended - server.answers[0].began, abs=SLACK_NS
    )


@in_a_calm_moment
def test_a_server_that_speaks_first() -> None:
    with serving(LENGTH, b"hello") as server:
        asked = ask("greeted", server.port, [(20, 10, LENGTH), (0, 20, LENGTH)])
    greeting, *others = asked.exchanges
    assert (greeting.first_out, greeting.last_out, greeting.sends, greeting.bytes_out) == (
        0, 0, 0, 0,
    )  # fmt: skip
    assert greeting.bytes_in == 5
    assert asked.connection.established < greeting.first_in < others[0].first_out
    assert [exchange.bytes_in for exchange in others] == [10, 20]
    for exchange, answer in zip(others, server.answers, strict=True):
        check(exchange, answer)


def test_a_request_without_an_answer() -> None:
    with serving(LENGTH) as server:
        asked = ask("no_answer", server.port, [(10, 10, LENGTH)])
    answered, unanswered = asked.exchanges
    check(answered, server.answers[0])
    assert unanswered.first_out > answered.last_in
    assert (unanswered.first_in, unanswered.last_in, unanswered.bytes_in) == (0, 0, 0)
    assert (unanswered.sends, unanswered.bytes_out) == (1, 50)


def test_what_was_said_right_before_a_tls_handshake_is_no_exchange() -> None:
    with Servers() as servers:
        asked = ask("in_clear_and_then_tls", servers.echo(), [])
    assert asked.connection.tls_started
    # The latest in clear (SMTP's STARTTLS, PostgreSQL's SSLRequest) began the handshake.
    sizes = [(each.bytes_out, each.bytes_in) for each in asked.exchanges]
    assert sizes == [(5, 5), (6, 6), (7, 7)]
    assert asked.exchanges[1].first_out > asked.connection.tls_ended


def test_datagrams_are_no_exchanges() -> None:
    with Servers() as servers:
        asked = ask("datagrams", servers.datagrams(), [])
    assert asked.exchanges == []
    assert (asked.connection.sends, asked.connection.exchanges) == (5, 0)


def test_what_comes_on_top_is_counted_and_not_told() -> None:
    requests = [(0, 10 + number, LENGTH) for number in range(20)]
    with serving(LENGTH) as server:
        asked = ask("keep_alive", server.port, requests, most_exchanges=5)
    # The first five, and the latest one, which the connection itself tells of.
    assert [exchange.bytes_in for exchange in asked.exchanges] == [10, 11, 12, 13, 14, 29]
    assert asked.end.folded_exchanges == 20 - 6
    assert asked.connection.exchanges == 19
    assert asked.connection.bytes_out == 20 * LENGTH
    for exchange, answer in zip(asked.exchanges[:5], server.answers, strict=False):
        check(exchange, answer)


def test_an_open_connections_latest_exchange_is_there_at_any_time() -> None:
    with serving(LENGTH) as server, kernel.watching() as watch:
        script = (
            "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
            "for line in sys.stdin: s.sendall(line[:-1].encode()); print(len(s.recv(99)), flush=1)"
        )
        import subprocess

        client = subprocess.Popen(
            [sys.executable, "-S", "-u", "-c", script, str(server.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert client.stdin
        assert client.stdout
        for number in range(1, 4):
            client.stdin.write("0 6 0;".ljust(LENGTH, ".") + "\n")
            client.stdin.flush()
            assert client.stdout.readline()
            for _ in range(2):  # looking changes nothing
                assert [each.sends for each in watch.exchanges()] == [1] * number
        client.communicate()
        assert [each.bytes_out for each in watch.exchanges()] == [LENGTH] * 3
