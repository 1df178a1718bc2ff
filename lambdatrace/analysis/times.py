"""Moments and windows as people type them: `90s 15m 1h 2d`, or RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from lambdatrace.errors import UsageError
from lambdatrace.values import Value

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MOST_DIGITS = 9
# Compiled when there is something to look for: it takes longer than a module.
_RFC_3339 = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HINT = "say how long ago, as in 90s, 15m, 1h or 2d, or when, as in 2026-11-22T07:00:00Z"


class Window(Value):
    """A stretch of time, both ends included, ns since the epoch."""

    since_ns: int
    until_ns: int


def parse_moment(text: str, now_ns: int) -> int:
    """The moment `text` names, in ns since the epoch: before `now_ns`, or absolute.

    Raises UsageError.
    """
    count, unit = text.strip()[:-1], text.strip()[-1:]
    if unit in _UNITS_S and count.isascii() and count.isdecimal() and len(count) <= _MOST_DIGITS:
        return max(0, now_ns - int(count) * _UNITS_S[unit] * 1_000_000_000)
    absolute = re.fullmatch(_RFC_3339, text.strip())
    if not absolute:
        raise UsageError(f"{text!r} is neither a duration nor a time", _HINT)
    date, clock, fraction, zone = absolute.groups()
    try:
        # The fraction is put on by hand: datetime would cut it to microseconds.
        moment = datetime.fromisoformat(f"{date}T{clock}{zone.upper().replace('Z', '+00:00')}")
        passed = moment - _EPOCH
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a time that exists", _HINT) from error
    seconds = passed.days * 86_400 + passed.seconds
    return max(0, seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0")))


def parse_window(since: str, until: str | None, now_ns: int) -> Window:
    """The window from `since` to `until` (None: now). Raises UsageError."""
    window = Window(parse_moment(since, now_ns), parse_moment(until, now_ns) if until else now_ns)
    if window.since_ns > window.until_ns:
        end = f"--until {until!r}" if until else "now"
        raise UsageError(f"--since {since!r} is later than {end}", "swap them")
    return window


def rfc_3339(moment_ns: int) -> str:
    """A moment (ns since the epoch, before the year 10000) as RFC 3339 in UTC, to the ns."""
    seconds, rest = divmod(moment_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
