"""What a connection's life was spent on, as far as it was recorded.

Where its exchanges were told apart, each stands at its true place. Where they were not, the
connection's record still tells the first and the last byte each way and how long its exchanges took
together, not when each of them was. What is not known has no phase: none is made up.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from lambdatrace.model import Outcome, Phase, PhaseKind, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lambdatrace.model import Connection, Exchange

    # The values of a Phase: an execution may have very many, and most are only summed up.
    BarePhase = tuple[PhaseKind, int, int]

_DNS_PORT = 53
# Taken out of their enum once: Python 3.11 takes as long for that as for a call.
_CONNECT, _TLS, _SEND = PhaseKind.CONNECT, PhaseKind.TLS, PhaseKind.SEND
_WAIT, _TRANSFER, _EXCHANGES = PhaseKind.WAIT, PhaseKind.TRANSFER, PhaseKind.EXCHANGES
_TCP, _UDP = Protocol.TCP, Protocol.UDP
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


class Stretches:
    """Stretches of time, (start, end) in ns, of which there may be many."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        # How far the first so many of them reach.
        self._reached = list(accumulate((end for _, end in ordered), max, initial=-1))

    def overlap(self, start: int, end: int) -> bool:
        """Whether one of them and [start, end] have time in common; `start` is from 0 on."""
        return self._reached[bisect_left(self._starts, end)] > start


def told_apart(
    connections: Iterable[Connection], exchanges: Iterable[Exchange], whole: bool
) -> dict[int, tuple[Exchange, ...]]:
    """The exchanges of each connection, by its id, where all of them are known.

    `whole`: no record of the execution is known to be missing or was folded.
    """
    counts = {each.id: each.exchanges for each in connections if each.exchanges is not None}
    found: dict[int, list[Exchange]] = {}
    for exchange in exchanges:
        if exchange.connection_id in counts:
            found.setdefault(exchange.connection_id, []).append(exchange)
    told: dict[int, tuple[Exchange, ...]] = dict.fromkeys(counts, ())
    told.update({number: tuple(rows) for number, rows in found.items()})
    if whole:
        return told
    return {number: rows for number, rows in told.items() if len(rows) >= counts[number]}


def phases(
    connection: Connection, exchanges: Sequence[Exchange] | None = None
) -> tuple[Phase, ...]:
    """The phases of a connection in order, ns relative to the execution's start.

    `exchanges` are all of its own, None where they are not known. What ended before the execution
    began is left out.
    """
    return tuple([Phase(*each) for each in bare_phases(connection, exchanges)])


def bare_phases(
    connection: Connection, exchanges: Sequence[Exchange] | None = None
) -> list[BarePhase]:
    """The values of `phases`: for those who have no time for an object each."""
    if connection.before:
        return []
    found: list[BarePhase | None] = [_connect(connection), _handshake(connection)]
    if exchanges is None:
        found += _from_sums(connection)
    else:
        for exchange in exchanges:
            found += _of_exchange(connection, exchange)
    if connection.reused:
        return [each for each in found if each is not None and each[2] > 0]
    return [each for each in found if each is not None]


def bare_exchange_phases(connection: Connection, exchange: Exchange) -> list[BarePhase]:
    """The phases of one exchange of a connection, as `bare_phases` has them."""
    return [each for each in _of_exchange(connection, exchange) if each is not None]


def connect_ns(connection: Connection) -> int | None:
    """How long it tried to connect in or for this execution, in vain or not; None: not known."""
    return _length(connection, _connect(connection))


def handshake_ns(connection: Connection) -> int | None:
    """How long its TLS handshake took in or for this execution, in vain or not; None: none seen."""
    return _length(connection, _handshake(connection))


def wait_ns(connection: Connection, exchanges: Sequence[Exchange] | None = None) -> int | None:
    """How long it waited for answers, also for the last one that never came; None: not known."""
    if connection.outcome is Outcome.GONE:
        return None  # until some time after the latest look
    if exchanges is not None:
        waits = [_wait(connection, exchange) for exchange in exchanges]
        lengths = [wait[2] - wait[1] for wait in waits if wait is not None]
        return sum(lengths) if lengths else None
    if _sums_hold_a_handshake(connection):
        return None
    unanswered = _unanswered(connection)
    if unanswered is not None:
        return connection.waited_ns + unanswered[2] - unanswered[1]
    if connection.first_out_ns is None or connection.first_in_ns is None:
        return None
    return connection.waited_ns


def unanswered_ns(connection: Connection) -> int | None:
    """How long it was seen to wait for an answer that had not come by then; None: it was not."""
    unanswered = _unanswered(connection)
    return None if unanswered is None else unanswered[2] - unanswered[1]


def transfer_ns(connection: Connection, exchanges: Sequence[Exchange] | None = None) -> int | None:
    """How long answers took from their first byte to their last; None: none, or not known."""
    if exchanges is not None:
        lengths = [each.transfer_ns for each in exchanges if each.transfer_ns is not None]
        return sum(lengths) if lengths else None
    if connection.first_in_ns is None or _sums_hold_a_handshake(connection):
        return None
    return connection.transferred_ns


def _end(connection: Connection) -> int:
    return connection.started_ns + connection.duration_ns


def _length(connection: Connection, phase: BarePhase | None) -> int | None:
    if phase is None or connection.before or (connection.reused and phase[2] <= 0):
        return None
    return phase[2] - phase[1]


def _connect(connection: Connection) -> BarePhase | None:
    started = connection.started_ns
    if connection.connect_ns is not None:
        return _CONNECT, started, started + connection.connect_ns
    if connection.protocol is _TCP and connection.outcome in _NEVER_ESTABLISHED:
        return _CONNECT, started, started + connection.duration_ns
    return None


def _handshake(connection: Connection) -> BarePhase | None:
    started, length = connection.tls_started_ns, connection.tls_ns
    if started is None:
        return None
    # One that never ended lasted until nobody went on with it.
    end = _end(connection) if length is None else started + length
    return _TLS, started, max(started, end)


def _of_exchange(connection: Connection, exchange: Exchange) -> list[BarePhase | None]:
    started, requested = exchange.started_ns, exchange.request_ns
    wait = _wait(connection, exchange)
    found = [(_SEND, started, started + requested), wait] if requested else [wait]
    if exchange.transfer_ns is not None:
        # Without a request the peer spoke first.
        answered = started + requested if wait is None else wait[2]
        found.append((_TRANSFER, answered, answered + exchange.transfer_ns))
    return found


def _wait(connection: Connection, exchange: Exchange) -> BarePhase | None:
    sent = exchange.started_ns + exchange.request_ns
    if exchange.wait_ns is not None:
        return _WAIT, sent, sent + exchange.wait_ns
    if exchange.transfer_ns is not None or connection.before:
        return None
    end = _end(connection)
    return (_WAIT, sent, end) if sent <= end else None


def _from_sums(connection: Connection) -> list[BarePhase | None]:
    secured = 0
    if connection.tls_started_ns is not None:
        if connection.tls_ns is None:
            return []
        secured = connection.tls_started_ns + connection.tls_ns
    found: list[BarePhase | None] = []
    sent, answered = connection.first_out_ns, connection.first_in_ns
    if _sums_hold_a_handshake(connection):
        # The first bytes were the handshake's; the moment of the first ones behind it is not known.
        answered = secured
    elif _several(connection):
        found.append(_phase(_WAIT, sent, answered))
    else:
        if sent != connection.last_out_ns and not connection.reused:
            found.append(_phase(_SEND, sent, connection.last_out_ns))
        found.append(_phase(_WAIT, connection.last_out_ns, answered))
        found.append(_phase(_TRANSFER, answered, connection.last_in_ns))
        answered = None
    # An earlier execution's bytes say nothing about when this one's began.
    if answered is not None and answered >= 0:
        found.append(_phase(_EXCHANGES, answered, connection.last_in_ns))
    found.append(_unanswered(connection))
    return found


def _phase(kind: PhaseKind, start: int | None, end: int | None) -> BarePhase | None:
    return None if start is None or end is None or end < start else (kind, start, end)


def _sums_hold_a_handshake(connection: Connection) -> bool:
    """Whether what was summed up of the connection contains a TLS handshake."""
    started, length = connection.tls_started_ns, connection.tls_ns
    done_before = started is not None and length is not None and started + length <= 0
    return started is not None and not (connection.reused and done_before)


def _several(connection: Connection) -> bool:
    """Whether more was sent after the first answer."""
    sent, answered = connection.last_out_ns, connection.first_in_ns
    return sent is not None and answered is not None and sent > answered


def _unanswered(connection: Connection) -> BarePhase | None:
    """The wait for an answer that had not come when the connection or the execution ended."""
    sent, answered, end = connection.last_out_ns, connection.last_in_ns, _end(connection)
    if connection.before or sent is None or (answered is not None and sent <= answered):
        return None
    # A datagram may be meant for nobody to answer (metrics, logs); a DNS query never is.
    if answered is None and connection.protocol is _UDP and connection.port != _DNS_PORT:
        return None
    if connection.sampled:
        sent = max(0, sent)  # which is known to a tick of the kernel's
    return (_WAIT, sent, end) if sent <= end else None
