"""Blocked syscalls taken together: what the threads of an execution waited in, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.model import Blocked, BlockedKind


@dataclass(frozen=True, slots=True)
class BlockedTotals:
    """All waits of one thread in one syscall on one file or descriptor."""

    op: str
    kind: BlockedKind
    fd: int | None
    path: str | None
    process_id: int
    thread_id: int
    count: int
    first_started_ns: int
    blocked_ns: int  # asleep, summed
    longest_ns: int  # asleep in the longest one


def blocked_totals(blocked: Iterable[Blocked]) -> tuple[BlockedTotals, ...]:
    """Blocked syscalls by thread, name and what they were called on, the most time first."""
    found: dict[tuple[str, int | None, str | None, int, int], list[Blocked]] = {}
    for each in blocked:
        # A path stands for its file, whichever descriptor that had.
        fd = each.fd if each.path is None else None
        key = (each.op, fd, each.path, each.process_id, each.thread_id)
        found.setdefault(key, []).append(each)
    totals = [
        BlockedTotals(
            op=op,
            kind=rows[0].kind,
            fd=fd,
            path=path,
            process_id=process,
            thread_id=thread,
            count=len(rows),
            first_started_ns=min(each.started_ns for each in rows),
            blocked_ns=sum(each.blocked_ns for each in rows),
            longest_ns=max(each.blocked_ns for each in rows),
        )
        for (op, fd, path, process, thread), rows in found.items()
    ]
    return tuple(sorted(totals, key=lambda row: (-row.blocked_ns, row.first_started_ns)))
