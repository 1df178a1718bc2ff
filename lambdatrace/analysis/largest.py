"""What most of an execution's time went into, as its partition says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.model import Part
from lambdatrace.values import Value

if TYPE_CHECKING:
    from lambdatrace.model import Execution


class Largest(Value):
    """The largest part of an execution, with what most of that part went into, if it is known."""

    part: Part
    subject: str | None
    ns: int


def largest(execution: Execution) -> Largest | None:
    """The largest part; None where the partition is not known, or all of it is 0."""
    partition = execution.partition
    if partition is None:
        return None
    part = max(Part, key=lambda each: partition.of(each) or 0)
    ns = partition.of(part)
    if not ns:
        return None
    # They come with the largest first.
    subject = next((each.subject for each in execution.shares if each.part is part), None)
    return Largest(part, subject, ns)
