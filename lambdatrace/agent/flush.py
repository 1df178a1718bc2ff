"""When finished executions are written: a decision from what waits and what writing has cost.

Pure: no clock, no I/O. Times are seconds; `now` is the wall clock's, because an environment is
frozen between invocations and only that clock goes on.

    end       after every execution
    periodic  when the oldest one that waits is as old as the period
    adaptive  when the time for it has been earned

Time for writing is earned in two ways: a share of the function's own time, so that a busy function
is never held up for longer than that, and a smaller share of all time, so that a function that is
seldom called has every execution written at once. What writing costs is learned from what it did
cost. Bounds on what waits come before the budget, and so do failures: both are written at once.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

END: Final = "end"
PERIODIC: Final = "periodic"
ADAPTIVE: Final = "adaptive"
DEFAULT_PERIOD_S = 10
MAX_PERIOD_S = 3600

# Decided, not measured: what an owner should not have to think about. 5 % is what a busy function
# pays at most, 1 % of all time lets an execution a second be written at once at 10 ms each.
OWN_SHARE = 0.05
IDLE_SHARE = 0.01
# After a quiet hour not everything that was earned is spent in one go.
MAX_CREDIT_S = 0.5
# A write that took much longer than it should is not paid off for ever.
MAX_DEBT_S = 5.0
# Bounds on what waits. Bytes of bodies: beside a function of 128 MB. Age: how much a killed
# environment may cost, and how old the newest trace may be while the function is called.
MAX_EXECUTIONS = 100
MAX_BYTES = 512 * 1024
MAX_AGE_S = 60.0
# BatchWriteItem's documented limit: so many items cost one request.
BATCH_ITEMS = 25
# How much the latest write counts in what is expected of the next.
_LEARNING = 0.25


def read(text: str) -> tuple[str, int, str]:
    """(mode, period in s, what is wrong or "") for a value of LAMBDATRACE_FLUSH."""
    mode, colon, period = text.partition(":")
    if mode in (END, PERIODIC, ADAPTIVE) and not colon:
        return mode, DEFAULT_PERIOD_S, ""
    number = int(period) if period.isascii() and period.isdigit() and len(period) < 10 else 0
    if mode == PERIODIC and 1 <= number <= MAX_PERIOD_S:
        return mode, number, ""
    wrong = (
        f"LAMBDATRACE_FLUSH={text!r} is not end, periodic, periodic:SECONDS (1 to {MAX_PERIOD_S}) "
        "or adaptive: taking adaptive"
    )
    return ADAPTIVE, DEFAULT_PERIOD_S, wrong if text else ""


class Waiting:
    """What waits to be written: executions, items, bytes of their bodies, when the oldest came."""

    __slots__ = ("executions", "items", "oldest", "size")

    def __init__(
        self, executions: int = 0, items: int = 0, size: int = 0, oldest: float = 0.0
    ) -> None:
        self.executions = executions
        self.items = items
        self.size = size
        self.oldest = oldest


class FlushPolicy:
    """The state of one environment's decisions."""

    def __init__(self, mode: str = ADAPTIVE, period_s: float = DEFAULT_PERIOD_S) -> None:
        self._mode = mode
        self._max_age = float(period_s) if mode == PERIODIC else MAX_AGE_S
        self._batch_s = 0.0  # what one request is expected to take; nothing is known yet
        # The first execution of an environment is written at once: somebody may be looking.
        self._credit = MAX_CREDIT_S
        self._seen: float | None = None  # until when idle time has been earned

    def finished(self, duration_s: float, now: float) -> None:
        """An execution has ended that took `duration_s`."""
        self._earn(now)
        self._credit = min(MAX_CREDIT_S, self._credit + OWN_SHARE * max(0.0, duration_s))

    def flushed(self, took_s: float, items: int) -> None:
        """Writing so many items took `took_s`, whether it went well or not."""
        self._credit = max(-MAX_DEBT_S, self._credit - took_s)
        each = took_s / _batches(items)
        self._batch_s += (each - self._batch_s) * (_LEARNING if self._batch_s else 1.0)

    def is_due(self, waiting: Waiting, now: float) -> bool:
        """Whether what waits is to be written now."""
        if not waiting.executions:
            return False
        return self._mode == END or self.due_in(waiting, now) <= 0

    def due_in(self, waiting: Waiting, now: float) -> float:
        """Seconds until what waits is to be written, if nothing else happens until then."""
        if waiting.executions >= MAX_EXECUTIONS or waiting.size >= MAX_BYTES:
            return 0.0
        # A clock that was set back makes nothing older; it must not make it wait for hours.
        age = now - waiting.oldest
        left = self._max_age - age if age >= 0 else 0.0
        if self._mode == ADAPTIVE:
            self._earn(now)
            # Not more than can be had at all, or it would be left to the bounds.
            expected = min(self._batch_s * _batches(waiting.items), MAX_CREDIT_S)
            left = min(left, (expected - self._credit) / IDLE_SHARE)
        return max(0.0, left)

    def _earn(self, now: float) -> None:
        if self._seen is not None:
            self._credit += IDLE_SHARE * max(0.0, now - self._seen)
            self._credit = min(MAX_CREDIT_S, self._credit)
        self._seen = now


def _batches(items: int) -> int:
    return max(1, -(-items // BATCH_ITEMS))
