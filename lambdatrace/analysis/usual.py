"""A function's usual figures: what its recent executions went into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.model import Part, Status
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambdatrace.model import Execution

FEWEST = 10  # fewer executions say nothing about what is usual
MOST = 100  # more of them say nothing more


class Usual(Value):
    """Medians over comparable executions; none where there are fewer than FEWEST."""

    executions: int = 0
    duration_ns: int | None = None
    parts: Mapping[Part, int] | None = None  # those known of all

    def part_ns(self, part: Part) -> int | None:
        """The median of one part, ns; None: not known."""
        return None if self.parts is None else self.parts.get(part)


def is_comparable(execution: Execution, other: Execution) -> bool:
    """Whether `other` says something about what is usual for `execution`."""
    return (
        other.function == execution.function
        and (other.execution_id, other.started_at_ns)
        != (execution.execution_id, execution.started_at_ns)
        and other.status is Status.OK
        and other.partition is not None
    )


def usual_figures(executions: Iterable[Execution]) -> Usual:
    """The usual figures of executions that are comparable (is_comparable)."""
    partitions = []
    durations = []
    for execution in executions:
        if execution.partition is not None:
            partitions.append(execution.partition)
            durations.append(execution.duration_ns)
    if len(partitions) < FEWEST:
        return Usual(len(partitions))
    parts = {}
    for part in Part:
        values = [ns for each in partitions if (ns := each.of(part)) is not None]
        if len(values) == len(partitions):
            parts[part] = _median(values)
    return Usual(len(partitions), _median(durations), parts)


def usual_by_function(executions: Iterable[Execution]) -> dict[str, Usual]:
    """The usual figures of each function among `executions`, by its name."""
    found: dict[str, list[Execution]] = {}
    for execution in executions:
        if execution.status is Status.OK:
            found.setdefault(execution.function, []).append(execution)
    return {function: usual_figures(own) for function, own in found.items()}


def _median(values: list[int]) -> int:
    # The module `statistics` takes longer to import than `show` may spend on this.
    return sorted(values)[(len(values) - 1) // 2]
