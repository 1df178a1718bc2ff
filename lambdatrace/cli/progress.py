"""What is seen of a long read: how far back it has come, on a terminal, after a second."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn, TypeVar

    from lambdatrace.cli.environment import Environment
    from lambdatrace.glance import StoredGlance
    from lambdatrace.items import Item, Row
    from lambdatrace.store.base import Store

    AnyRow = TypeVar("AnyRow", bound=tuple[Any, ...])

# A result that comes sooner needs no bar before it.
AFTER_S = 1.0


def watched(environment: Environment, store: Store) -> Store:
    """`store`, with its progress shown on standard error if that is a terminal."""
    return WatchedStore(environment, store) if environment.stderr.isatty() else store


class WatchedStore:
    """A store whose index is read under a progress bar."""

    def __init__(self, environment: Environment, store: Store) -> None:
        self._environment = environment
        self._store = store
        self.close = store.close

    def get(self, execution_id: str) -> list[Item]:
        """Every item of one execution by key; empty if there is none. Raises StoreError."""
        return self._store.get(execution_id)

    def index(self, since_ns: int, until_ns: int) -> Iterator[Item]:
        """Index rows of executions begun in [since, until] (ns since the epoch), newest first.

        Raises StoreError.
        """
        bar = Bar(self._environment, since_ns, until_ns)
        try:
            for item in self._store.index(since_ns, until_ns):
                bar.moment_ns = item.timestamp_nano
                bar.count += 1
                yield item
        finally:
            bar.stop()

    def batches(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """The rows of `index` (items.Row), quickly: those of one hour and shard one by one.

        Raises StoreError.
        """
        return self._seen(self._store.batches(since_ns, until_ns), 1, since_ns, until_ns)

    def glances(self, since_ns: int, until_ns: int) -> Iterator[list[StoredGlance]]:
        """What is counted of the rows of `batches` (glance.py), as far as it has been noted.

        Raises StoreError.
        """
        return self._seen(self._store.glances(since_ns, until_ns), 0, since_ns, until_ns)

    def unglanced(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """The rows of `batches` of which `glances` has nothing. Raises StoreError."""
        return self._seen(self._store.unglanced(since_ns, until_ns), 1, since_ns, until_ns)

    def _seen(
        self, batches: Iterator[list[AnyRow]], place: int, since_ns: int, until_ns: int
    ) -> Iterator[list[AnyRow]]:
        """`batches` under a bar; at `place` a row has the moment (ns since the epoch)."""
        bar = Bar(self._environment, since_ns, until_ns)
        try:
            for rows in batches:
                if rows:
                    bar.moment_ns = rows[-1][place]
                bar.count += len(rows)
                yield rows
        finally:
            bar.stop()


class Bar:
    """A bar from `until_ns` back to `since_ns`, drawn in a thread of its own on a terminal.

    `moment_ns` is how far one has come, `count` how many rows there were on the way, `more` what
    there is to say besides.
    """

    def __init__(self, environment: Environment, since_ns: int, until_ns: int) -> None:
        from threading import Event, Timer

        self.moment_ns = until_ns
        self.count = 0
        self.more = ""
        self._since_ns = since_ns
        self._until_ns = until_ns
        self._environment = environment
        self._stopped = Event()
        self._timer = Timer(AFTER_S, self._draw)
        self._timer.daemon = True
        self._is_seen = environment.stderr.isatty()
        if self._is_seen:
            self._restore = _ended_in_order()
            self._timer.start()

    def stop(self) -> None:
        """Take it away."""
        self._stopped.set()
        self._timer.cancel()
        if self._is_seen:
            self._timer.join()
            self._restore()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(file=self._environment.stderr, _environ=self._environment.environ)
        span = max(1, self._until_ns - self._since_ns)
        with Progress(
            TextColumn("reading"), BarColumn(),
            TextColumn("{task.fields[count]:,} executions{task.fields[more]}"),
            console=console, transient=True, auto_refresh=False,
        ) as progress:  # fmt: skip
            task = progress.add_task("", total=span, count=0, more="")
            while not self._stopped.wait(0.1):
                done = min(span, max(0, self._until_ns - self.moment_ns))
                progress.update(
                    task, completed=done, count=self.count, more=self.more, refresh=True
                )


def _ended_in_order() -> Callable[[], object]:
    """Have SIGTERM end this process as an exit does: the bar hides the cursor, and shows it again.

    Returns what takes that back.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # others may not say what a signal does
    return partial(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _end))


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)  # as shells tell it
