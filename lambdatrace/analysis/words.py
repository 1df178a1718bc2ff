"""Figures in words, for sentences and for views."""

from __future__ import annotations

_SECOND_NS = 1_000_000_000


def duration_words(ns: int) -> str:
    """A duration in words: `0.21 ms`, `12.3 ms`, `1.20 s`, `3 min 5 s`, `2 h 0 min`."""
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    for below, divisor, digits, unit in (
        (99_500, 1e6, 3, "ms"),
        (9_995_000, 1e6, 2, "ms"),
        (99_950_000, 1e6, 1, "ms"),
        (999_500_000, 1e6, 0, "ms"),
        (9_995_000_000, 1e9, 2, "s"),
        (59_950_000_000, 1e9, 1, "s"),
    ):
        if ns < below:
            return f"{sign}{ns / divisor:.{digits}f} {unit}" if ns else "0 ms"
    minutes, seconds = divmod(round(ns / _SECOND_NS), 60)
    if minutes < 60:
        return f"{sign}{minutes} min {seconds} s"
    return f"{sign}{minutes // 60} h {minutes % 60} min"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 error`, `2 errors`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: int, whole: int) -> str:
    """`12 %`; `100 %` only for all of it, and `< 1 %` for more than nothing."""
    if part <= 0 or whole <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    rounded = min(99, round(100 * part / whole))
    return f"{rounded} %" if rounded else "< 1 %"
