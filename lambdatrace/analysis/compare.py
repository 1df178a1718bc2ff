"""What two executions, or two groups of them, did differently: part by part, place by place."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lambdatrace.errors import NotFoundError
from lambdatrace.model import Part, Protocol
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambdatrace.model import Execution

T = TypeVar("T")
# The usual ones: those between these shares of all, by duration.
_USUAL = (0.40, 0.60)
_SLOW = 0.99
MIN_EXECUTIONS = 10

Place = tuple[str, int, Protocol]  # host or address, port


class PlaceFigures(Value):
    """What an execution did at one place; of several executions the mean."""

    time_ns: int
    connections: float
    requests: float
    errors: float | None  # None: not seen
    longest_wait_ns: int | None


class Side(Value):
    """An execution, or the mean of several."""

    execution_id: str | None
    executions: int
    duration_ns: int
    parts: dict[Part, int | None]  # ns; None: not known
    places: dict[Place, PlaceFigures]


class PartRow(Value):
    """One part on both sides, ns."""

    part: Part
    a_ns: int | None
    b_ns: int | None

    @property
    def difference_ns(self) -> int | None:
        """How much more it is on the second side; None where one is not known."""
        return None if self.a_ns is None or self.b_ns is None else self.b_ns - self.a_ns


class PlaceRow(Value):
    """One place on both sides; None where it was not there."""

    host: str
    port: int
    protocol: Protocol
    a: PlaceFigures | None
    b: PlaceFigures | None

    @property
    def difference_ns(self) -> int:
        """How much more time it took on the second side."""
        return (self.b.time_ns if self.b else 0) - (self.a.time_ns if self.a else 0)


class Comparison(Value):
    """Two sides, and their rows with the largest difference first."""

    a: Side
    b: Side
    parts: tuple[PartRow, ...]
    places: tuple[PlaceRow, ...]


def compare(a: Sequence[Execution], b: Sequence[Execution]) -> Comparison:
    """What `b` did differently from `a`; each at least one execution."""
    first, second = _side(a), _side(b)
    parts = [PartRow(part, first.parts[part], second.parts[part]) for part in Part]
    places = [
        PlaceRow(*place, first.places.get(place), second.places.get(place))
        for place in {**first.places, **second.places}
    ]
    return Comparison(
        first,
        second,
        tuple(sorted(parts, key=lambda row: -abs(row.difference_ns or 0))),
        tuple(sorted(places, key=lambda row: -abs(row.difference_ns))),
    )


def usual_and_slow(
    executions: Sequence[T], duration_ns: Callable[[T], int]
) -> tuple[list[T], list[T]]:
    """(the fifth in the middle by duration, those that took longer than 99 % or as long).

    `executions` are whatever stands for one, as `duration_ns` tells. Raises NotFoundError where
    there are too few to tell one from the other.
    """
    if len(executions) < MIN_EXECUTIONS:
        raise NotFoundError(
            f"{len(executions)} executions are too few to tell slow ones from usual ones",
            f"at least {MIN_EXECUTIONS}: widen the window with --since, as in --since 7d",
        )
    ordered = sorted(executions, key=duration_ns)
    count = len(ordered)
    begin, end = (int(share * count) for share in _USUAL)
    return ordered[begin:end], ordered[min(count - 1, int(_SLOW * count)) :]


def _side(executions: Sequence[Execution]) -> Side:
    count = len(executions)
    single = executions[0].execution_id if count == 1 else None
    parts: dict[Part, int | None] = {}
    for part in Part:
        values = [
            value
            for one in executions
            if one.partition is not None and (value := one.partition.of(part)) is not None
        ]
        parts[part] = round(sum(values) / len(values)) if values else None
    return Side(
        single,
        count,
        round(sum(one.duration_ns for one in executions) / count),
        parts,
        _places(executions),
    )


def _places(executions: Sequence[Execution]) -> dict[Place, PlaceFigures]:
    count = len(executions)
    # time, connections, requests, errors
    sums: dict[Place, list[int]] = {}
    longest: dict[Place, list[int]] = {}
    for execution in executions:
        waits: dict[Place, int] = {}
        for each in execution.destinations:
            place = (each.host or each.address, each.port, each.protocol)
            row = sums.setdefault(place, [0, 0, 0, 0])
            for n, value in enumerate((each.time_ns, each.connections, each.requests, each.errors)):
                row[n] += value
            if each.wait_ns:
                waits[place] = max(waits.get(place, 0), each.wait_ns[-1])
        for place, wait in waits.items():
            longest.setdefault(place, []).append(wait)
    return {
        place: PlaceFigures(
            time_ns=round(time_ns / count),
            connections=connections / count,
            requests=requests / count,
            # A TCP connection takes some time always.
            errors=errors / count if time_ns or errors or place[2] is Protocol.UDP else None,
            longest_wait_ns=(
                round(sum(longest[place]) / len(longest[place])) if place in longest else None
            ),
        )
        for place, (time_ns, connections, requests, errors) in sums.items()
    }
