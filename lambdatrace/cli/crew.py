"""Tallies on all CPUs: reading rows is cheap, what is in them is not.

What a store has at a glance (glance.py) is added up by the one who reads it: that is no work.
Workers are forked before a store is opened, get rows through pipes, and send what they have made of
them in the end. Whoever hands rows out keeps those that no worker has room for.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import signal
import struct
import termios
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from lambdatrace.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Protocol, Self

    from lambdatrace.analysis.times import Window
    from lambdatrace.glance import StoredGlance
    from lambdatrace.items import Row
    from lambdatrace.store.base import Store

# More would wait for the one that hands out.
_MOST_WORKERS = 7
# Rows a batch: some 100 kB, and some 5 ms of work.
_BATCH = 250
# What a pipe is to hold, and from where on it is full enough; in the end nobody waits long.
_PIPE_BYTES = 1 << 18
_HEAD = struct.Struct("<Q")
_COUNT = struct.Struct("i")  # FIONREAD's


if TYPE_CHECKING:

    class Tallying(Protocol):
        """What can be made of rows in several processes."""

        def add(self, rows: Iterable[Row]) -> None:
            """Take in index rows."""

        def add_glances(self, glances: Iterable[StoredGlance]) -> None:
            """Take in what is counted of executions."""

        def portable(self) -> Any:
            """Everything it knows, in types that `marshal` takes."""

        def merge(self, portable: Any) -> None:
            """Add what another one knows of other rows."""


AnyTallying = TypeVar("AnyTallying", bound="Tallying")


class Crew(Generic[AnyTallying]):
    """Several processes that each tally some rows of several windows.

    `make` makes an empty tally for each window. To be used as a context.
    """

    def __init__(
        self, make: Callable[[], Sequence[AnyTallying]], workers: int | None = None
    ) -> None:
        self._own = make()
        count = _usable_cpus() - 1 if workers is None else workers
        self._workers: list[_Worker] = []
        for _ in range(min(count, _MOST_WORKERS)):
            self._workers.append(_Worker(make, self._workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()

    def tally(self, number: int, store: Store, window: Window) -> None:
        """Add the executions of a window to tally `number`. Raises StoreError."""
        for glances in store.glances(window.since_ns, window.until_ns):
            self._own[number].add_glances(glances)
        self.tally_rows(number, store.unglanced(window.since_ns, window.until_ns))

    def tally_rows(self, number: int, batches: Iterable[Sequence[Row]]) -> None:
        """Add index rows to tally `number`. Raises StoreError."""
        for rows in batches:
            for begin in range(0, len(rows), _BATCH):
                self._hand_out(number, rows[begin : begin + _BATCH])

    def _hand_out(self, number: int, batch: Sequence[Row]) -> None:
        for worker in self._workers:
            if worker.has_room():
                worker.give([number, batch])
                return
        self._own[number].add(batch)

    def results(self) -> Sequence[AnyTallying]:
        """The tallies of all rows. Raises StoreError."""
        for worker in self._workers:
            for own, portable in zip(self._own, worker.result(), strict=True):
                own.merge(portable)
        return self._own


class _Worker:
    """A forked process and its pipes; it does not keep those of the `others`."""

    def __init__(self, make: Callable[[], Sequence[Tallying]], others: Sequence[_Worker]) -> None:
        down, self._batches = os.pipe()
        self._result, up = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            inherited = [fd for other in others for fd in (other._batches, other._result)]
            _work(make, down, up, [self._batches, self._result, *inherited])
        os.close(down)
        os.close(up)
        fcntl.fcntl(self._batches, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def has_room(self) -> bool:
        """Whether it will soon have done what it has."""
        waiting = fcntl.ioctl(self._batches, termios.FIONREAD, bytes(_COUNT.size))
        return bool(_COUNT.unpack(waiting)[0] < _PIPE_BYTES // 2)

    def give(self, batch: Any) -> None:
        """Hand it a batch. Raises StoreError if it is gone."""
        data = marshal.dumps(batch)
        try:
            _write(self._batches, _HEAD.pack(len(data)) + data)
        except OSError as error:
            raise _ended_early() from error

    def result(self) -> Any:
        """What it has made of all batches. Raises StoreError if it failed."""
        os.close(self._batches)
        self._batches = -1
        data = _read_all(self._result)
        if not data:
            raise _ended_early()
        return marshal.loads(data)  # noqa: S302  # from our own fork

    def end(self) -> None:
        """Whatever it is at."""
        if self._batches >= 0:
            os.close(self._batches)
        os.close(self._result)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _ended_early() -> StoreError:
    return StoreError("a process that helps to count ended early", "try again")


def _work(
    make: Callable[[], Sequence[Tallying]], down: int, up: int, others: Iterable[int]
) -> NoReturn:
    """In the fork: tally what comes, say what it was, end."""
    try:
        for fd in others:
            os.close(fd)
        tallies = make()
        for number, rows in _received(down):
            tallies[number].add(rows)
        _write(up, marshal.dumps([tallied.portable() for tallied in tallies]))
    finally:
        os._exit(0)


def _received(down: int) -> Iterator[Any]:
    while head := _read(down, _HEAD.size):
        yield marshal.loads(_read(down, *_HEAD.unpack(head)))  # noqa: S302  # from our own fork


def _read(fd: int, count: int) -> bytes:
    """`count` bytes; fewer where the other side has ended."""
    pieces = []
    while count and (piece := os.read(fd, count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _read_all(fd: int) -> bytes:
    return b"".join(iter(lambda: os.read(fd, _PIPE_BYTES), b""))


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _usable_cpus() -> int:
    """How many CPUs this process may use; 1 where pipes and forks are not Linux's."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return 1
    return len(os.sched_getaffinity(0))
