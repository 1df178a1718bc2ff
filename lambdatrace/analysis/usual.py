"""A function's usual figures: what its recent executions went into."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lambdatrace import items as stored
from lambdatrace.analysis import glimpse
from lambdatrace.analysis.taken import figures, glanced, known_ns
from lambdatrace.errors import StoreError
from lambdatrace.glance import UNKNOWN
from lambdatrace.model import Part, Status
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace.items import Item
    from lambdatrace.model import Execution

FEWEST = 10  # fewer executions say nothing about what is usual
MOST = 100  # more of them say nothing more
# So many rows of the index, of all functions, are looked at for them.
LOOKED_AT = 500


class Usual(Value):
    """Medians over comparable executions; none where there are fewer than FEWEST."""

    executions: int = 0
    duration_ns: int | None = None
    parts: Mapping[Part, int] | None = None  # those known of all

    def part_ns(self, part: Part) -> int | None:
        """The median of one part, ns; None: not known."""
        return None if self.parts is None else self.parts.get(part)


class Recent:
    """What the latest executions took that say what is usual: of each function up to MOST.

    Those are the ones that ended well, and of which it is known where the time went. With
    `function` only its own are kept.
    """

    def __init__(self, function: str | None = None) -> None:
        self._function = function
        # In all and in each part, ns or UNKNOWN; by function, the newest last.
        self._times: dict[str, deque[list[int]]] = {}

    def add_older(self, row: Item) -> None:
        """Take in an index row from before those that are known, if it can be read."""
        try:
            if row.glance is not None:
                function, status, taken = row.glance
                if self._wants(function):
                    self._take(function, status, glanced(status, taken))
                return
            text = stored.summary_text(row)
            function = glimpse.string(text, b"function")
            if self._wants(function):
                status, _, times = figures(text)
                self._take(function, status, times)
        except StoreError:
            return  # `list` tells of rows that cannot be read

    def _wants(self, function: str) -> bool:
        return self._function in (None, function) and not self.has_enough(function)

    def _take(self, function: str, status: str, times: list[int]) -> None:
        if _says_something(status, times):
            self._of(function).appendleft(times)

    def add_newer(self, execution: Execution) -> None:
        """Take in an execution that came after those that are known."""
        times = known_ns(execution)
        if _says_something(execution.status, times):
            self._of(execution.function).append(times)

    def has_enough(self, function: str) -> bool:
        """Whether older ones of a function would say nothing more."""
        return len(self._times.get(function, ())) == MOST

    def usual(self, function: str) -> Usual:
        """The usual figures of a function."""
        return _usual(self._times.get(function, ()))

    def _of(self, function: str) -> deque[list[int]]:
        if function not in self._times:
            self._times[function] = deque(maxlen=MOST)
        return self._times[function]


def usual_figures(executions: Iterable[Execution]) -> Usual:
    """The usual figures of executions that say something about it."""
    every = map(known_ns, executions)
    return _usual([times for times in every if _says_something(Status.OK, times)])


def is_telling(execution: Execution) -> bool:
    """Whether an execution says something about what is usual for its function."""
    return _says_something(execution.status, known_ns(execution))


def _says_something(status: str, times: Sequence[int]) -> bool:
    return status == Status.OK and max(times[1:]) != UNKNOWN


def _usual(executions: Iterable[Sequence[int]]) -> Usual:
    executions = list(executions)
    if len(executions) < FEWEST:
        return Usual(len(executions))
    # The module `statistics` takes longer to import than `show` may spend on this.
    whole, *parts = map(sorted, zip(*executions, strict=True))
    middle = (len(executions) - 1) // 2
    return Usual(
        len(executions),
        whole[middle],
        {part: ns[middle] for part, ns in zip(Part, parts, strict=True) if UNKNOWN not in ns[:1]},
    )
