"""Why looking names up took its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import Finding, coarse, references, subjects
from lambdatrace.analysis.words import counted, duration_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from lambdatrace.model import Namelookup, Part, Trace


def looking_up(part: Part, trace: Trace, ns: int) -> Finding:
    """The finding about the name that most time went into, with all that a resolver made of it."""
    asked = asked_names(trace.namelookups)
    groups: dict[str, int] = {}
    for name, spent in subjects(part, trace):
        base = asked.get(name, name)
        groups[base] = groups.get(base, 0) + spent
    base = max(groups, key=lambda name: groups[name], default="")
    own = [each for each in trace.namelookups if asked[each.name] == base]
    if base not in groups or not own:
        return coarse(part, trace, ns)  # no record was kept, or it is a connection for DNS
    return of_name(part, base, own, trace, groups[base])


def of_name(
    part: Part, name: str, own: Sequence[Namelookup], trace: Trace, ns: int | None = None
) -> Finding:
    """The finding about `own`, the namelookups made for one name; in `ns`, if that is known."""
    existing = {each.name for each in own if each.answer == "NOERROR"}
    by_kind: dict[str, list[Namelookup]] = {}
    for each in own:
        by_kind.setdefault(_kind(each, existing), []).append(each)
    times = {kind: sum(_length(each, trace) for each in rows) for kind, rows in by_kind.items()}
    kind = max(times, key=lambda each: times[each])
    rows = sorted(by_kind[kind], key=lambda each: -_length(each, trace))
    evidence = references("namelookup", trace.namelookups, rows)
    spent = max(_length(each, trace) for each in own) if ns is None else ns
    # The root of all names has none.
    return Finding(part, f"{part}.{kind}", name or None, spent, _words(kind, rows), evidence)


def asked_names(lookups: Iterable[Namelookup]) -> dict[str, str]:
    """Each name that was looked up -> the one it was for: resolvers try names with more behind."""
    known = {each.name for each in lookups}
    found = {}
    for name in known:
        labels = name.split(".")
        beginnings = (".".join(labels[:count]) for count in range(1, len(labels)))
        found[name] = next((each for each in beginnings if each in known), name)
    return found


def _length(lookup: Namelookup, trace: Trace) -> int:
    """How long it took, or was in vain, ns."""
    if lookup.duration_ns is not None:
        return lookup.duration_ns
    return max(0, trace.execution.duration_ns - lookup.started_ns)


def _kind(lookup: Namelookup, existing: Collection[str]) -> str:
    """How it went; `existing` are names that have addresses of one kind or the other."""
    if lookup.answer == "SERVFAIL":
        return "servfail"
    if lookup.answer not in (None, "NOERROR", "NXDOMAIN"):
        return "failed"
    if lookup.answer is None or lookup.attempts > 1:
        return "unanswered"
    # Some servers say NXDOMAIN of a name that has only addresses of the other kind.
    return "slow" if lookup.name in existing else "nxdomain"


def _words(kind: str, rows: Sequence[Namelookup]) -> str:
    longest = rows[0]
    if kind == "unanswered":
        times = counted(longest.attempts, "time")
        if longest.duration_ns is None:
            return f"{longest.server} was asked {times} and did not answer"
        return f"{longest.server} was asked {times} until it answered"
    if kind == "slow":
        return f"{longest.server} took {duration_words(longest.duration_ns or 0)} to answer"
    if kind == "nxdomain":
        names = len({each.name for each in rows})
        if names > 1:
            return f"{longest.server} said NXDOMAIN to {names} names that were tried for it"
        return f"{longest.server} said NXDOMAIN, there is no such name"
    return f"{longest.server} answered {longest.answer}"
