"""Many executions' destinations, taken together: what `top-destinations` shows.

A hundred thousand executions are read in three times of what pandas takes to load, so this does
without: rows of one place are read and added up many at a time, column by column, in arrays (which
check them as well), and sorted in the end.
"""

from __future__ import annotations

import json
from array import array
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lambdatrace.analysis.quantiles import Batch, Times
from lambdatrace.analysis.shapes import Shape
from lambdatrace.glance import KEY, NUMBERS, TIMES
from lambdatrace.model import Protocol
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lambdatrace.analysis.times import Window
    from lambdatrace.model import DestinationFigures, Execution

# A sparkline's cells.
CELLS = 16
_PROTOCOLS = frozenset(Protocol)
_CONNECTIONS, _ERRORS, _BYTES_OUT, _BYTES_IN, _TIME, _REUSED, _REQUESTS = range(len(NUMBERS))
# From so many connect, wait, tls and dns times on a summary keeps only as many, evenly
# spaced (model.py).
_MOST_TIMES = (32, 8, 8, 8)
_BY_EXECUTION = (True,) * len(_MOST_TIMES)
_US = 1_000
# What a row means of which so much is missing.
_LENGTH = 11
_LATER: dict[int, list[Any]] = {n: [0, 0, [], [], []][5 - n :] for n in range(6)}
# So many executions are added up at once, and so many of which there are glances.
_BATCH = 1_000
_GLANCES = 50_000


class By(StrEnum):
    """What is taken together."""

    HOST = "host"  # or address, where no name is known; port and protocol
    ADDRESS = "address"  # port and protocol
    PORT = "port"  # protocol
    FUNCTION = "function"


class Quantiles(Value):
    """Times that so many of all did not exceed, ns; None: there were none."""

    p50: int | None
    p95: int | None
    p99: int | None


class DestinationRow(Value):
    """What all executions of a window did with one destination."""

    function: str | None  # of the four that follow, what was not asked for is None
    host: str | None
    address: str | None  # of several, the one with the most connections
    port: int | None
    protocol: Protocol | None
    addresses: int
    executions: int
    connections: int
    reused: int
    requests: int | None  # None, as the time: none of its connections' exchanges were seen
    errors: int | None  # None: not seen, as the time
    bytes_out: int
    bytes_in: int
    dns: Quantiles
    connect: Quantiles
    tls: Quantiles
    wait: Quantiles
    time_ns: int | None
    share: float | None  # of all destinations' time, 0 to 1
    change: float | None  # of the time an execution took here; None: not there before
    cells: tuple[int, ...]  # time (ns) in each of CELLS equal stretches of the window

    @property
    def reuse_ratio(self) -> float | None:
        """How many of its connections had been opened before, 0 to 1; None: there were none."""
        return self.reused / self.connections if self.connections else None


Key = tuple[Any, ...]  # function, host, address, port, protocol
# Two parts of a row's JSON without its brackets: host to protocol, and the figures.
StoredRow = tuple[bytes, bytes]
_WRONG = (TypeError, ValueError, OverflowError, LookupError, RecursionError)


class _Place:
    """All rows of one host, address, port, protocol (and function), added up.

    `waiting` are rows that have not been yet, and so may be in `shapes`: many at once take a
    fraction of the time.
    """

    __slots__ = ("cells", "group", "shapes", "sums", "times", "waiting")

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.sums = [0] * len(NUMBERS)
        self.times = [Times() for _ in TIMES]
        self.cells = [0] * CELLS
        self.waiting: list[bytes] = []
        self.shapes: list[Shape] = []

    def add_up(self, cell: int) -> None:
        """Take in what waits in `waiting`, all of it of one cell; all or nothing.

        Raises one of _WRONG for what is not as it should be.
        """
        texts, self.waiting = self.waiting, []
        rows = json.loads(b"[[%b]]" % b"],[".join(texts))
        if len(rows) != len(texts):
            raise ValueError(texts)
        for row in rows:
            row += _LATER[_LENGTH - len(row)]
        columns = list(zip(*rows, strict=True))
        # An array takes whole numbers from 0 on and nothing else.
        numbers = [array("Q", columns[place]) for place in NUMBERS]
        self._take(cell, numbers, [columns[place] for place in TIMES], _BY_EXECUTION)

    def add_up_shapes(self, cell: int) -> None:
        """Take in what waits in `shapes`, all of it of one cell."""
        for shape in self.shapes:
            if shape.waiting:
                by_execution = shape.has_as_many(_MOST_TIMES)
                self._take(cell, *shape.take(_MOST_TIMES), by_execution)

    def _take(
        self,
        cell: int,
        numbers: Sequence[array[int]],
        times_of_all: Sequence[Sequence[Sequence[int]]],
        by_execution: Sequence[bool],
    ) -> None:
        connections, reused = numbers[_CONNECTIONS], numbers[_REUSED]
        made = [max(0, all_ - old) for all_, old in zip(connections, reused, strict=True)]
        # Where a kind's times are not by execution there are too few for any to be left out.
        all_counts = (made, numbers[_REQUESTS], made, None)
        counts = [
            known if is_known else None
            for known, is_known in zip(all_counts, by_execution, strict=True)
        ]
        batches = list(map(Batch, times_of_all, counts, _MOST_TIMES))
        for n, column in enumerate(numbers):
            self.sums[n] += sum(column)
        for times, batch in zip(self.times, batches, strict=True):
            times.take(batch)
        self.cells[cell] += sum(numbers[_TIME])


class _Group:
    """Places that are one row; counts its executions."""

    __slots__ = ("executions", "last", "places")

    def __init__(self) -> None:
        self.executions = 0
        self.last = -1
        self.places: list[tuple[Key, _Place]] = []


class Tally:
    """Adds executions up. `by` says what makes a row, `window` is what sparklines are over.

    `corrupt` counts rows whose figures were not what they should be.
    """

    def __init__(self, by: By, window: Window) -> None:
        self.corrupt = 0
        self.by = by
        self._since_ns = window.since_ns
        self._span_ns = window.until_ns - window.since_ns + 1
        self._groups: dict[Key, _Group] = {}
        # By function, where that makes a row, and host, address, port, protocol.
        self._places: dict[str | None, dict[Key, _Place]] = {}
        # The same by what is stored, in rows and in glances.
        self._by_text: dict[str | None, dict[bytes, _Place]] = {}
        self._by_shape: dict[str | None, dict[str, tuple[Shape, _Group | None]]] = {}
        self._executions = 0
        self._cell = 0

    def add(self, started_ns: int, function: str, rows: Iterable[Any]) -> None:
        """One execution with its destinations as they are stored (items.py)."""
        self.add_stored(started_ns, function, map(written_row, rows))

    def add_stored(self, started_ns: int, function: str, rows: Iterable[StoredRow]) -> None:
        """One execution with the JSON of its destinations, not looked at yet.

        Executions of one time after the other are added up soonest.
        """
        number = self._begun(started_ns, _BATCH)
        named = function if self.by is By.FUNCTION else None
        places = self._by_text.setdefault(named, {})
        for where, figures in rows:
            try:
                place = places.get(where) or self._stored_place(named, where)
            except _WRONG:
                self.corrupt += 1
                continue
            place.waiting.append(figures)
            group = place.group
            if group.last != number:
                group.last = number
                group.executions += 1

    def add_glance(self, started_ns: int, function: str, shapes: str, figures: bytes) -> None:
        """One execution with its destinations as a store has them at a glance (glance.py)."""
        number = self._begun(started_ns, _GLANCES)
        named = function if self.by is By.FUNCTION else None
        known = self._by_shape.setdefault(named, {})
        begin = 0
        for text in shapes.split("\n") if shapes else ():
            try:
                shape, group = known.get(text) or self._shape(named, text)
            except _WRONG:
                self.corrupt += 1
                return  # where the next one begins is not known
            end = begin + shape.size
            if group is not None and group.last != number:
                group.last = number
                group.executions += 1
            if group is None or end > len(figures):
                self.corrupt += 1
            else:
                shape.waiting.append(figures[begin:end])
            begin = end

    def _begun(self, started_ns: int, most: int) -> int:
        """The number of one more execution. What waits is of its cell, and of `most` others."""
        number = self._executions
        self._executions += 1
        cell = (started_ns - self._since_ns) * CELLS // self._span_ns
        if cell != self._cell or not number % most:
            self._add_up()
            self._cell = cell
        return number

    def _add_up(self) -> None:
        cell = min(CELLS - 1, max(0, self._cell))
        for place in self._all():
            place.add_up_shapes(cell)
            if place.waiting:
                rows = place.waiting
                try:
                    place.add_up(cell)
                except _WRONG:
                    # One of them, or more: each for itself.
                    for row in rows:
                        place.waiting = [row]
                        try:
                            place.add_up(cell)
                        except _WRONG:
                            self.corrupt += 1

    def _all(self) -> Iterator[_Place]:
        for places in self._places.values():
            yield from places.values()

    def _stored_place(self, function: str | None, text: bytes) -> _Place:
        """The place of which `text` is stored. Raises one of _WRONG if it cannot be one."""
        key = tuple(json.loads(b"[%b]" % text))
        place = self._places.get(function, {}).get(key) or self._place(function, key)
        self._by_text[function][text] = place
        return place

    def _shape(self, function: str | None, text: str) -> tuple[Shape, _Group | None]:
        """What a shape says, and the group it goes to: none if that cannot be.

        Raises one of _WRONG for what is no shape.
        """
        shape, group = Shape(text), None
        try:
            self._by_text.setdefault(function, {})
            place = self._stored_place(function, shape.where)
        except _WRONG:
            pass
        else:
            place.shapes.append(shape)
            group = place.group
        found = self._by_shape[function][text] = (shape, group)
        return found

    def _place(self, function: str | None, key: Key) -> _Place:
        host, address, port, protocol = key
        texts = isinstance(address, str) and (host is None or isinstance(host, str))
        if not texts or type(port) is not int or not 0 <= port <= 65_535:
            raise ValueError(key)
        if protocol not in _PROTOCOLS:
            raise ValueError(key)
        wanted: Key = {
            By.HOST: (None, host or address, port, protocol),
            By.ADDRESS: (None, address, port, protocol),
            By.PORT: (None, None, port, protocol),
            By.FUNCTION: (function, None, None, None),
        }[self.by]
        group = self._groups.setdefault(wanted, _Group())
        place = self._places.setdefault(function, {})[key] = _Place(group)
        group.places.append(((function, *key), place))
        return place

    def portable(self) -> list[Any]:
        """Everything it knows, in types that `marshal` takes."""
        self._add_up()
        groups = [
            [
                group.executions,
                [
                    [key, place.sums, place.cells, [times.portable() for times in place.times]]
                    for key, place in group.places
                ],
            ]
            for group in self._groups.values()
        ]
        return [self.corrupt, groups]

    def merge(self, portable: list[Any]) -> None:
        """Add what another tally of other executions knows."""
        corrupt, groups = portable
        self.corrupt += corrupt
        for executions, places in groups:
            for key, sums, cells, times in places:
                function, *where = key
                known = self._places.get(function, {}).get(tuple(where))
                place = known or self._place(function, tuple(where))
                place.sums = _added(place.sums, sums)
                place.cells = _added(place.cells, cells)
                for mine, others in zip(place.times, times, strict=True):
                    mine.merge(others)
            place.group.executions += executions

    def rows(self, before: Tally | None = None) -> list[DestinationRow]:
        """One row for each group, that with the most time first; `before`: the window before."""
        self._add_up()
        then = {} if before is None else before.time_per_execution()
        total = sum(place.sums[_TIME] for place in self._all())
        found = [
            _row(self.by, key, group, total, then.get(key)) for key, group in self._groups.items()
        ]
        return sorted(found, key=_order)

    def time_per_execution(self) -> dict[Key, float]:
        """Time (ns) that an execution took in each group, of those that were there."""
        self._add_up()
        return {
            key: sum(place.sums[_TIME] for _, place in group.places) / group.executions
            for key, group in self._groups.items()
        }


def _order(row: DestinationRow) -> tuple[Any, ...]:
    # All that tells two rows apart: what comes first must not depend on who was read first.
    names = (row.host or row.address or "", row.function or "", row.address or "")
    return -(row.time_ns or 0), *names, row.port or 0, row.protocol or ""


def _added(mine: Iterable[int], others: Iterable[int]) -> list[int]:
    return [a + b for a, b in zip(mine, others, strict=True)]


def stored_row(figures: DestinationFigures) -> list[Any]:
    """A destination as it is stored (items.py)."""
    later = (figures.wait_ns, figures.tls_ns, figures.dns_ns)
    return [
        figures.host, figures.address, figures.port, str(figures.protocol), figures.connections,
        figures.errors, figures.bytes_out, figures.bytes_in, figures.time_ns,
        list(figures.connect_ns), figures.reused, figures.requests,
        *([ns // _US for ns in times] for times in later),
    ]  # fmt: skip


def written_row(row: Any) -> StoredRow:
    """A destination as it is stored, as JSON."""
    if not isinstance(row, list):
        return b"", b""
    where, figures = (
        json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        for part in (row[:KEY], row[KEY:])
    )
    return where[1:-1], figures[1:-1]


def add_executions(tally: Tally, executions: Iterable[Execution]) -> None:
    """Add executions that have been read and checked."""
    for one in executions:
        rows = [stored_row(figures) for figures in one.destinations]
        tally.add(one.started_at_ns, one.function, rows)


def _row(by: By, key: Key, group: _Group, total: int, before: float | None) -> DestinationRow:
    places = [place for _, place in group.places]
    sums = [sum(each) for each in zip(*(place.sums for place in places), strict=True)]
    by_address: dict[str, int] = {}
    for (_, _, address, _, _), place in group.places:
        by_address[address] = by_address.get(address, 0) + place.sums[_CONNECTIONS]
    hosts = {host for (_, host, _, _, _), _ in group.places}
    function, _, port, protocol = key
    # A TCP connection takes some time always.
    is_seen = bool(sums[_TIME]) or protocol == Protocol.UDP
    time_ns = sums[_TIME] if is_seen else None
    has_address = by in (By.HOST, By.ADDRESS)
    connect, wait, tls, dns = (
        Quantiles(*Times.quantiles([place.times[n] for place in places], (50, 95, 99), unit_ns))
        for n, unit_ns in enumerate((1, _US, _US, _US))
    )
    return DestinationRow(
        function=function,
        # An address may have been looked up under several names.
        host=hosts.pop() if has_address and len(hosts) == 1 else None,
        address=min(by_address, key=lambda each: (-by_address[each], each))
        if has_address
        else None,
        port=port,
        protocol=None if protocol is None else Protocol(protocol),
        addresses=len(by_address),
        executions=group.executions,
        connections=sums[_CONNECTIONS],
        reused=sums[_REUSED],
        requests=sums[_REQUESTS] if is_seen else None,
        errors=sums[_ERRORS] if is_seen or sums[_ERRORS] else None,
        bytes_out=sums[_BYTES_OUT],
        bytes_in=sums[_BYTES_IN],
        dns=dns,
        connect=connect,
        tls=tls,
        wait=wait,
        time_ns=time_ns,
        share=None if time_ns is None else time_ns / total if total else 0.0,
        change=time_ns / group.executions / before - 1 if before and time_ns is not None else None,
        cells=tuple(map(sum, zip(*(place.cells for place in places), strict=True))),
    )
