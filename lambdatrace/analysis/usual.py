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
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    parts: Mapping[Part, int] | None = None  # those known of FEWEST
    known: Mapping[Part, int] | None = None  # of how many, where not of all
    is_cut: bool = False  # there may be others, beyond those that were looked at

    def part_ns(self, part: Part) -> int | None:
        """The median of one part, ns; None: not known."""
        return None if self.parts is None else self.parts.get(part)

    def compared(self, part: Part) -> int:
        """How many executions tell of one part."""
        return self.executions if self.known is None else self.known.get(part, self.executions)


class Recent:
    """What the latest executions took that say what is usual: of each function up to MOST.

    Those are the ones that ended well, and of which it is known where the time went. With
    `function` only its own are kept.
    """

    def __init__(self, function: str | None = None) -> None:
        self._function = function
        # In all and in each part, ns or UNKNOWN; by function, the newest last.
        self._times: dict[str, deque[list[int]]] = {}
        self.is_cut = False  # no more than LOOKED_AT rows were taken in

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

    def usual(self, one: Execution) -> Usual:
        """The usual figures of its function, for one execution."""
        times = self._times.get(one.function)
        return _usual(times, unknown_parts(one)) if times else Usual(is_cut=self.is_cut)

    def _of(self, function: str) -> deque[list[int]]:
        if function not in self._times:
            self._times[function] = deque(maxlen=MOST)
        return self._times[function]


def usual_figures(executions: Iterable[Execution], one: Execution) -> Usual:
    """The usual figures, for one execution, of those that say something about it."""
    every = map(known_ns, executions)
    telling = [times for times in every if _says_something(Status.OK, times)]
    return _usual(telling, unknown_parts(one))


def unknown_parts(execution: Execution) -> tuple[Part, ...]:
    """The parts of which the execution's backend could not tell, and which are in others."""
    partition = execution.partition
    if partition is None:
        return ()
    return tuple(part for part in Part if partition.of(part) is None)


def is_telling(execution: Execution) -> bool:
    """Whether an execution says something about what is usual for its function."""
    return _says_something(execution.status, known_ns(execution))


def _says_something(status: str, times: Sequence[int]) -> bool:
    return status == Status.OK and max(times[1:]) != UNKNOWN


def _usual(executions: Iterable[Sequence[int]], unknown: Sequence[Part] = ()) -> Usual:
    executions = list(executions)
    if len(executions) < FEWEST:
        return Usual(len(executions))
    whole, *columns = map(sorted, zip(*executions, strict=True))
    parts = dict(zip(Part, columns, strict=True))
    if unknown or any(ns[0] == UNKNOWN for ns in columns):
        # Another backend told of them, which knows other parts.
        parts[Part.OTHER] = sorted(_others(executions, unknown))
        parts = {part: ns[ns.count(UNKNOWN) :] for part, ns in parts.items()}
    return Usual(
        len(executions),
        # The module `statistics` takes longer to import than `show` may spend on this.
        _middle(whole),
        {part: _middle(ns) for part, ns in parts.items() if len(ns) >= FEWEST},
        {part: len(ns) for part, ns in parts.items() if len(ns) < len(executions)},
    )


def _middle(ordered: Sequence[int]) -> int:
    return ordered[(len(ordered) - 1) // 2]


def _others(executions: Iterable[Sequence[int]], unknown: Sequence[Part]) -> Iterator[int]:
    """What would have been other (ns) in each, had the `unknown` parts not been told there either.

    Not of those that knew less: their other holds more. Time that was stolen unseen is CPU time.
    """
    hidden = [n for n, part in enumerate(Part, 1) if part in unknown and part is not Part.STEAL]
    needed = [n for n, part in enumerate(Part, 1) if part not in unknown and part is not Part.STEAL]
    for times in executions:
        if all(times[n] != UNKNOWN for n in needed):
            yield times[-1] + sum(max(0, times[n]) for n in hidden)
