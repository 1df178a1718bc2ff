"""Which syscall was waited in: for files, for locks, asleep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import WITH_PATHS, Finding, coarse, references, subjects
from lambdatrace.analysis.words import counted, duration_words

if TYPE_CHECKING:
    from lambdatrace.model import Part, Trace

_FINER = {
    "page fault": "fault",
    **dict.fromkeys(("fdatasync", "msync", "sync", "syncfs", "sync_file_range"), "fsync"),
}


def calling(part: Part, trace: Trace, ns: int) -> Finding:
    """The finding about what most of Part.FILE, Part.LOCK, Part.SLEEP or Part.OTHER went into."""
    found = subjects(part, trace)
    if not found:
        return coarse(part, trace, ns)
    subject, spent = found[0]
    pauses = [each for each in trace.pauses if each.part is part and each.subject == subject]
    times: dict[str, int] = {}
    for pause in pauses:
        op = pause.op or "page fault"
        times[op] = times.get(op, 0) + pause.duration_ns
    if not times:
        return coarse(part, trace, ns)
    op = max(times, key=lambda each: times[each])
    calls = [each for each in trace.blocked if each.op == op and subject in (each.path, op)]
    calls.sort(key=lambda each: -each.blocked_ns)
    pauses.sort(key=lambda each: -each.duration_ns)
    has_path = part in WITH_PATHS and any(each.path == subject for each in calls)
    # As the rows that are named have it: a pause may be a piece of one, cut by another's.
    longest = duration_words(calls[0].blocked_ns if calls else pauses[0].duration_ns)
    words = f"{op} took {longest}"
    if len(calls) > 1:
        words = f"{counted(len(calls), 'call')} of {op}, {longest} at most"
    evidence = references("blocked", trace.blocked, calls)
    if not evidence:
        evidence = references("pause", trace.pauses, pauses)
    cause = _FINER.get(op, op).replace(" ", "_")
    return Finding(part, f"{part}.{cause}", subject if has_path else None, spent, words, evidence)
