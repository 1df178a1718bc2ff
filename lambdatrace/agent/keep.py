"""Which executions' events are kept: a decision by how each ended, how long it took, or its id.

Pure: no clock, no I/O. The summary of an execution is always written, and says what was decided.

    all     every execution's
    slow    those that took longer than 95 % of this environment's latest 100 that ended well; all
            while fewer than 20 are known; and those that failed
    errors  those that failed: error, timeout, crash, not seen to end
    1/N     those whose request id's CRC-32 is a multiple of N: every reader and every environment
            agrees on them, which random numbers would not (environments restored from one SnapStart
            snapshot would draw alike)
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ALL: Final = "all"
SLOW: Final = "slow"
ERRORS: Final = "errors"
MAX_ONE_IN = 1_000_000

# Decided: enough for a 95th percentile that one execution does not move, few enough to follow a
# function whose habits change within minutes.
RECENT = 100
FEW = 20
PERCENT = 95


class Keep:
    """What one environment's policy needs to remember. `policy`: all, slow, errors or 1/N."""

    def __init__(self, policy: str = ALL) -> None:
        self.policy = policy
        self._one_in = int(policy[2:]) if policy.startswith("1/") else 0
        self._recent: list[int] = []  # durations, ns, the latest last

    def decide(self, request_id: str, has_failed: bool, duration_ns: int) -> bool:
        """Whether the events of this execution are kept; remembers its duration."""
        if self.policy == ALL:
            return True
        if self._one_in:
            return zlib.crc32(request_id.encode("utf-8", "replace")) % self._one_in == 0
        if has_failed:
            return True  # its duration is that of a failure, and says nothing about the others
        if self.policy == ERRORS:
            return False
        threshold = self.threshold_ns()
        self._recent.append(duration_ns)
        del self._recent[:-RECENT]
        return threshold is None or duration_ns > threshold

    def threshold_ns(self) -> int | None:
        """What an execution has to exceed to be slow; None while too few are known."""
        known = len(self._recent)
        if known < FEW:
            return None
        rank = -(-known * PERCENT // 100)  # the nearest one, rounded up
        return sorted(self._recent)[rank - 1]


def read(text: str) -> tuple[str, str]:
    """(policy, what is wrong or "") for a value of LAMBDATRACE_KEEP."""
    if text in (ALL, SLOW, ERRORS):
        return text, ""
    one, _, number = text.partition("/")
    plain = number.isascii() and number.isdigit() and len(number) <= len(str(MAX_ONE_IN))
    if one == "1" and plain and 1 <= int(number) <= MAX_ONE_IN:
        return f"1/{int(number)}", ""
    wrong = f"LAMBDATRACE_KEEP={text!r} is not all, slow, errors or 1/N, as in 1/100: taking all"
    return ALL, wrong if text else ""
