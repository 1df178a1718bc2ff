"""DNS and TLS bytes from somebody who means harm, through the real probe, agent and commands: what
comes out is a usual trace of text, and nothing grows without bound.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import json
import os
import random
import re
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest
import support_probe as kernel
from support_servers import HERE, Servers, dns_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAM = kernel.PROGRAMS / "hostile_packets.py"
# In CI the same bytes each time; elsewhere others, which a failure names.
SEED = "1" if os.environ.get("CI") == "true" else os.urandom(4).hex()
COUNT = 240
GOOD = bytes((192, 0, 2, 77))
# A name as shown: DNS's and TLS's bytes are escaped, four characters each.
NAME = re.compile(r"[\x21-\x7e]{0,1020}")


@pytest.fixture
def network() -> Iterator[kernel.Network]:
    with kernel.Network() as made:
        yield made


def run(folder: Path, network: kernel.Network, *arguments: str | int) -> dict[str, Any]:
    """A trace of the program, after all checks that hold whatever it meets."""
    store = f"sqlite://{folder / 'store.db'}"
    command = network.command(sys.executable, PROGRAM, *map(str, arguments))
    ran = kernel.lambdatrace("run", "--store", store, "--", *command)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    # Nothing but what it always says.
    assert re.fullmatch(r"(note: .*\n)+", ran.stderr), ran.stderr

    outputs = {}
    for output in ("table", "json", "jsonl", "csv"):
        shown = kernel.lambdatrace("show", "@latest", "--store", store, "--output", output)
        assert (shown.returncode, shown.stderr) == (0, ""), shown.stderr
        assert all(mark.isprintable() for line in shown.stdout.split("\n") for mark in line), output
        outputs[output] = shown.stdout
    document: dict[str, Any] = json.loads(outputs["json"])
    assert outputs["table"]
    lines = [json.loads(line) for line in outputs["jsonl"].splitlines()]
    assert len([line for line in lines if line["record"] == "connection"]) == len(
        document["connections"]
    )
    rows = list(csv.reader(io.StringIO(outputs["csv"])))
    assert len(rows) == 1 + len(document["connections"])
    assert {len(row) for row in rows} == {len(rows[0])}

    execution = document["execution"]
    assert (execution["status"], execution["exit_code"]) == ("ok", 0)
    assert (execution["dropped_by"], execution["missing_chunks"]) == ({}, 0)
    for lookup in document["namelookups"]:
        assert NAME.fullmatch(lookup["name"])
        assert len(lookup["addresses"]) <= 64
        for address in lookup["addresses"]:
            ipaddress.ip_address(address)
    for connection in document["connections"]:
        assert NAME.fullmatch(connection["host"] or "")
        assert NAME.fullmatch(connection["tls_server_name"] or "")
        assert connection["tls_version"] in (None, "1.0", "1.1", "1.2", "1.3")
        error = connection["tls_error"] or ""
        assert re.fullmatch(r"closed|reset|[a-z_]{0,40}|alert \d{1,3}", error)
    return document


@pytest.fixture(scope="module")
def usual_mb(tmp_path_factory: pytest.TempPathFactory) -> float:
    """What the agent takes at its peak for a program that does nothing."""
    folder = tmp_path_factory.mktemp("usual")
    peak: float = kernel.trace(folder, ["true"])["execution"]["agent"]["peak_mb"]
    return peak


def check_memory(document: dict[str, Any], usual_mb: float) -> None:
    """Of each message 2 kB are kept at most, and the servers send many times that.

    Besides there are the records of COUNT connections and of what the program waited for.
    """
    assert document["execution"]["agent"]["peak_mb"] < usual_mb + 7, SEED


# DNS


class HostileResolver:
    """Answers by the seed; good.example it answers as it should."""

    def __init__(self) -> None:
        self.answered = 0
        self._dice = random.Random(SEED)

    def answer(self, query: bytes) -> bytes:
        self.answered += 1
        if b"good\x07example" in query:
            return dns_answer(query, {1: GOOD})
        return self._dice.choice(self.makers)(self, query)

    def noise(self, _: bytes) -> bytes:
        return self._dice.randbytes(self._dice.choice((0, 1, 11, 12, 40, 512, 1400, 60_000)))

    def head(self, query: bytes, *counts: int) -> bytes:
        return query[:2] + struct.pack(">H", 0x8180) + struct.pack(">HHHH", *counts)

    def huge_counts(self, query: bytes) -> bytes:
        return self.head(query, *[0xFFFF] * 4) + query[12:]

    def many_answers(self, query: bytes) -> bytes:
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4)
        records = b"".join(record + struct.pack(">I", number) for number in range(3500))
        return self.head(query, 1, 3500, 0, 0) + query[12:] + records

    def loops(self, query: bytes) -> bytes:
        """Names that point at themselves, at each other, behind the end, and on and on."""
        end = 12 + len(query[12:])
        pointers = self._dice.choice(
            (
                struct.pack(">H", 0xC000 | end),
                struct.pack(">HH", 0xC000 | end + 2, 0xC000 | end),
                b"\xff\xff",
                b"".join(struct.pack(">H", 0xC000 | end + 2 * n) for n in range(1, 250)),
                b"\x3f" * 400,
            )
        )
        return self.head(query, 1, 9, 9, 9) + query[12:] + pointers + bytes(20)

    def loop_in_question(self, query: bytes) -> bytes:
        return self.head(query, 1, 1, 0, 0) + b"\xc0\x0c\0\1\0\1" * 9

    def lying_length(self, query: bytes) -> bytes:
        length = self._dice.choice((0, 3, 5, 15, 17, 0xFFFF))
        record = struct.pack(">HHHIH", 0xC00C, self._dice.choice((1, 28)), 1, 60, length)
        return self.head(query, 1, 2, 0, 0) + query[12:] + (record + bytes(4)) * 2

    def cut_short(self, query: bytes) -> bytes:
        whole = self.many_answers(query)[:200]
        return whole[: self._dice.randrange(len(whole))]

    def escapes(self, query: bytes) -> bytes:
        """Another question than was asked, to be written on a terminal."""
        label = b"\x1b]0;title\x07\x1b[2J[bold]x[/]"
        return self.head(query, 1, 0, 0, 0) + bytes((len(label),)) + label + b"\0\0\1\0\1"

    def damaged(self, query: bytes) -> bytes:
        good = bytearray(self.many_answers(query)[:300])
        for _ in range(self._dice.randint(1, 20)):
            good[self._dice.randrange(len(good))] = self._dice.randrange(256)
        return bytes(good)

    def query_again(self, query: bytes) -> bytes:
        return query

    def code(self, query: bytes) -> bytes:
        return query[:2] + self._dice.randbytes(2) + query[4:]

    makers = (
        noise, huge_counts, many_answers, loops, loop_in_question, lying_length, cut_short,
        escapes, damaged, query_again, code,
    )  # fmt: skip

    def converse(self, s: socket.socket) -> None:
        """Over TCP, with lengths in front that are right or lie."""
        query = b""
        while data := s.recv(65536):
            query += data
        answer = self.answer(query[2:])[:65535]
        prefix = struct.pack(">H", len(answer))
        if not query.endswith(b"good\x07example\0\0\1\0\1"):
            prefix = self._dice.choice((prefix, prefix, b"", b"\0\0", b"\xff\xff", b"\0"))
        if self._dice.randrange(2):
            s.sendall(prefix)
            s.sendall(answer)
        else:
            s.sendall(prefix + answer)


def check_good(document: dict[str, Any]) -> None:
    """What is right among it is still understood."""
    [good] = [each for each in document["namelookups"] if each["name"] == "good.example"]
    assert (good["answer"], good["addresses"]) == ("NOERROR", ["192.0.2.77"]), SEED


def test_hostile_dns_messages(tmp_path: Path, network: kernel.Network, usual_mb: float) -> None:
    resolver = HostileResolver()
    with Servers() as servers:
        with network.entered():
            servers.answering(resolver.answer, HERE, 53)
        document = run(tmp_path, network, "dns", SEED, COUNT)

    assert resolver.answered == COUNT + 1
    assert len(document["connections"]) == COUNT + 1, SEED
    assert len(document["namelookups"]) <= COUNT + 1
    check_memory(document, usual_mb)
    check_good(document)


def test_hostile_dns_streams(tmp_path: Path, network: kernel.Network, usual_mb: float) -> None:
    resolver = HostileResolver()
    with Servers() as servers:
        with network.entered():
            servers.talking(resolver.converse, HERE, 53)
        document = run(tmp_path, network, "dns_stream", SEED, COUNT)

    assert resolver.answered == COUNT + 1
    assert len(document["connections"]) == COUNT + 1, SEED
    check_memory(document, usual_mb)
    check_good(document)


def test_a_flood_of_lookups_pushes_nothing_out(
    tmp_path: Path, network: kernel.Network, usual_mb: float
) -> None:
    count = 5000
    resolver = HostileResolver()
    with Servers() as servers:
        with network.entered():
            servers.answering(resolver.answer, HERE, 53)
        command = network.command(sys.executable, PROGRAM, "dns_flood", SEED, str(count))
        document = kernel.trace(tmp_path, command)

    assert resolver.answered == count
    assert len(document["namelookups"]) >= 500
    # There may be more lookups than anybody reads, but what else happened is told.
    [connection] = document["connections"]
    assert (connection["sends"], connection["receives"]) == (count, count)
    assert document["execution"]["ending"]["exit_code"] == 0
    assert document["execution"]["cpu_ms"] > 0
    # 10,000 messages of 2 kB are kept at most (MAX_CLAIMED has 16,384).
    assert document["execution"]["agent"]["peak_mb"] < usual_mb + 25


# TLS


def server_hello(dice: random.Random) -> bytes:
    """One that is right, with a suite and an extension by chance."""
    extension = struct.pack(">HHH", 43, 2, dice.choice((0x0303, 0x0304, 0xFFFF)))
    body = b"\3\3" + dice.randbytes(32) + b"\x20" + dice.randbytes(32)
    body += struct.pack(">HB", dice.choice((0x1301, 0xC02F, 0xFFFF)), 0)
    body += struct.pack(">H", len(extension)) + extension
    message = struct.pack(">I", 2 << 24 | len(body)) + body
    return b"\x16\3\3" + struct.pack(">H", len(message)) + message


def damaged_hello(dice: random.Random) -> bytes:
    hello = bytearray(server_hello(dice) + bytes(300))
    for _ in range(dice.randint(1, 10)):
        hello[dice.randrange(len(hello))] = dice.randrange(256)
    return bytes(hello[: dice.randrange(len(hello))])


TLS_ANSWERS: tuple[Callable[[random.Random], bytes], ...] = (
    lambda dice: dice.randbytes(dice.choice((1, 5, 7, 300, 50_000))),
    lambda dice: b"\x16\3" + dice.randbytes(dice.randrange(2000)),
    lambda dice: b"\x16\3\3\2\0\2" + dice.randbytes(dice.randrange(600)),
    server_hello,
    damaged_hello,
    lambda dice: server_hello(dice) + b"\x17\3\3\0\x20" + dice.randbytes(32),
    lambda dice: server_hello(dice)[: dice.randrange(90)],
    lambda dice: b"\x15\3\3\0\2" + bytes((dice.randrange(4), dice.randrange(256))),
    lambda dice: b"\x15\3\3\0\2\1\x70" * dice.choice((1, 100, 100_000)),
    lambda dice: b"\x15\3\3\xff\xff" + dice.randbytes(200),
    lambda dice: b"\x16\3\3\0\0" * 600_000,
    lambda dice: (b"\x16\3\3\x40\0" + bytes(1 << 14)) * 250,
    lambda dice: (b"\x16\3\3\0\1" + b"\2") * 100_000,
    lambda dice: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    lambda dice: b"",
)  # fmt: skip


def test_hostile_tls_servers(tmp_path: Path, network: kernel.Network, usual_mb: float) -> None:
    dice = random.Random(SEED)
    sent = 0

    def serve(s: socket.socket) -> None:
        nonlocal sent
        s.recv(65536)
        # Every answer to a plain client and to OpenSSL, and then by chance.
        number, kinds = len(served), len(TLS_ANSWERS)
        served.append(number)
        made = TLS_ANSWERS[number // 2] if number < 2 * kinds else dice.choice(TLS_ANSWERS)
        answer = made(dice)
        if dice.randrange(4) == 0:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        sent += len(answer)
        s.sendall(answer)

    served: list[int] = []
    with Servers() as servers:
        with network.entered():
            port = servers.talking(serve, HERE)
        document = run(tmp_path, network, "to_servers", SEED, COUNT, port)

    assert len(served) == COUNT
    assert sent > 16 << 20
    connections = document["connections"]
    assert [each["tls_server_name"] for each in connections] == [
        f"n{number}.example" for number in range(COUNT)
    ], SEED
    # None of them came to its end, and of many it is known why.
    assert {each["tls_version"] for each in connections} >= {None, "1.2", "1.3"}
    assert len({each["tls_error"] for each in connections}) > 3
    check_memory(document, usual_mb)


def test_hostile_tls_clients(tmp_path: Path, network: kernel.Network, usual_mb: float) -> None:
    with Servers() as servers:
        with network.entered():
            port = servers.sink()
        document = run(tmp_path, network, "as_client", SEED, COUNT, port)

    connections = document["connections"]
    assert len(connections) == COUNT + 1, SEED
    assert connections[-1]["tls_server_name"] == "good.example"
    assert sum(each["bytes_out"] for each in connections) > 8 << 20
    check_memory(document, usual_mb)
