"""What a part of an execution went into, as its records tell it: finer causes, and who says so.

Nothing is concluded that no record carries: where none does, a cause is as coarse as its part. Each
finding is about one subject, the one that took the most of its part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import Finding
from lambdatrace.analysis.causes.calls import calling
from lambdatrace.analysis.causes.connections import setting_up
from lambdatrace.analysis.causes.exchanges import exchanging
from lambdatrace.analysis.causes.names import looking_up
from lambdatrace.analysis.causes.processor import computing, starved, stolen
from lambdatrace.analysis.causes.unseen import waiting
from lambdatrace.model import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.model import Trace

__all__ = ["Finding", "finding"]

_EXPLAINED: dict[Part, Callable[[Part, Trace, int], Finding]] = {
    Part.DNS: looking_up,
    Part.CONNECT: setting_up,
    Part.TLS: setting_up,
    Part.WAIT: exchanging,
    Part.TRANSFER: exchanging,
    Part.FILE: calling,
    Part.SLEEP: calling,
    Part.LOCK: calling,
    Part.CPU: computing,
    Part.RUNQUEUE: starved,
    Part.STEAL: stolen,
    Part.OTHER: calling,
}


def finding(part: Part, trace: Trace) -> Finding:
    """What `part` of an execution went into; of its partition, where that is known."""
    partition = trace.execution.partition
    ns = (partition.of(part) if partition is not None else None) or 0
    if part is Part.OTHER and partition is not None and partition.wait_ns is None:
        return waiting(part, trace, ns)
    return _EXPLAINED[part](part, trace, ns)
