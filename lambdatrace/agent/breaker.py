"""Whether the store is worth trying: after failures only every so often, and then only briefly.

Pure: no clock, no I/O. Times are seconds; `now` is the wall clock's, as in flush.py.
"""

from __future__ import annotations

# Decided. One failure may be a moment's; what follows on two of them is spooled at once, and the
# store is asked again after 1, 2, 4 … 60 s, for as long as a TLS handshake on a slow CPU takes.
FAILURES = 2
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0
TRIAL_S = 0.5


class Breaker:
    """What is known of the store's health."""

    def __init__(self) -> None:
        self._failures = 0
        self._again_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the store is held to be down."""
        return self._failures >= FAILURES

    def allows(self, now: float) -> bool:
        """Whether to try the store now."""
        # A clock that was set back must not make the pause longer than a pause can be.
        return not self.is_open or not now < self._again_at <= now + MAX_PAUSE_S

    def budget(self, longest: float) -> float:
        """How long to try, where there would be time for `longest`."""
        return min(longest, TRIAL_S) if self.is_open else longest

    def succeeded(self) -> None:
        """The store took something."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """The store took nothing."""
        self._failures += 1
        if self.is_open:
            pause = FIRST_PAUSE_S * 2.0 ** min(self._failures - FAILURES, 10)
            self._again_at = now + min(pause, MAX_PAUSE_S)
