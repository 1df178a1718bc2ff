"""What a connection's life was spent on, as far as its record tells.

A record knows the first and the last byte each way, not every exchange between them. Where a time
is not known, or lies before the execution, there is no phase: none is made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.model import Outcome, Phase, PhaseKind, Protocol

if TYPE_CHECKING:
    from lambdatrace.model import Connection

_DNS_PORT = 53
_NEVER_ESTABLISHED = frozenset(
    {
        Outcome.CONNECTING,
        Outcome.REFUSED,
        Outcome.TIMEOUT,
        Outcome.UNREACHABLE,
        Outcome.ABANDONED,
        Outcome.FAILED,
        Outcome.RESET,
    }
)


def phases(connection: Connection) -> tuple[Phase, ...]:
    """The phases of a connection in order, ns relative to the execution's start."""
    if connection.before:
        return ()
    found = (_connect(connection), _wait(connection), _transfer(connection))
    return tuple(phase for phase in found if phase is not None)


def phase_ns(connection: Connection, kind: PhaseKind) -> int | None:
    """How long a connection spent in one phase (ns); None where that is not known."""
    for phase in phases(connection):
        if phase.kind is kind:
            return phase.end_ns - phase.start_ns
    return None


def _end(connection: Connection) -> int:
    return connection.started_ns + connection.duration_ns


def _connect(connection: Connection) -> Phase | None:
    if connection.connect_ns is not None:
        end = connection.started_ns + connection.connect_ns
    elif connection.protocol is Protocol.TCP and connection.outcome in _NEVER_ESTABLISHED:
        end = _end(connection)
    else:
        return None
    if connection.reused and end <= 0:
        return None
    return Phase(PhaseKind.CONNECT, connection.started_ns, end)


def _wait(connection: Connection) -> Phase | None:
    sent, answered = connection.last_out_ns, connection.first_in_ns
    if connection.first_out_ns is None or sent is None:
        return None
    if answered is None:
        # A datagram may be meant for nobody to answer (metrics, logs); a DNS query never is.
        if connection.protocol is Protocol.UDP and connection.port != _DNS_PORT:
            return None
        answered = _end(connection)
    elif answered < sent:
        # More was sent after the first answer: the first request ended at an unknown moment.
        sent = connection.first_out_ns
    return Phase(PhaseKind.WAIT, sent, answered) if sent <= answered else None


def _transfer(connection: Connection) -> Phase | None:
    first, last = connection.first_in_ns, connection.last_in_ns
    if first is None or last is None or last < first:
        return None
    return Phase(PhaseKind.TRANSFER, first, last)
