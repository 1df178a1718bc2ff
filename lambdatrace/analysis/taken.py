"""How long many executions took, and each part of them: in columns, as `stats` counts them.

Of a hundred thousand index rows only these figures are read, in any number of processes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from struct import Struct
from typing import TYPE_CHECKING, Any

from lambdatrace import items as stored
from lambdatrace.analysis import glimpse
from lambdatrace.analysis.slo import NAMES, taken_ns
from lambdatrace.errors import CorruptItemError, StoreError
from lambdatrace.glance import UNKNOWN
from lambdatrace.model import Part, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.glance import StoredGlance
    from lambdatrace.items import Row
    from lambdatrace.model import Execution

# As in summary.py.
_MOST = 2**60
_PARTS = len(Part)
_NS_BYTES = 8
_TAKEN = Struct(f"<{1 + _PARTS}q")
_STATUSES = frozenset(Status)


class Taken:
    """The executions of a window; of one function only, if `function` is not None.

    `columns` are ns by name: `total` and each part, UNKNOWN where that is not known.
    """

    __slots__ = ("cold_starts", "columns", "function", "functions", "statuses", "unreadable")

    def __init__(self, function: str | None = None) -> None:
        self.function = function
        self.columns = {name: array("q") for name in NAMES}
        self.functions: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.cold_starts = 0
        self.unreadable: list[StoreError] = []  # one for each row left out

    @property
    def durations_ns(self) -> array[int]:
        """How long each took."""
        return self.columns[NAMES[0]]

    def add(self, rows: Iterable[Row]) -> None:
        """Add index rows, as far as they can be read."""
        for row in rows:
            try:
                text = stored.row_text(row)
                function = glimpse.string(text, b"function")
                if self.function is None or function == self.function:
                    self._add(function, *figures(text))
            except StoreError as error:
                self.unreadable.append(error)

    def add_glances(self, glances: Iterable[StoredGlance]) -> None:
        """Add what is counted of executions (glance.py)."""
        # Those alike in all that is no time, together.
        alike: dict[tuple[str, str, int, int], list[bytes]] = {}
        for _, function, status, cold_start, taken, *_ in glances:
            if self.function is None or function == self.function:
                alike.setdefault((function, status, cold_start, len(taken)), []).append(taken)
        for (function, status, cold_start, _), times in alike.items():
            try:
                columns = _columns(status, b"".join(times), len(times))
            except CorruptItemError as error:
                self.unreadable += [error] * len(times)
                continue
            self.functions[function] += len(times)
            self.statuses[status] += len(times)
            self.cold_starts += cold_start * len(times)
            for mine, more in zip(self.columns.values(), columns, strict=True):
                mine.extend(more)

    def add_executions(self, executions: Iterable[Execution]) -> None:
        """Add executions that have been read and checked."""
        for one in executions:
            self._add(one.function, one.status, one.cold_start, known_ns(one))

    def _add(self, function: str, status: str, cold_start: bool, times: list[int]) -> None:
        self.functions[function] += 1
        self.statuses[status] += 1
        self.cold_starts += cold_start
        for column, ns in zip(self.columns.values(), times, strict=True):
            column.append(ns)

    def portable(self) -> list[Any]:
        """Everything it knows, in types that `marshal` takes."""
        return [
            [column.tobytes() for column in self.columns.values()],
            dict(self.functions),
            dict(self.statuses),
            self.cold_starts,
            [(error.message, error.hint) for error in self.unreadable],
        ]

    def merge(self, portable: list[Any]) -> None:
        """Add what another one knows of other executions of the window."""
        columns, functions, statuses, cold_starts, errors = portable
        for mine, others in zip(self.columns.values(), columns, strict=True):
            mine.frombytes(others)
        self.functions.update(functions)
        self.statuses.update(statuses)
        self.cold_starts += cold_starts
        self.unreadable += [StoreError(message, hint) for message, hint in errors]


def _columns(status: str, taken: bytes, count: int) -> list[array[int]]:
    """Times taken by so many executions (glance.py), in all and in each part.

    Raises CorruptItemError.
    """
    width, rest = divmod(len(taken), count * _NS_BYTES)
    values = array("q") if rest else array("q", taken)
    # Older agents told of no parts.
    if status not in _STATUSES or width not in (1, 1 + _PARTS) or not values:
        raise CorruptItemError("what a store has noted of an execution is corrupt")
    if min(values) < UNKNOWN or min(values[::width]) < 0 or max(values) > _MOST:
        raise CorruptItemError("what a store has noted of an execution is corrupt")
    unknown = array("q", [UNKNOWN]) * count
    return [values[n::width] if n < width else unknown for n in range(1 + _PARTS)]


def glanced(status: str, taken: bytes) -> list[int]:
    """Times (ns or UNKNOWN) in all and of each part, as a store has noted them.

    Raises CorruptItemError.
    """
    if len(taken) == _TAKEN.size and status in _STATUSES:  # nearly all of them
        times = list(_TAKEN.unpack(taken))
        if times[0] >= 0 and min(times) >= UNKNOWN and max(times) <= _MOST:
            return times
    return [column[0] for column in _columns(status, taken, 1)]


def known_ns(execution: Execution) -> list[int]:
    """What it took in all and in each part, ns or UNKNOWN."""
    return [UNKNOWN if ns is None else ns for ns in taken_ns(execution).values()]


def taken(executions: Iterable[Execution]) -> Taken:
    """Those of executions that have been read."""
    found = Taken()
    found.add_executions(executions)
    return found


def figures(text: bytes) -> tuple[str, bool, list[int]]:
    """(status, whether it was a cold start, ns or UNKNOWN in all and of each part) of a summary.

    Raises CorruptItemError.
    """
    status = glimpse.string(text, b"status")
    cold_start = glimpse.plain(text, b"cold_start")
    if status not in _STATUSES or type(cold_start) is not bool:
        raise glimpse.corrupt("'status' or 'cold_start' is not what it should be")
    duration_ns = glimpse.plain(text, b"duration_ns")
    # Older agents did not tell.
    parts = glimpse.plain(text, b"partition") if b'"partition":' in text else None
    times = [duration_ns, *([None] * _PARTS if parts is None else parts)]
    if len(times) != 1 + _PARTS or duration_ns is None:
        raise glimpse.corrupt("'duration_ns' or 'partition' is not what it should be")
    for n, ns in enumerate(times):
        if ns is None:
            times[n] = UNKNOWN
        elif type(ns) is not int or not 0 <= ns <= _MOST:
            raise glimpse.corrupt("'duration_ns' or 'partition' is not a number in its range")
    return status, cold_start, times
