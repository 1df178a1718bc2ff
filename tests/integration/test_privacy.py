"""No payload is kept: secrets that a program and a function take everywhere are nowhere in the
store, nor in what the agent says.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import sqlite3
import ssl
import string
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import support_agent as agent
import support_probe as kernel
from support import require
from support_servers import Servers, dns_answer

from lambdatrace import items, wire
from lambdatrace.emulator import Emulator, agent_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent / "privacy"
# So many characters of a secret in a row are found, wherever in it they stand, and twice as many
# where bytes are written as text. By chance no store has them: there are 36^8.
WINDOW = 8
LETTERS = string.ascii_lowercase + string.digits
SECRETS = (
    "udp", "udp_answer", "txt", "http_path", "http_query", "http_header", "http_body",
    "http_answer", "http_answer_header", "tls", "tls_answer", "alpn", "hello", "file", "fifo",
    "environment", "argument", "pipe", "stdout",
)  # fmt: skip
LAMBDA_SECRETS = (
    "client_context", "access_key", "secret_key", "session_token", "response", "failure", "event",
)  # fmt: skip
TXT = 16


def token(size: int) -> str:
    return "".join(random.SystemRandom().choices(LETTERS, k=size))


# Searching


def forms(secret: str) -> Iterator[tuple[bytes, int]]:
    """A secret as it is, and as programs write bytes as text; how much of it has to be found."""
    plain = secret.encode()
    yield plain, WINDOW
    yield plain.hex().encode(), 2 * WINDOW
    for skipped in range(3):  # base64 takes three bytes at once
        yield base64.b64encode(plain[skipped:]).rstrip(b"=")[:-4].lower(), 2 * WINDOW


def windows(data: bytes, size: int) -> set[bytes]:
    return {data[place : place + size] for place in range(len(data) - size + 1)}


def find(haystacks: Iterable[bytes], secrets: dict[str, str]) -> set[str]:
    """The names of the secrets of which any part is in any of the haystacks."""
    whose: dict[int, dict[bytes, str]] = {WINDOW: {}, 2 * WINDOW: {}}
    for name, secret in secrets.items():
        for form, size in forms(secret):
            whose[size].update(dict.fromkeys(windows(form, size), name))
    found = set()
    for each in haystacks:
        data = each.lower()
        for size, pieces in whose.items():
            found |= {pieces[piece] for piece in windows(data, size) & pieces.keys()}
    return found


def inflated(data: bytes) -> Iterator[bytes]:
    """Everything zlib in `data`, whatever is around it."""
    for place in range(len(data) - 1):
        # RFC 1950, 2.2: what a stream begins with.
        if data[place] == 0x78 and int.from_bytes(data[place : place + 2], "big") % 31 == 0:
            for dictionary in items.DICTIONARIES.values():  # for those that need one
                with contextlib.suppress(zlib.error):
                    inflate = zlib.decompressobj(zdict=dictionary)
                    yield inflate.decompress(data[place:], 1 << 24)


def everything_in(folder: Path) -> list[bytes]:
    """All bytes of the store: its files as they are, each value, and what is packed in it."""
    # By another process: closing one of its files drops this one's locks on it (POSIX), and then a
    # tracer that ends late takes the log beside the store away.
    files = [subprocess.check_output(["cat", file]) for file in folder.iterdir()]
    found = [*files]
    # SQLite cuts long values into pages, so values are looked at one by one.
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as database:
        for row in database.execute("SELECT * FROM items"):
            for value in row:
                data = value if isinstance(value, bytes) else str(value).encode()
                found += [data, *inflated(data)]  # what is inflated is transposed
            item = items.Item(row[0], row[1], row[2], row[3], row[6], row[5], row[4])
            found += items.read_chunks([item]).values()
    return found


def test_the_search_finds_a_secret_wherever_it_hides(tmp_path: Path) -> None:
    secret = {"it": token(40)}
    text = secret["it"].encode()
    size = wire.SyscallRecord.SIZE
    record = bytes(8) + text[5:25] + bytes(size - 28)
    packed = items.pack_records(wire.KIND_SYSCALL, size, bytes(size) + record + bytes(5 * size))

    assert find([b"head" + text + b"tail"], secret) == {"it"}
    assert find([text.upper()], secret) == {"it"}
    assert find([b"," + text[20:29] + b","], secret) == {"it"}
    assert find([b"-" + text.hex().encode()], secret) == {"it"}
    for shift in range(3):
        assert find([base64.b64encode(bytes(shift) + text)], secret) == {"it"}
    assert find([packed, *inflated(packed)], secret) == set()  # one byte in each column
    assert find([items.unpack_records(packed)[2]], secret) == {"it"}
    assert find(inflated(b"head" + zlib.compress(text * 9) + b"tail"), secret) == {"it"}
    assert find([token(100_000).encode(), os.urandom(100_000)], secret) == set()

    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as database:
        database.execute("CREATE TABLE items(a, b, c, kind, e, f, body)")
        database.execute("INSERT INTO items VALUES (1, 2, 3, ?, 2, 6, ?)", (items.CHUNK, packed))
        database.commit()
    assert find(everything_in(tmp_path), secret) == {"it"}


# Where the secrets go


class World:
    """Servers that answer with secrets, and what a program has to know of them."""

    def __init__(self, servers: Servers, certificate: Path, folder: Path, names: Iterable[str]):
        self.secrets = {name: token(300) for name in names}
        # The longest that DNS and ALPN have room for.
        self.secrets["txt"], self.secrets["alpn"] = token(255), token(60)
        self.seen = {"name": token(20)}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        # An address of this test's own, as port 53 is needed.
        self.address = "127." + ".".join(str(random.randint(1, 254)) for _ in range(3))
        servers.answering(self._resolve, self.address, 53)
        servers.talking(self._resolve_stream, self.address, 53)
        self.places = {
            "address": self.address,
            "http": servers.talking(self._web, self.address),
            "tls": servers.talking(self._tls, self.address),
            "udp": servers.answering(lambda _: self._bytes("udp_answer"), self.address),
            "folder": str(folder),
            **self.seen,
        }

    def _bytes(self, name: str) -> bytes:
        return self.secrets[name].encode()

    def _resolve(self, query: bytes) -> bytes:
        if b"\0" not in query[12:]:  # not everything that comes is DNS
            return self._bytes("udp_answer")
        text = self._bytes("txt")
        records = {1: socket.inet_aton(self.address), TXT: bytes((len(text),)) + text}
        return dns_answer(query, records)

    def _resolve_stream(self, s: socket.socket) -> None:
        query = b""
        while data := s.recv(65536):
            query += data
        answer = self._resolve(query[2:])
        s.sendall(struct.pack(">H", len(answer)) + answer)

    def _web(self, s: socket.socket) -> None:
        while data := s.recv(65536):
            if data[0] == 0x16:
                s.sendall(b"\x15\3\3\0\2\2\x28" + self._bytes("http_answer"))
                while s.recv(65536):
                    pass
                return
            while self._bytes("http_body") not in data:
                data += s.recv(65536)
            body = self._bytes("http_answer") * 20
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nSet-Cookie: "
            s.sendall(head.encode() + self._bytes("http_answer_header") + b"\r\n\r\n" + body[:99])
            time.sleep(0.01)
            s.sendall(body[99:])

    def _tls(self, s: socket.socket) -> None:
        with self._context.wrap_socket(s, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(self._bytes("tls_answer"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(shutil.which("openssl"), "no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {file} -out - -days 2 -subj /CN=x"
    made = subprocess.run(command.split(), check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + made.stdout)
    return file


@contextlib.contextmanager
def store_in(folder: Path) -> Iterator[str]:
    """A store's URL. Its log beside it is not taken over into the file while this lasts."""
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("SELECT * FROM sqlite_schema").fetchall()
        yield f"sqlite://{folder}/store.db"
        assert (folder / "store.db-wal").stat().st_size > 0


def check(haystacks: list[bytes], world: World, *, sees_names: bool = True) -> None:
    assert find(haystacks, world.secrets) == set()
    if not sees_names:
        return
    # Searching finds what is there: names that may be seen, by every way they come.
    assert find(haystacks, world.seen) == {"name"}
    name = world.seen["name"]
    for text in (f"api.{name}.example", f"txt.{name}.example", f"tls.{name}.example"):
        assert any(text.encode() in each for each in haystacks), text
    for text in (f"hand.{name}.example", f"/{name}.fifo"):
        assert any(text.encode() in each for each in haystacks), text


@pytest.mark.parametrize("level", ["flows", "syscalls"])
def test_nothing_of_a_programs_secrets_is_kept(
    tmp_path: Path, certificate: Path, level: str
) -> None:
    kernel.require_probe()
    work = tmp_path / "work"
    work.mkdir()
    with Servers() as servers, store_in(tmp_path / "store") as store:
        world = World(servers, certificate, work, SECRETS)
        ran = subprocess.run(
            [
                *(*kernel.CLI, "run", "--level", level, "--store", store, "--"),
                *(sys.executable, str(HERE / "leaks.py")),
            ],
            env=kernel.environment(
                PRIVATE=world.secrets["environment"],
                AWS_SECRET_ACCESS_KEY=world.secrets["environment"],
            ),
            input=json.dumps({"secrets": world.secrets, "places": world.places}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert world.secrets["stdout"] in ran.stdout  # the program's own
        stored = everything_in(tmp_path / "store")
    check([*stored, ran.stderr.encode()], world)
    document = json.loads(
        kernel.lambdatrace("show", "@latest", "--store", store, "--output", "json").stdout
    )
    # There was something to tell, and of each kind.
    assert document["execution"]["dropped"] == 0
    for kind in ("connections", "namelookups", "exchanges", "blocked", "processes"):
        assert document[kind], kind
    assert ("syscalls" in document) == (level == "syscalls")


class EmulatorWithContext(Emulator):
    """Hands each invocation a client context, as SDKs do."""

    client_context = ""

    def _post(self, event: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            path = "/2015-03-31/functions/function/invocations"
            headers = {"X-Amz-Client-Context": self.client_context}
            connection.request("POST", path, event, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()


@pytest.mark.parametrize(
    ("level", "backend"),
    [
        ("flows", "ebpf"),
        ("syscalls", "ebpf"),
        ("flows", "preload"),
        ("syscalls", "preload"),
        ("flows", "proc"),
    ],
)
def test_nothing_of_a_functions_secrets_is_kept(
    tmp_path: Path, certificate: Path, level: str, backend: str
) -> None:
    agent.require_agent()
    preloads = backend == "preload"
    work = tmp_path / "work"
    work.mkdir()
    log: list[tuple[str, str]] = []
    with Servers() as servers, store_in(tmp_path / "store") as store:
        world = World(servers, certificate, work, SECRETS + LAMBDA_SECRETS)
        secrets = world.secrets
        context = json.dumps({"custom": {"secret": secrets["client_context"]}})
        environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "CI") if name in os.environ},
            "PYTHONDONTWRITEBYTECODE": "1",
            "LAMBDATRACE_STORE": store,
            "LAMBDATRACE_LEVEL": level,
            "LAMBDATRACE_BACKEND": backend,
            **({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace/wrapper"} if preloads else {}),
            "PRIVATE": secrets["environment"],
            "AWS_ACCESS_KEY_ID": secrets["access_key"],
            "AWS_SECRET_ACCESS_KEY": secrets["secret_key"],
            "AWS_SESSION_TOKEN": secrets["session_token"],
        }
        emulator = EmulatorWithContext(
            "app.handler",
            HERE,
            environ=environ,
            extensions={"lambdatrace": agent_command()},
            timeout_s=20,
            log=lambda source, line: log.append((source, line)),
        )
        emulator.client_context = base64.b64encode(context.encode()).decode()
        with emulator:
            event: dict[str, Any] = {"secrets": secrets, "places": world.places}
            answer = emulator.invoke(json.dumps(event).encode())
            assert answer.error is None, answer
            assert json.loads(answer.body) == {"secret": secrets["response"]}
            failed = emulator.invoke(json.dumps({**event, "fail": True}).encode())
            assert failed.error == f"ValueError: {secrets['failure']}"
        stored = everything_in(tmp_path / "store")
    # What the function prints is its own; the rest is the agent's and the platform's.
    said = [line.encode() for source, line in log if source == "extension"]
    check([*stored, *said], world, sees_names=backend != "proc")
    for invocation in (answer, failed):
        assert any(invocation.request_id.encode() in each for each in stored)
    # The environment's report of itself was among what was searched.
    assert any(b'"backends"' in each for each in stored)
