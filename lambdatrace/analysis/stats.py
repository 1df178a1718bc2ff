"""How long the executions of a window took, and each part of them.

In plain Python: 100,000 executions are sorted before pandas would have been loaded.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from lambdatrace.analysis.quantiles import nearest_rank
from lambdatrace.analysis.slo import TOTAL
from lambdatrace.glance import UNKNOWN
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.analysis.taken import Taken

# Where the longest is so many times the median, steps grow: or most would be in the first one.
_WIDE = 5


class Distribution(Value):
    """Times of many executions, ns; None: not known of any."""

    name: str  # total, or a part
    count: int  # executions of which it is known
    share: float | None  # of the time of these executions, 0 to 1
    p50: int | None
    p90: int | None
    p95: int | None
    p99: int | None
    max: int | None


class Bin(Value):
    """So many took from `from_ns` up to, but not including, `to_ns`."""

    from_ns: int
    to_ns: int
    count: int


def distributions(taken: Taken) -> list[Distribution]:
    """Of the durations, then of each part."""
    totals = taken.columns[TOTAL]
    return [_distribution(name, column, totals) for name, column in taken.columns.items()]


def _distribution(name: str, times: Sequence[int], totals: Sequence[int]) -> Distribution:
    """Of `times` (ns or UNKNOWN), each of an execution that took so long in all."""
    whole, values = sum(totals), sorted(times)
    if values and values[0] == UNKNOWN:
        whole = sum(all_ for all_, ns in zip(totals, times, strict=True) if ns != UNKNOWN)
        values = values[bisect_right(values, UNKNOWN) :]
    p50, p90, p95, p99, most = (nearest_rank(values, n) for n in (50, 90, 95, 99, 100))
    share = sum(values) / whole if whole else None
    return Distribution(name, len(values), share, p50, p90, p95, p99, most)


def histogram(values: Sequence[int], bins: int = 12) -> list[Bin]:
    """The values (ns) in at most `bins` bins: of one width, or growing where they differ much."""
    if not values:
        return []
    ordered = sorted(values)
    least, most = ordered[0], ordered[-1]
    if most > _WIDE * max(ordered[len(ordered) // 2], 1):
        low = max(least, 1)
        ratio = (most + 1) / low
        edges = [round(low * ratio ** (n / bins)) for n in range(bins + 1)]
        edges[0] = least
    else:
        edges = [least + (most + 1 - least) * n // bins for n in range(bins + 1)]
    edges[-1] = most + 1
    # Where there are fewer nanoseconds than bins.
    edges = sorted(set(edges))
    counts = [0] * (len(edges) - 1)
    at = 0
    for value in ordered:
        while value >= edges[at + 1]:
            at += 1
        counts[at] += 1
    return [Bin(edges[n], edges[n + 1], count) for n, count in enumerate(counts)]
