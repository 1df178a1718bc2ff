"""Limits on what executions may take: `total=500,connect=100`, in ms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lambdatrace.errors import UsageError
from lambdatrace.model import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambdatrace.model import Execution

TOTAL = "total"
NAMES = (TOTAL, *Part)
# Compiled when there are limits.
_LIMIT = r"\s*([a-z]+)\s*=\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*"
_MS = 1_000_000


def parse_slo(text: str | None, names: Iterable[str] = NAMES) -> dict[str, int]:
    """The limits (ns) that `text` spells, by name; none without one. Raises UsageError."""
    limits: dict[str, int] = {}
    for part in [] if text is None else text.split(","):
        match = re.fullmatch(_LIMIT, part)
        if match is None or match[1] not in names or match[1] in limits:
            raise UsageError(
                f"--slo: {part.strip()!r} is not a limit, or there twice",
                f"a limit is a name and ms, as in total=500; the names are {', '.join(names)}",
            )
        limits[match[1]] = round(float(match[2]) * _MS)
    return limits


def taken_ns(execution: Execution) -> dict[str, int | None]:
    """What an execution took in all and in each part, ns; None: not known."""
    partition = execution.partition
    parts = {str(part): None if partition is None else partition.of(part) for part in Part}
    return {TOTAL: execution.duration_ns, **parts}


def broken(limits: Mapping[str, int], taken: Mapping[str, int | None]) -> list[str]:
    """The names of the limits that are exceeded. What is not known breaks none."""
    return [name for name, most in limits.items() if (taken.get(name) or 0) > most]
