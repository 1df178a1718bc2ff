"""Why connecting, or a TLS handshake, took its time or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import (
    Finding,
    coarse,
    connections_to,
    references,
    subjects,
)
from lambdatrace.analysis.phases import connect_ns, handshake_ns
from lambdatrace.analysis.words import counted, duration_words
from lambdatrace.model import Outcome, Part

if TYPE_CHECKING:
    from lambdatrace.model import Connection, Trace

# A SYN without an answer is sent again after a second (RFC 6298, 2.1), less what a timer's ticks
# may cost.
_FIRST_RESEND_NS = 900_000_000
_NEVER_ANSWERED = frozenset({Outcome.TIMEOUT, Outcome.ABANDONED, Outcome.CONNECTING})
# Alerts about a certificate (RFC 8446, 6.2; RFC 5246, 7.2.2).
_CERTIFICATE_ALERTS = frozenset(
    {
        "bad_certificate",
        "unsupported_certificate",
        "certificate_revoked",
        "certificate_expired",
        "certificate_unknown",
        "unknown_ca",
        "bad_certificate_status_response",
        "certificate_required",
    }
)


def setting_up(part: Part, trace: Trace, ns: int) -> Finding:
    """The finding about the destination that most of Part.CONNECT or Part.TLS went into."""
    found = subjects(part, trace)
    if not found:
        return coarse(part, trace, ns)
    destination, spent = found[0]
    taken_of = connect_ns if part is Part.CONNECT else handshake_ns
    by_cause: dict[str, list[tuple[int, Connection]]] = {}
    for connection in connections_to(destination, trace):
        taken = taken_of(connection)
        if taken is not None:
            by_cause.setdefault(how(part, connection)[0], []).append((taken, connection))
    if not by_cause:
        return coarse(part, trace, ns)
    cause, rows = max(by_cause.items(), key=lambda item: sum(taken for taken, _ in item[1]))
    rows.sort(key=lambda row: -row[0])
    evidence = references("connection", trace.connections, (row for _, row in rows))
    words = how(part, rows[0][1])[1]
    return Finding(part, f"{part}.{cause}", destination, spent, words, evidence)


def how(part: Part, connection: Connection) -> tuple[str, str]:
    """(finer cause, words) of how connecting, or the handshake, went."""
    return _connecting(connection) if part is Part.CONNECT else _handshake(connection)


def _connecting(connection: Connection) -> tuple[str, str]:
    taken = duration_words(connect_ns(connection) or 0)
    outcome, again = connection.outcome, connection.retransmits
    if connection.connect_ns is not None:
        if again and connection.connect_ns >= _FIRST_RESEND_NS:
            return "syn", f"it took {taken}, for its SYN was not answered and had to be sent again"
        return "slow", f"it took {taken}"
    if outcome is Outcome.REFUSED:
        return "refused", "it was refused"
    if outcome in _NEVER_ANSWERED:
        times = f", sent {counted(again + 1, 'time')}," if again else ""
        return "timeout", f"its SYN{times} was not answered in {taken}"
    if outcome is Outcome.UNREACHABLE:
        return "unreachable", f"there was no way to it, {connection.error}"
    return "failed", f"it failed, {connection.error or outcome}"


def _handshake(connection: Connection) -> tuple[str, str]:
    taken = duration_words(handshake_ns(connection) or 0)
    error = connection.tls_error
    if error in _CERTIFICATE_ALERTS:
        return "certificate", f"a certificate was not accepted, {error}"
    if error is not None:
        return "failed", f"it failed, {error}"
    if connection.tls_ns is None:
        return "hung", f"it was not done after {taken}"
    return "slow", f"it took {taken}"
