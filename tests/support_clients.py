"""Programs of other people's runtimes with the preloaded library and without: nothing may differ.

One plan of requests, drawn with a seed, is carried out by a program for each runtime and HTTP
library (integration/preload/clients) against a server here that keeps the books. What became of
each request is printed by the program: with the library it must be the same, and what was recorded
must be what the server saw. `python tests/support_clients.py [PYTHON...]` tries them all with each
interpreter that is given, with a thousand requests each.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support_dynamodb import dynamodb_local
from support_preload import LIBRARY, preloading
from support_room import make_certificate
from support_servers import Servers, dns_answer

from lambdatrace import wire
from lambdatrace.agent.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_preload import PreloadWatch

ROOT = Path(__file__).parents[1]
CLIENTS = Path(__file__).parent / "integration/preload/clients"
NAME, MISSING = "partner.example", "missing.example"
HERE = "127.0.0.1"
DNS_PORT, A = 53, 1
WORKERS = 6
SEED = 7
MANY = 1000
BOTO3_POOL = 4  # connections
SLOW_MS = 250  # how long a request is waited for that is never answered
PATIENCE_S = 20.0
# Kind of request: how many of a hundred, and the path.
KINDS = {
    "small": (37, "/bytes/{small}"),
    "large": (4, "/bytes/200000"),
    "chunked": (10, "/chunked/{small}"),
    "post": (16, "/echo"),
    "upload": (3, "/echo"),
    "status": (10, "/status/{status}"),
    "close": (14, "/close/{small}"),
    "refused": (3, "/"),
    "missing": (2, "/"),
    "slow": (1, "/slow"),
}
STATUSES = (204, 404, 429, 500, 503)
_ENTER = (
    'for each in resolv.conf nsswitch.conf; do mount --bind "$0/$each" "/etc/$each" || exit; done;'
    ' exec "$@"'
)


@dataclass(frozen=True)
class Client:
    """A program of the folder, and what runs it."""

    name: str
    command: tuple[str, ...]


PYTHON_CLIENTS = ("stdlib", "requests", "httpx", "aiohttp", "grpc", "boto3")


def python_client(name: str, python: str = sys.executable) -> Client:
    """One of PYTHON_CLIENTS."""
    return Client(name, (python, str(CLIENTS / f"with_{name}.py")))


NODE = Client("node", ("node", str(CLIENTS / "requests.mjs")))
JAVA = Client("java", ("java", str(CLIENTS / "Requests.java")))


@dataclass
class Accepted:
    """A connection as the server saw it."""

    client_port: int
    answered: int = 0  # requests


class Books(ThreadingHTTPServer):
    """A server of HTTP/1.1, over TLS with a certificate, that counts what it has answered."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__((HERE, 0), _Handler)
        self.accepted: list[Accepted] = []
        self.open = 0
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = super().get_request()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open += 1
        self.accepted.append(Accepted(address[1]))
        if self._context is None:
            return client, address
        # Shakes hands when the connection's own thread reads.
        wrapped = self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.open -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Who gives up in the middle is expected."""

    def take(self) -> list[Accepted]:
        """The connections since the last call, once they have ended."""
        deadline = time.monotonic() + PATIENCE_S
        while self.open and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not self.open, f"{self.open} connections never ended"
        taken, self.accepted = self.accepted, []
        return taken


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Books

    def setup(self) -> None:
        super().setup()
        mine = (each for each in reversed(self.server.accepted))
        self._entry = next(each for each in mine if each.client_port == self.client_address[1])

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        _, what, value = f"{self.path}/".split("/", 2)
        value = value.rstrip("/")
        if what == "slow":
            self.connection.settimeout(PATIENCE_S)
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # until the client has had enough
            self.close_connection = True
        elif what == "chunked":
            self._chunks(content(int(value)))
        elif what == "status":
            self._answer(int(value), b"" if value == "204" else content(int(value)))
        else:
            self.close_connection = self.close_connection or what == "close"
            self._answer(200, content(int(value)))

    def do_POST(self) -> None:
        self._answer(200, self.rfile.read(int(self.headers["Content-Length"]))[::-1])

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self._entry.answered += 1
        self.wfile.write(body)

    def _chunks(self, body: bytes) -> None:
        self.send_response_only(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._entry.answered += 1
        for at in range(0, len(body), 100):
            piece = body[at : at + 100]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


def content(size: int) -> bytes:
    """A body of `size` bytes; the clients make the same."""
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@dataclass(frozen=True)
class Compared:
    """What was the same, with the library and without."""

    requests: int
    digest: str  # of what became of them
    connections: int
    answers: int


class Field:
    """Servers, names and a plan, for as long as the context lasts."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self.count = count
        self._stack = contextlib.ExitStack()
        self.certificate = folder / "certificate.pem"
        self.plan = folder / "plan.tsv"

    def __enter__(self) -> Self:
        make_certificate(self.certificate, NAME)
        self._books = [
            self._stack.enter_context(Books(certificate))
            for certificate in (None, self.certificate)
        ]
        self.ports = [books.server_port for books in self._books]
        servers = self._stack.enter_context(Servers())
        self._refused = servers.refused()
        number = os.getpid()
        self._resolver = f"127.53.{number % 250}.{1 + number // 250 % 250}"
        servers.answering(_resolve, self._resolver, DNS_PORT)
        (self._folder / "resolv.conf").write_text(f"nameserver {self._resolver}\n")
        (self._folder / "nsswitch.conf").write_text("hosts: dns\n")
        self.plan.write_text("".join(self._steps()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _steps(self) -> Iterator[str]:
        """A line for each request: kind, method, URL, bytes of the body, timeout (ms)."""
        draw = random.Random(SEED)
        kinds = list(KINDS)
        shares = [share for share, _ in KINDS.values()]
        for kind in draw.choices(kinds, shares, k=self.count):
            path = KINDS[kind][1].format(small=draw.randrange(3000), status=draw.choice(STATUSES))
            size = {"post": draw.randrange(3000), "upload": 300_000}.get(kind, 0)
            secure = draw.random() < 0.4
            host = NAME if secure or draw.random() < 0.5 else HERE
            port = self.ports[secure]
            if kind == "refused":
                secure, host, port = False, HERE, self._refused
            elif kind == "missing":
                secure, host = False, MISSING
            elif kind == "slow":
                secure, port = False, self.ports[0]
            url = f"http{'s' * secure}://{host}:{port}{path}"
            timeout = SLOW_MS if kind == "slow" else int(PATIENCE_S * 1000)
            method = "POST" if size else "GET"
            yield f"{kind}\t{method}\t{url}\t{size}\t{timeout}\n"

    def run(
        self,
        client: Client,
        environ: dict[str, str],
        *arguments: str,
        watch: PreloadWatch | None = None,
    ) -> list[str]:
        """What it prints, line by line; it must succeed. `watch` is what it is preloaded with."""
        command = [
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER),
            str(self._folder),
            *client.command,
            *(arguments or (str(self.plan), str(self.certificate), str(WORKERS))),
        ]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        if watch is not None:
            own = {"LD_PRELOAD": str(LIBRARY), "LAMBDATRACE_PRELOAD_MAP": watch.path}
            environ = {**environ, **own}
        with _draining(watch):
            ran = subprocess.run(
                command,
                env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", **environ},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr}{ran.stdout[-2000:]}"
        return ran.stdout.splitlines()

    def accepted(self) -> list[tuple[tuple[int, int], int]]:
        """The connections since the last call: ports (server's, client's), requests answered."""
        return [
            ((books.server_port, each.client_port), each.answered)
            for books in self._books
            for each in books.take()
        ]

    def check(self, client: Client, environ: dict[str, str] | None = None) -> Compared:
        """Without the library and with it. Raises AssertionError where that makes a difference."""
        environ = {"NODE_EXTRA_CA_CERTS": str(self.certificate), **(environ or {})}
        without = self.run(client, environ)
        self.accepted()
        with preloading(scale=4) as watch:
            within = self.run(client, environ, watch=watch)
            assert_same(without, within)
            seen = self.accepted()
            assert not any(watch.lost().values()), watch.lost()
            recorded = exchanges(watch, self.ports)
            assert Counter(ports for ports, _ in recorded) == Counter(ports for ports, _ in seen)
            counts, answers = _summed(recorded), _summed(seen)
            wrong = {
                ports: (count, answers[ports])
                for ports, count in counts.items()
                # Session tickets that are read before the request, or in its midst, are taken for
                # an answer (README.md, limits).
                if count - answers[ports] not in ((0, 1) if ports[0] == self.ports[1] else (0,))
            }
            assert not wrong, f"(recorded, answered): {wrong}"
            names = {lookup.name for lookup in Names().read(watch.texts)}
            assert names == {NAME, MISSING}, names
        return Compared(len(within), digest(within), len(seen), answers.total())


def assert_same(without: list[str], within: list[str]) -> None:
    """What a program has printed."""
    differences = [
        f"{number}: {one!r}, with the library {other!r}"
        for number, (one, other) in enumerate(zip(without, within, strict=True))
        if one != other
    ]
    assert not differences, "\n".join(differences[:20])


def exchanges(watch: PreloadWatch, ports: list[int]) -> list[tuple[tuple[int, int], int]]:
    """As `Field.accepted`, what was recorded: the exchanges that had an answer."""
    found = Counter(
        each.connection for each in watch.exchanges() if each.first_out and each.first_in
    )
    return [
        ((record.port, record.local_port), found[record.id])
        for record in watch.connections()
        if record.port in ports and record.protocol == wire.PROTOCOL_TCP
    ]


def _summed(rows: list[tuple[tuple[int, int], int]]) -> Counter[tuple[int, int]]:
    """A port may have been used twice."""
    summed: Counter[tuple[int, int]] = Counter()
    for ports, count in rows:
        summed[ports] += count
    return summed


@contextlib.contextmanager
def _draining(watch: PreloadWatch | None) -> Iterator[None]:
    """Meanwhile, as it would be after each execution."""
    if watch is None:
        yield
        return
    over = threading.Event()

    def drain() -> None:
        while not over.wait(0.05):
            watch.drain()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _resolve(query: bytes) -> bytes:
    """NAME is here; there is no other."""
    if query[12:].startswith(b"\x07partner\x07example\0"):
        return dns_answer(query, {A: socket.inet_aton(HERE)})
    answer = dns_answer(query, {})
    return answer[:3] + bytes([answer[3] | 3]) + answer[4:]  # NXDOMAIN


@contextlib.contextmanager
def grpc_server(client: Client, environ: dict[str, str]) -> Iterator[int]:
    """The port of a server for the program of grpc, which is the same file."""
    process = subprocess.Popen(
        [*client.command, "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.stdout.close()


def check_grpc(field: Field, client: Client, environ: dict[str, str]) -> Compared:
    """HTTP/2: many requests on one connection, whose bytes are counted."""
    with grpc_server(client, environ) as port:
        arguments = (f"{HERE}:{port}", str(field.count))
        without = field.run(client, environ, *arguments)
        with preloading(scale=4) as watch:
            within = field.run(client, environ, *arguments, watch=watch)
            assert_same(without, within)
            seen = [record for record in watch.connections() if record.port == port]
    assert seen
    assert all(record.bytes_out and record.bytes_in for record in seen)
    return Compared(len(within), digest(within), len(seen), len(within))


def check_boto3(
    field: Field, client: Client, environ: dict[str, str], endpoint: str, calls: int = MANY
) -> Compared:
    """So many calls to DynamoDB Local, on as many connections as its pool has."""
    arguments = endpoint, f"Clients{os.urandom(4).hex()}", str(calls)
    without = field.run(client, environ, *arguments)
    with preloading(scale=4) as watch:
        within = field.run(client, environ, *arguments, watch=watch)
        assert_same(without, within)
        assert not any(watch.lost().values()), watch.lost()
        recorded = exchanges(watch, [int(endpoint.rpartition(":")[2])])
    answers = sum(count for _, count in recorded)
    assert answers == calls, f"{answers} exchanges were recorded"
    assert 1 <= len(recorded) <= BOTO3_POOL
    return Compared(len(within), digest(within), len(recorded), answers)


def digest(lines: list[str]) -> str:
    """Of what a program has printed."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """Try all of them, and print what was compared. Returns 1 if anything differed.

    Each argument is a Python, or PYTHON=FOLDER with the packages of its clients.
    """
    tried = [(NODE, {}), (JAVA, {})]
    for argument in arguments or [sys.executable]:
        python, _, packages = argument.partition("=")
        environ = {"PYTHONPATH": packages} if packages else {}
        tried += [(python_client(name, python), environ) for name in PYTHON_CLIENTS]
    failures = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lambdatrace-test-")))
        folder.chmod(0o755)
        field = stack.enter_context(Field(folder, MANY))
        endpoint = stack.enter_context(dynamodb_local(folder / "dynamodb.log"))
        checks = {
            "grpc": check_grpc,
            "boto3": functools.partial(check_boto3, endpoint=endpoint),
        }
        for client, environ in tried:
            print(" ".join(client.command), end=": ", flush=True)
            try:
                print(checks.get(client.name, Field.check)(field, client, environ), flush=True)
            except (AssertionError, subprocess.SubprocessError) as error:
                failures += 1
                field.accepted()
                print(f"DIFFERENT\n{error}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
