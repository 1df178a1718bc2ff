"""The real agent under AWS's real emulator: what its tests share."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support import require

from lambdatrace import items, wire
from lambdatrace.analysis.trace import read_trace
from lambdatrace.emulator import Emulator, Invocation, agent_command, find_rie
from lambdatrace.errors import EmulatorError, StoreError
from lambdatrace.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lambdatrace.model import Trace

ROOT = Path(__file__).parents[1]
HANDLERS = Path(__file__).parent / "integration/agent/handlers"
PATIENCE_S = 20.0  # until a test says that something never came


def require_agent() -> None:
    """What a real agent under a real emulator needs."""
    require_probe()
    require(shutil.which("unshare"), "unshare is not installed")
    require(find_spec("awslambdaric"), "awslambdaric is not installed")
    try:
        find_rie()
    except EmulatorError as error:
        require(False, error.message)


def require_probe() -> None:
    """What loading the probe needs."""
    require(os.geteuid() == 0, "loading the probe needs root")
    events = Path("/sys/kernel/tracing/events/raw_syscalls")
    if not events.exists():
        subprocess.run(
            ["mount", "-t", "tracefs", "tracefs", events.parents[1]],
            capture_output=True,
            check=False,
        )
    require(events.exists(), "this kernel has no syscall tracepoints")


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`; fails when it never comes."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"never came: {what}")


class Echo:
    """TCP servers on ports of their own, each sending back what it gets. A context manager."""

    def __init__(self) -> None:
        self.accepted: dict[int, list[int]] = {}  # by port, the clients' ports in order
        self._selector = selectors.DefaultSelector()
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ, self._end)
        self._running = True
        self._sockets: list[socket.socket] = [self._stop, self._stopped]
        self._thread = threading.Thread(target=self._serve, name="echo", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for each in self._sockets:
            each.close()

    def port(self) -> int:
        """One more port."""
        server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._sockets.append(server)
        number = int(server.getsockname()[1])
        self.accepted[number] = []
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        return number

    def wait_for_more(self, ports: Iterable[int]) -> None:
        """Wait until there were two new connections to each of `ports`."""
        goals = {port: len(self.accepted[port]) + 2 for port in ports}
        for port, goal in goals.items():
            eventually(partial(self._has, port, goal), f"connections to {port}")

    def _has(self, port: int, count: int) -> bool:
        return len(self.accepted[port]) >= count

    def _serve(self) -> None:
        while self._running:
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    def _end(self, _: socket.socket) -> None:
        self._running = False

    def _accept(self, server: socket.socket) -> None:
        connection, client = server.accept()
        self.accepted[server.getsockname()[1]].append(client[1])
        self._sockets.append(connection)
        self._selector.register(connection, selectors.EVENT_READ, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
            if data:
                connection.sendall(data)
                return
        except ConnectionError:
            pass
        self._selector.unregister(connection)
        self._sockets.remove(connection)
        connection.close()


class Gate:
    """Where a handler waits (`wait_for`) until the test lets it go on."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE_S)
        self.port = self._server.getsockname()[1]
        self._waiting: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._server.close()

    def reached(self) -> None:
        """Wait until the handler is there."""
        self._waiting, _ = self._server.accept()

    def open(self) -> None:
        """Let it go on."""
        if self._waiting is not None:
            self._waiting.close()
        self._waiting = None


@dataclass
class Execution:
    """What the store holds of one execution."""

    summary: dict[str, Any]
    connections: list[wire.ConnectionRecord]
    exchanges: list[wire.ExchangeRecord]
    blocked: list[wire.BlockedRecord]
    syscalls: list[wire.SyscallRecord]
    details: dict[str, Any]

    @property
    def ports(self) -> Counter[int]:
        """How many connections went to which port."""
        return Counter(record.port for record in self.connections)

    def to(self, port: int) -> wire.ConnectionRecord:
        """The one connection to `port`."""
        (record,) = [record for record in self.connections if record.port == port]
        return record


class Function:
    """The handler of handlers/app.py, its agent and their store.

    Parameters
    ----------
    folder
        A new one.
    store
        Its URL; a new local file if empty.
    """

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder = folder
        self.store = store or f"sqlite://{folder}/store.db"
        self.log: list[tuple[str, str]] = []

    @property
    def agent_lines(self) -> list[str]:
        """What the agent said on stderr."""
        return [line for _, line in self.log if line.startswith("lambdatrace: ")]

    def emulator(
        self,
        environ: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Emulator:
        """An emulator for this function with the agent."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LAMBDATRACE_RIE", "CI")
        }
        options.setdefault("timeout_s", 20)
        return Emulator(
            "app.handler",
            HANDLERS,
            environ={
                **inherited,
                "PYTHONDONTWRITEBYTECODE": "1",
                "AWS_LAMBDA_FUNCTION_NAME": "under-test",
                "LAMBDATRACE_STORE": self.store,
                "LAMBDATRACE_SPOOL": f"{self.folder}/spool",
                "LAMBDATRACE_TEST": str(self.folder),  # by which its processes are found
                **(environ or {}),
            },
            extensions={"lambdatrace": agent_command(), **(extensions or {})},
            log=lambda source, line: self.log.append((source, line)),
            **options,
        )

    def read(self, request_id: str) -> Execution:
        """An execution, waiting until it is stored."""
        return eventually(lambda: self.find(request_id), f"execution {request_id}")

    def find(self, request_id: str) -> Execution | None:
        """An execution, None if it is not stored."""
        if self.store.startswith("sqlite://") and not Path(self.store[9:]).exists():
            return None
        store = open_store(self.store)
        try:
            found = store.get(request_id)
        except StoreError as error:
            if "there is no store" in error.message:
                return None  # its worker was killed while it made the file
            raise
        finally:
            store.close()
        summaries = [item for item in found if item.kind == items.SUMMARY]
        if not summaries:
            return None
        (summary,) = summaries
        records = items.read_chunks(found)
        return Execution(
            items.read_summary(summary),
            list(wire.ConnectionRecord.iter_unpack(records[wire.KIND_CONNECTION])),
            list(wire.ExchangeRecord.iter_unpack(records[wire.KIND_EXCHANGE])),
            list(wire.BlockedRecord.iter_unpack(records[wire.KIND_BLOCKED])),
            list(wire.SyscallRecord.iter_unpack(records[wire.KIND_SYSCALL])),
            items.read_details(records[wire.KIND_DETAILS]),
        )

    def stored(self) -> list[dict[str, Any]]:
        """The summaries of the last hour's executions, oldest first, by the index."""
        store = open_store(self.store)
        now = time.time_ns()
        try:
            found = [items.read_summary(item) for item in store.index(now - items.HOUR_NS, now)]
        finally:
            store.close()
        return sorted(found, key=lambda summary: summary["started_ns"])

    def processes(self) -> tuple[int, int]:
        """(registered process, worker) of the agent; 0 for one that is not there."""
        mark = f"LAMBDATRACE_TEST={self.folder}".encode()
        agents = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if not any(word.endswith(b"/lambdatrace/packages/start.py") for word in command):
                    continue
                if mark not in (entry / "environ").read_bytes().split(b"\0"):
                    continue
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                if status[0] != "Z":
                    agents[int(entry.name)] = int(status[1])
        fronts = [pid for pid, parent in agents.items() if parent not in agents]
        if not fronts:
            return 0, 0
        (front,) = fronts
        return front, next((pid for pid, parent in agents.items() if parent == front), 0)

    def worker(self, other_than: int = 0) -> int:
        """The worker's pid, once it runs."""

        def is_there() -> int:
            pid = self.processes()[1]
            return 0 if pid == other_than else pid

        return int(eventually(is_there, "a worker"))


def invoke(emulator: Emulator, *steps: dict[str, Any], **event: Any) -> Invocation:
    """Invoke with an event that asks for `steps`, one after the other."""
    return emulator.invoke(json.dumps({"steps": steps, **event}).encode())


def ok(emulator: Emulator, *steps: dict[str, Any], **event: Any) -> str:
    """Invoke, make sure that the function answered as it does, return the request id."""
    invocation = invoke(emulator, *steps, **event)
    assert invocation.error is None, f"{invocation.error}: {invocation.body!r}"
    assert json.loads(invocation.body)["id"] == invocation.request_id
    return invocation.request_id


@contextlib.contextmanager
def invoking(
    emulator: Emulator, *steps: dict[str, Any], **event: Any
) -> Iterator[list[Invocation]]:
    """Invoke in the background; when the block has ended, its list holds the answer."""
    answers: list[Invocation] = []
    thread = threading.Thread(target=lambda: answers.append(invoke(emulator, *steps, **event)))
    thread.start()
    try:
        yield answers
    finally:
        thread.join()


@contextlib.contextmanager
def unanswering() -> Iterator[int]:
    """A port whose SYNs nobody answers: its queue of connections is full."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = held.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def python(code: str, *arguments: str) -> list[str]:
    """A command that runs `code`."""
    return [sys.executable, "-c", code, *arguments]


def trace(function: Function, request_id: str) -> Trace:
    """An execution as its readers see it, once it is stored."""
    function.read(request_id)
    store = open_store(function.store)
    try:
        return read_trace(store.get(request_id))
    finally:
        store.close()
