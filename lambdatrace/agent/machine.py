"""What the machine tells of itself: time it ran, time stolen from it, pages that had to be read."""

from __future__ import annotations

import os
import time

# The unit of /proc/stat, USER_HZ.
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_STEAL = 8  # of the words of the line "cpu", proc(5)
_BUSY = (1, 2, 3, 6, 7)  # user, nice, system, irq, softirq; what is stolen is not among it
_MAJOR_FAULTS = b"pgmajfault "
# Of clock_getcpuclockid(3): a process's clock has its id, inverted, above these bits
# (CPUCLOCK_SCHED, linux/posix-timers.h).
_CPUCLOCK_SCHED = 2


class Machine:
    """All since the look before; a tick is 10 ms long."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._before = self._read()

    def since(self, *, peek: bool = False) -> tuple[int | None, int | None, int | None]:
        """(steal, ns; what all CPUs ran, ns; major faults) since the last call.

        None where this machine does not tell. With `peek` the next call begins where this one did.
        """
        before, now = self._before, self._read()
        if not peek:
            self._before = now
        steal, busy, faults = (
            None if then is None or later is None else max(0, later - then)
            for then, later in zip(before, now, strict=True)
        )
        return steal, busy, faults

    def _read(self) -> tuple[int | None, int | None, int | None]:
        words = content(f"{self._proc}/stat").split(b"\n", 1)[0].split()
        steal = busy = None
        if len(words) > _STEAL:
            steal = int(words[_STEAL]) * _TICK_NS
            busy = sum(int(words[place]) for place in _BUSY) * _TICK_NS
        _, found, rest = content(f"{self._proc}/vmstat").partition(_MAJOR_FAULTS)
        return steal, busy, int(rest.split(None, 1)[0]) if found else None


def stolen(cpu: int, steal: int | None, busy: int | None) -> int | None:
    """How much of `cpu` (ns) that some threads ran was stolen from them; None: nobody tells.

    The host takes from whoever runs, so theirs is the part of it that their share of all that ran
    was. What is stolen counts as running for them, but not in `busy`.
    """
    if steal is None or busy is None:
        return None
    return min(steal, cpu * steal // max(1, steal + busy))


def process_cpu(process_id: int) -> int | None:
    """CPU time (ns) of all threads of a process so far; None: it is gone, or cannot be asked."""
    try:
        return time.clock_gettime_ns(~process_id << 3 | _CPUCLOCK_SCHED)
    except (OSError, OverflowError):
        return None


def content(path: str) -> bytes:
    """What stands in a file of /proc; empty where it is not there, or not for this user."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
