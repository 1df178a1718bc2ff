"""Waits of which the backend sees nothing: what its looks at the connections tell all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import ITSELF, Finding, destination_of, references
from lambdatrace.analysis.phases import connect_ns, unanswered_ns
from lambdatrace.analysis.words import duration_words

if TYPE_CHECKING:
    from lambdatrace.model import Connection, Part, Trace

# A connection that was at something for less of the time is not told of.
_MOST = 0.8


def waiting(part: Part, trace: Trace, ns: int) -> Finding:
    """What is sure: that nothing is, and which connection waited meanwhile."""
    words = f"what it waits for, {trace.execution.backend} cannot see"
    waited = [
        (length, each)
        for each in trace.connections
        if not each.before and (length := _waited(each)) >= _MOST * ns
    ]
    if not waited:
        return Finding(part, part, None, ns, words, ITSELF)
    length, longest = max(waited, key=lambda each: each[0])
    taken, where = duration_words(length), destination_of(longest)
    was = "had been sent something and had not answered for"
    if connect_ns(longest) is not None:
        was = "had not taken the connection for"
    words += f"; {where} {was} {taken}"
    rows = references("connection", trace.connections, [longest])
    return Finding(part, part, None, ns, words, rows)


def _waited(connection: Connection) -> int:
    return max(connect_ns(connection) or 0, unanswered_ns(connection) or 0)
