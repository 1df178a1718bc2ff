"""What the CPU had to do with it: computing, or not being let to."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import ITSELF, Finding, references
from lambdatrace.analysis.words import counted, duration_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.model import Part, Pause, Trace

# What is said of the waits for a CPU is true of so much of their time.
_MOSTLY = 0.6
# A CPU limit is renewed at the beginning of each period, and whoever has used it up waits until
# then: give or take so much of a period for what else wakes up at that moment, and with others that
# want the CPU as well. Of fewer waits nobody can tell.
_JITTER = 0.1
_REGULAR = 0.7
_FEWEST = 3
# Neighbours that take turns make a function wait regularly, too, but leave no CPU idle. Where the
# machine is so busy that none ever is, only Linux' own period tells: the default of cpu.max and
# cpu.cfs_period_us, ns; a turn of all neighbours takes as long with some 25 of them.
_USUAL_PERIOD_NS = 100_000_000
_USUAL_WITHIN = 0.05
# Shares from here on were computed by several threads at a time.
_PARALLEL = 1.1


def computing(part: Part, trace: Trace, ns: int) -> Finding:
    """The function's own computing."""
    cpu = trace.execution.cpu
    words = ""
    if cpu is not None and cpu.cpu_ns > _PARALLEL * cpu.cpu_wall_ns:
        words = f"its threads took {duration_words(cpu.cpu_ns)} of CPU together"
    return Finding(part, f"{part}.own", None, ns, words, ITSELF)


def stolen(part: Part, trace: Trace, ns: int) -> Finding:
    """CPU time that the machine's own host gave to others."""
    return Finding(part, part, None, ns, "the machine's host gave its CPUs to others", ITSELF)


def starved(part: Part, trace: Trace, ns: int) -> Finding:
    """Time in which it could have run and did not: by its own limit, or for others."""
    pauses = [each for each in trace.pauses if each.part is part]
    pauses.sort(key=lambda each: -each.duration_ns)
    evidence = (*ITSELF, *references("pause", trace.pauses, pauses))
    # Shorter waits than are told one by one may be another matter.
    if _length(pauses) < _MOSTLY * ns or any(each.cpu_idle is None for each in pauses):
        return Finding(part, part, None, ns, "", evidence)
    times = f"{counted(len(pauses), 'time')}, {duration_words(pauses[0].duration_ns)} at most"
    idle = [each for each in pauses if each.cpu_idle]
    period = _limited(pauses)
    if period is not None:
        memory = trace.execution.memory_mb
        advice = "raise its CPU limit" if memory is None else f"raise the memory ({memory} MB now)"
        words = (
            f"its CPU limit was used up, and renewed every {duration_words(period)} "
            f"({times}); {advice}"
        )
        return Finding(part, f"{part}.throttled", None, ns, words, evidence)
    if _length(idle) > (1 - _MOSTLY) * _length(pauses):
        return Finding(part, part, None, ns, f"it waited {times}", evidence)
    return Finding(part, f"{part}.neighbour", None, ns, f"others were on it ({times})", evidence)


def _length(pauses: Sequence[Pause]) -> int:
    return sum(each.duration_ns for each in pauses)


def _limited(pauses: Sequence[Pause]) -> int | None:
    """The period of the function's own CPU limit, ns; None: nothing tells that it waited for it."""
    # Between two of these others may have made it wait as well, for moments.
    longest = [each for each in pauses if 2 * each.duration_ns >= pauses[0].duration_ns]
    period = period_ns(longest)
    if period is None or 2 * _length(longest) < _length(pauses):
        return None
    is_idle = _length([each for each in longest if each.cpu_idle]) >= _MOSTLY * _length(longest)
    is_usual = abs(period - _USUAL_PERIOD_NS) <= _USUAL_WITHIN * _USUAL_PERIOD_NS
    return period if is_idle or is_usual else None


def period_ns(pauses: Sequence[Pause]) -> int | None:
    """The period at whose beginnings pauses end; None: they do not end regularly."""
    if len(pauses) < _FEWEST:
        return None
    ends = sorted(each.started_ns + each.duration_ns for each in pauses)
    steps = sorted(later - earlier for earlier, later in pairwise(ends))
    period = steps[(len(steps) - 1) // 2]
    if not period:
        return None
    regular = sum(abs(step / period - round(step / period)) <= _JITTER for step in steps)
    return period if regular >= _REGULAR * len(steps) else None
