"""Quantiles of times that were measured, not of something between two of them."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# From so many on numpy, which takes a while to load, sorts them sooner.
_MANY = 100_000


def nearest_rank(ordered: Sequence[int], percent: int) -> int | None:
    """The smallest of sorted values that `percent` of all do not exceed; None: there are none."""
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


class Batch:
    """Times of some executions, checked: lists of `values`, of `counts` in all each.

    Of an execution with many some were kept, evenly spaced; `most` is how many those are. Each then
    stands for as many as were left out around it. Raises TypeError or OverflowError.
    """

    __slots__ = ("thinned", "values")

    def __init__(
        self, values: Sequence[Sequence[int]], counts: Sequence[int] | None, most: int
    ) -> None:
        self.thinned: list[tuple[float, array[int]]] = []
        if counts is not None and max(map(len, values), default=0) == most:
            rest = []
            for each, count in zip(values, counts, strict=True):
                if len(each) == most < count:
                    self.thinned.append((count / most, array("Q", each)))
                else:
                    rest.append(each)
            values = rest
        self.values = array("Q", chain.from_iterable(values))


class Times:
    """Times of many executions."""

    __slots__ = ("_thinned", "_values")

    def __init__(self) -> None:
        self._values = array("Q")
        self._thinned: list[tuple[float, array[int]]] = []

    def take(self, batch: Batch) -> None:
        """Add those of some executions."""
        self._values.extend(batch.values)
        self._thinned += batch.thinned

    def portable(self) -> list[Any]:
        """What it knows, in types that `marshal` takes."""
        return [
            self._values.tobytes(),
            [(weight, values.tobytes()) for weight, values in self._thinned],
        ]

    def merge(self, portable: list[Any]) -> None:
        """Add what another one knows."""
        values, thinned = portable
        self._values.frombytes(values)
        self._thinned += [(weight, array("Q", each)) for weight, each in thinned]

    @staticmethod
    def quantiles(
        parts: Iterable[Times], percents: Sequence[int], unit_ns: int = 1
    ) -> list[int | None]:
        """What so many per cent of all of them do not exceed, in ns; None: there are none."""
        parts = list(parts)
        thinned = [each for part in parts for each in part._thinned]
        count = sum(len(part._values) for part in parts)
        if thinned:
            found = _weighted([(1.0, part._values) for part in parts] + thinned, percents)
        elif count < _MANY:
            ordered = sorted(chain.from_iterable(part._values for part in parts))
            found = [nearest_rank(ordered, percent) for percent in percents]
        else:
            found = _selected([part._values for part in parts], count, percents)
        return [None if value is None else value * unit_ns for value in found]


def _selected(parts: Sequence[array[int]], count: int, percents: Sequence[int]) -> list[int | None]:
    import numpy as np

    values = np.concatenate([np.frombuffer(part, dtype=np.uint64) for part in parts if part])
    ranks = [-(-percent * count // 100) - 1 for percent in percents]
    values.partition(ranks)
    return [int(values[rank]) for rank in ranks]


def _weighted(
    parts: Sequence[tuple[float, array[int]]], percents: Sequence[int]
) -> list[int | None]:
    if sum(len(values) for _, values in parts) >= _MANY:
        return _weighted_many(parts, percents)
    ordered = sorted((value, weight) for weight, values in parts for value in values)
    total = sum(weight for _, weight in ordered)
    found: list[int | None] = []
    reached, at = 0.0, -1
    for percent in sorted(percents):
        # Sums of fractions may fall short of a whole by a rounding error.
        while reached < percent * total / 100 * (1 - 1e-9):
            at += 1
            reached += ordered[at][1]
        found.append(ordered[max(0, at)][0])
    return found


def _weighted_many(
    parts: Sequence[tuple[float, array[int]]], percents: Sequence[int]
) -> list[int | None]:
    import numpy as np

    values = np.concatenate([np.frombuffer(each, dtype=np.uint64) for _, each in parts if each])
    weights = np.repeat([weight for weight, _ in parts], [len(each) for _, each in parts])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = np.array(percents) * reached[-1] / 100 * (1 - 1e-9)
    places = np.minimum(np.searchsorted(reached, wanted), len(values) - 1)
    return [int(values[order[place]]) for place in places]
