"""Why an answer was waited for, or a transfer took its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import (
    MOST_REFERENCES,
    Finding,
    coarse,
    connections_to,
    is_destination,
    references,
    subjects,
)
from lambdatrace.analysis.phases import Stretches
from lambdatrace.analysis.words import counted, duration_words
from lambdatrace.model import Outcome, Part
from lambdatrace.values import replaced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.model import Connection, Exchange, Pause, Reference, Trace

# Linux sends a packet again after 200 ms at the earliest (TCP_RTO_MIN) where nothing that came
# later told it of the loss, and then each time after twice as long.
_FIRST_RESEND_NS = 200_000_000
# From this share of its packets on, an upload is slow because they are lost. Of a packet's 1500
# bytes the rest are headers.
_LOSSY = 0.01
_PACKET_BYTES = 1_448
_SHOWN_AS_MB = 100_000  # bytes; of less nothing would be left


def exchanging(part: Part, trace: Trace, ns: int) -> Finding:
    """The finding about the destination that most of Part.WAIT or Part.TRANSFER went into."""
    found = subjects(part, trace)
    if not found:
        return coarse(part, trace, ns)
    destination, spent = found[0]
    own = {each.id: each for each in connections_to(destination, trace)}
    by_cause: dict[str, list[tuple[int, Exchange]]] = {}
    for exchange in trace.exchanges:
        connection = own.get(exchange.connection_id)
        if connection is not None:
            taken = _taken(part, exchange, connection)
            if taken:
                cause = cause_of(part, exchange, connection)
                by_cause.setdefault(cause, []).append((taken, exchange))
    sums = [sum(taken for taken, _ in rows) for rows in by_cause.values()]
    if part is Part.WAIT and 2 * sum(sums) < spent:
        # What was waited for, most of the time, nobody had asked for.
        unasked = _unasked(own.values(), trace)
        if unasked:
            longest = duration_words(max(each.duration_ns for each in unasked))
            known = {each.connection_id for each in unasked}
            evidence = (
                *references("connection", trace.connections, (own[n] for n in own if n in known)),
                *references("pause", trace.pauses, unasked),
            )
            words = f"it had been asked nothing, and said nothing for {longest}"
            return Finding(part, part, destination, spent, words, evidence)
    if not by_cause:
        whole = coarse(part, trace, ns)
        evidence = references("connection", trace.connections, own.values())
        if not is_destination(destination):
            return _untraced(whole, destination, trace)
        return Finding(part, part, whole.destination, spent, "", evidence or whole.evidence)
    cause, rows = max(by_cause.items(), key=lambda item: sum(taken for taken, _ in item[1]))
    rows.sort(key=lambda row: -row[0])
    chosen = [exchange for _, exchange in rows[:MOST_REFERENCES]]
    words = words_of(part, chosen[0], own[chosen[0].connection_id])
    if len(rows) > 1:
        words = f"in the longest of {len(rows):,} exchanges {words}"
    evidence = rows_of(chosen, trace)
    return Finding(part, f"{part}.{cause}", destination, spent, words, evidence)


def _unasked(connections: Iterable[Connection], trace: Trace) -> list[Pause]:
    """The pauses in which a peer was waited for while no answer of it was due, longest first."""
    by_id = {each.id: each for each in connections}
    due: dict[int, list[tuple[int, int]]] = {number: [] for number in by_id}
    for exchange in trace.exchanges:
        connection = by_id.get(exchange.connection_id)
        if connection is not None and exchange.sends:
            sent = exchange.started_ns + exchange.request_ns
            due[connection.id].append((sent, sent + waited_ns(exchange, connection)))
    answers = {number: Stretches(spans) for number, spans in due.items()}
    found = [
        pause
        for pause in trace.pauses
        if pause.part is Part.WAIT
        and pause.connection_id in answers
        and not answers[pause.connection_id].overlap(
            pause.started_ns, pause.started_ns + pause.duration_ns
        )
    ]
    return sorted(found, key=lambda pause: -pause.duration_ns)


def _untraced(found: Finding, op: str, trace: Trace) -> Finding:
    """The same with the pauses that tell of it: of a Unix socket, which is no connection here."""
    pauses = [each for each in trace.pauses if each.part is found.part and each.subject == op]
    pauses.sort(key=lambda each: -each.duration_ns)
    if not pauses:
        return found
    longest = duration_words(pauses[0].duration_ns)
    words = f"{op} took {longest}, on no connection that is traced"
    evidence = references("pause", trace.pauses, pauses)
    return replaced(found, words=words, evidence=evidence)


def rows_of(exchanges: list[Exchange], trace: Trace) -> tuple[Reference, ...]:
    """References to exchanges and to their connections."""
    used = {each.connection_id for each in exchanges}
    connections = [each for each in trace.connections if each.id in used]
    return (
        *references("exchange", trace.exchanges, exchanges),
        *references("connection", trace.connections, connections),
    )


def cause_of(part: Part, exchange: Exchange, connection: Connection) -> str:
    """The finer cause of how the wait, or the transfer, of an exchange went."""
    if part is Part.TRANSFER:
        return "loss" if _is_lossy(exchange) else "slow"
    if exchange.wait_ns is not None:
        return "loss" if _explains(exchange.retransmits, exchange.wait_ns) else "slow"
    if connection.stale:
        return "stale"
    if connection.outcome is Outcome.RESET:
        return "reset"
    return "closed" if connection.closed_by == "peer" else "hung"


def words_of(part: Part, exchange: Exchange, connection: Connection) -> str:
    """The same in words, with the figures that carry it."""
    cause = cause_of(part, exchange, connection)
    if part is Part.TRANSFER:
        return _transfer_words(exchange)
    taken = duration_words(waited_ns(exchange, connection))
    again = f", with {counted(exchange.retransmits, 'packet')} of the request sent again"
    again *= bool(exchange.retransmits)
    return {
        "stale": "the connection had been kept, and its peer had given it up meanwhile",
        "reset": f"the connection was reset after {taken}",
        "closed": f"the connection was closed after {taken}, without an answer",
        "hung": f"no answer had come after {taken}{again}",
    }.get(cause, f"the answer took {taken}{again}")


def waited_ns(exchange: Exchange, connection: Connection) -> int:
    """How long its answer was waited for: until it came, or nobody waited any more."""
    if exchange.wait_ns is not None:
        return exchange.wait_ns
    if exchange.transfer_ns is not None:
        return 0  # the peer spoke first
    sent = exchange.started_ns + exchange.request_ns
    return max(0, connection.started_ns + connection.duration_ns - sent)


def _taken(part: Part, exchange: Exchange, connection: Connection) -> int:
    if part is Part.WAIT:
        return waited_ns(exchange, connection)
    return exchange.request_ns + (exchange.transfer_ns or 0)


def _explains(resent: int, waited: int) -> bool:
    """Whether so many packets sent again can be what most of a wait passed with."""
    if not resent or waited < _FIRST_RESEND_NS // 2:
        return False
    lasts: int = _FIRST_RESEND_NS * (2 ** min(resent, 16) - 1)
    return lasts >= waited // 2


def _is_lossy(exchange: Exchange) -> bool:
    """Whether so much of a request was sent again that this is why it took long to send."""
    if exchange.request_ns <= (exchange.transfer_ns or 0):
        return False
    packets = exchange.bytes_out / _PACKET_BYTES
    return exchange.retransmits >= max(1.0, _LOSSY * packets)


def _transfer_words(exchange: Exchange) -> str:
    received = exchange.transfer_ns or 0
    if _is_lossy(exchange):
        packets = counted(exchange.retransmits, "packet")
        return f"it took {duration_words(exchange.request_ns)}, with {packets} sent again"
    if exchange.request_ns > received:
        taken, count, what = exchange.request_ns, exchange.bytes_out, "sent"
    else:
        taken, count, what = received, exchange.bytes_in, "received"
    amount = f"{count / 1e6:.2f} MB" if count >= _SHOWN_AS_MB else f"{count:,} bytes"
    return f"{amount} were {what} in {duration_words(taken)}"
