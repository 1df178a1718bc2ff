"""What all causes share: findings, the subjects of a part, and references to rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.model import Part, Reference
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from lambdatrace.model import Connection, Trace

# Rows that a finding refers to, of each kind.
MOST_REFERENCES = 6
ITSELF = (Reference("execution", 1),)
# Whose subjects are destinations and names; and paths, if they are no syscalls' names.
_NETWORK = frozenset({Part.DNS, Part.CONNECT, Part.TLS, Part.WAIT, Part.TRANSFER})
WITH_PATHS = frozenset({Part.FILE, Part.LOCK, Part.OTHER})


class Finding(Value):
    """What a part of an execution, or the most of it, went into."""

    part: Part
    cause: str  # the part, or a finer one under it
    destination: str | None
    ns: int
    words: str  # a clause that names no destination; empty: nothing more is known
    evidence: tuple[Reference, ...]


def coarse(part: Part, trace: Trace, ns: int) -> Finding:
    """What the summary alone says of a part of `ns`."""
    found = subjects(part, trace)
    if not found:
        return Finding(part, part, None, ns, "", ITSELF)
    subject, spent = found[0]
    if part in _NETWORK:
        named = part is Part.DNS or is_destination(subject)
    else:
        named = part in WITH_PATHS and "/" in subject
    return Finding(part, part, subject if named else None, spent, "", ITSELF)


def subjects(part: Part, trace: Trace) -> list[tuple[str, int]]:
    """What a part went into, (subject, ns), the most first; as far as it is told."""
    found = [(each.subject, each.ns) for each in trace.execution.shares if each.part is part]
    if not found:
        sums: dict[str, int] = {}
        for pause in trace.pauses:
            if pause.part is part and pause.subject:
                sums[pause.subject] = sums.get(pause.subject, 0) + pause.duration_ns
        found = list(sums.items())
    return sorted(found, key=lambda each: -each[1])


def destination_of(connection: Connection) -> str:
    """A connection's destination in words, as the shares of a summary have it."""
    name = connection.host or connection.address
    # An IPv6 address is told from its port by brackets (RFC 3986, 3.2.2).
    return f"[{name}]:{connection.port}" if ":" in name else f"{name}:{connection.port}"


def is_destination(subject: str) -> bool:
    """Whether a subject is a host and its port; else it is the call that waited."""
    return ":" in subject


def connections_to(destination: str, trace: Trace) -> list[Connection]:
    """The execution's own connections to a destination."""
    return [
        each
        for each in trace.connections
        if not each.before and destination_of(each) == destination
    ]


def references(kind: str, rows: Sequence[Any], chosen: Iterable[Any]) -> tuple[Reference, ...]:
    """References to the first of `chosen`, by their places in `rows` and in their order."""
    wanted = {id(row) for _, row in zip(range(MOST_REFERENCES), chosen, strict=False)}
    return tuple(Reference(kind, n) for n, row in enumerate(rows, 1) if id(row) in wanted)
