"""The parts of an execution's time as rows: how long, which share, and what each went into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.model import Part
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lambdatrace.model import Execution, Partition, Pause

# Why an execution has no partition that was only looked at.
LOOKED_LATE = "the agent came too late to see how it began"
_WHOLE = 1_000  # permille


class PartRow(Value):
    """One part of an execution's time."""

    part: Part
    ns: int
    permille: int  # of the duration; those of all rows sum to 1000
    subjects: tuple[tuple[str, int], ...]  # what it went into, ns of each, the most first; not all


def part_rows(partition: Partition, execution: Execution, pauses: Iterable[Pause]) -> list[PartRow]:
    """The parts that are not 0, the largest first."""
    found = [(part, ns) for part in Part if (ns := partition.of(part))]
    found.sort(key=lambda row: -row[1])
    # A summary has no shares of what is told apart in no part; its pauses do.
    unnamed = [each for each in pauses if each.part is Part.OTHER]
    return [
        PartRow(part, ns, permille, _subjects(part, execution, unnamed))
        for (part, ns), permille in zip(found, _permille([ns for _, ns in found]), strict=True)
    ]


def unknown_parts(partition: Partition) -> list[Part]:
    """The parts of which it cannot be known how long they were."""
    return [part for part in Part if partition.of(part) is None]


def why_unknown(execution: Execution) -> str:
    """Why an execution has no partition, as far as that can be known."""
    if "cpu" in execution.unavailable:
        return f"group cpu could not be recorded: {execution.unavailable['cpu']}"
    if "cpu" not in execution.capture:
        return "group cpu was not recorded (--capture)"
    if execution.edges == "extension":
        return "its edges come from the Extensions API, which does not tell them exactly"
    if execution.edges == "looks":
        return LOOKED_LATE
    if execution.cpu is None:
        return "nothing was seen of its threads on a CPU"
    return "the agent that wrote it is an older one"


def _subjects(
    part: Part, execution: Execution, unnamed: Sequence[Pause]
) -> tuple[tuple[str, int], ...]:
    found = {each.subject: each.ns for each in execution.shares if each.part is part}
    for pause in unnamed:
        if part is pause.part and pause.subject:
            found[pause.subject] = found.get(pause.subject, 0) + pause.duration_ns
    return tuple(sorted(found.items(), key=lambda each: -each[1]))


def _permille(values: Sequence[int]) -> list[int]:
    """Shares that sum to 1000: rounded down, what is missing goes to the largest remainders."""
    total = sum(values)
    if not total:
        return [0] * len(values)
    shares = [value * _WHOLE // total for value in values]
    by_remainder = sorted(range(len(values)), key=lambda i: -(values[i] * _WHOLE % total))
    for place in by_remainder[: _WHOLE - sum(shares)]:
        shares[place] += 1
    return shares
