"""What the tests of the fault matrix share: slow stores, and a function without its agent."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from faulty_proxy import FaultyProxy, passes
from support_agent import Function, eventually

from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faulty_proxy import Exchange

    from lambdatrace.emulator import Emulator, Invocation


def without_agent(function: Function, **options: object) -> Emulator:
    """The same function with nobody who watches."""
    environ = options.pop("environ", None)
    emulator = function.emulator(environ, **options)
    emulator._extensions = {
        name: command for name, command in emulator._extensions.items() if name != "lambdatrace"
    }
    # The wrapper is the layer's, which comes with the agent.
    emulator._environ.pop("AWS_LAMBDA_EXEC_WRAPPER", None)
    return emulator


def seen_by_the_caller(invocation: Invocation) -> tuple[int, str | None]:
    """What does not differ from one invocation to the next."""
    error = invocation.error and invocation.error.replace(invocation.request_id, "ID")
    return invocation.status, error


def through(function: Function, proxy: FaultyProxy, name: str) -> None:
    """Let a function write to a new table through a proxy, whose faults begin after that."""
    function.store = f"dynamodb://{name}?region=eu-west-1&endpoint={proxy.endpoint}"
    fault, proxy._then = proxy._then, passes
    create_table(store_url.parse(function.store, {}))
    proxy._then = fault


def spooled(function: Function) -> list[Path]:
    """The executions in a function's spool."""
    return [*(function.folder / "spool").glob("*")]


class SlowStore:
    """A DynamoDB table whose next write can be held, before or after it has been done."""

    def __init__(self, endpoint: str, name: str) -> None:
        self._held, self._go = threading.Event(), threading.Event()
        self._done_first = False
        self._proxy = FaultyProxy(endpoint)
        self.url = f"dynamodb://{name}?region=eu-west-1&endpoint={self._proxy.endpoint}"

    def __enter__(self) -> SlowStore:
        self._proxy.__enter__()
        create_table(store_url.parse(self.url, {}))
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._proxy.__exit__()

    def hold_next(self, *, once_done: bool) -> None:
        """Do not answer the next write; with `once_done` DynamoDB does it all the same."""
        self._done_first = once_done
        self._proxy._script.append(self._hold)

    def wait_until_held(self) -> None:
        """Until the write is there."""
        assert self._held.wait(20), "no write came"

    def _hold(self, exchange: Exchange) -> None:
        if self._done_first:
            exchange.ask()
        self._held.set()
        self._go.wait(30)
        if not self._done_first:
            with contextlib.suppress(ConnectionError):
                passes(exchange)


def status_of(process_id: int) -> dict[str, str]:
    """What /proc says of a process."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def data_bytes(process_id: int) -> int:
    """What a process has of memory to write to, as RLIMIT_DATA counts it."""
    return int(status_of(process_id)["VmData"].split()[0]) * 1024


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    """When the block has ended, its list holds how many seconds that took."""
    found: list[float] = []
    began = time.monotonic()
    yield found
    found.append(time.monotonic() - began)


def is_gone(process_id: int) -> bool:
    """Whether a process has ended, for its parent, too."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until_gone(process_id: int) -> None:
    eventually(lambda: is_gone(process_id), f"the end of process {process_id}")
