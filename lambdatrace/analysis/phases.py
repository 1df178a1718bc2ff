"""What a connection's life was spent on, as far as its record tells.

A record knows the first and the last byte each way and how long its exchanges took together, not
when each of them was. Where a time is not known, or lies before the execution, there is no phase:
none is made up.
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


# The share of a stretch of several exchanges from which on it is drawn as one phase.
_MOSTLY = 0.8


def phases(connection: Connection) -> tuple[Phase, ...]:
    """The phases of a connection in order, ns relative to the execution's start."""
    if connection.before:
        return ()
    found = [_connect(connection), _first_wait(connection)]
    stretch = _stretch(connection)
    if stretch is not None:
        kind = _mostly(connection, stretch) if _several(connection) else PhaseKind.TRANSFER
        if kind is not None:
            found.append(Phase(kind, *stretch))
    found.append(_unanswered(connection))
    return tuple(phase for phase in found if phase is not None)


def mixed_stretch(connection: Connection) -> tuple[int, int] | None:
    """Begin and end (ns) of several exchanges of which neither waiting nor transfer is the most.

    None where there is no such stretch, or where it was idle for the most part.
    """
    stretch = _stretch(connection)
    if connection.before or stretch is None or not _several(connection):
        return None
    length = stretch[1] - stretch[0]
    idle = length - _later_waits(connection) - connection.transferred_ns
    if _mostly(connection, stretch) is not None or idle >= _MOSTLY * length:
        return None
    return stretch


def connect_ns(connection: Connection) -> int | None:
    """How long it tried to connect in or for this execution, in vain or not; None: not known."""
    phase = None if connection.before else _connect(connection)
    return None if phase is None else phase.end_ns - phase.start_ns


def wait_ns(connection: Connection) -> int | None:
    """How long it waited for answers, also for the last one that never came; None: not known."""
    unanswered = _unanswered(connection)
    if unanswered is not None:
        return connection.waited_ns + unanswered.end_ns - unanswered.start_ns
    if connection.first_out_ns is None or connection.first_in_ns is None:
        return None
    return connection.waited_ns


def transfer_ns(connection: Connection) -> int | None:
    """How long answers took from their first byte to their last; None if there were none."""
    return None if connection.first_in_ns is None else connection.transferred_ns


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


def _several(connection: Connection) -> bool:
    """Whether more was sent after the first answer."""
    sent, answered = connection.last_out_ns, connection.first_in_ns
    return sent is not None and answered is not None and sent > answered


def _first_wait(connection: Connection) -> Phase | None:
    answered = connection.first_in_ns
    # Of several exchanges the first one's sending ended at an unknown moment.
    sent = connection.first_out_ns if _several(connection) else connection.last_out_ns
    if sent is None or answered is None or answered < sent:
        return None
    return Phase(PhaseKind.WAIT, sent, answered)


def _stretch(connection: Connection) -> tuple[int, int] | None:
    """From the first byte in to the last."""
    first, last = connection.first_in_ns, connection.last_in_ns
    return None if first is None or last is None or last < first else (first, last)


def _mostly(connection: Connection, stretch: tuple[int, int]) -> PhaseKind | None:
    enough = _MOSTLY * (stretch[1] - stretch[0])
    if _later_waits(connection) >= enough:
        return PhaseKind.WAIT
    return PhaseKind.TRANSFER if connection.transferred_ns >= enough else None


def _later_waits(connection: Connection) -> int:
    """How long it waited for all answers but the first (ns)."""
    first = _first_wait(connection)
    return max(0, connection.waited_ns - (first.end_ns - first.start_ns if first else 0))


def _unanswered(connection: Connection) -> Phase | None:
    """The wait for an answer that had not come when the connection or the execution ended."""
    sent, answered, end = connection.last_out_ns, connection.last_in_ns, _end(connection)
    if connection.before or sent is None or (answered is not None and sent <= answered):
        return None
    # A datagram may be meant for nobody to answer (metrics, logs); a DNS query never is.
    if answered is None and connection.protocol is Protocol.UDP and connection.port != _DNS_PORT:
        return None
    return Phase(PhaseKind.WAIT, sent, end) if sent <= end else None
