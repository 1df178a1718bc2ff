"""What went wrong on the network and was not made good again: why an execution may have failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes.base import Finding, destination_of
from lambdatrace.analysis.causes.connections import how as how_set_up
from lambdatrace.analysis.causes.exchanges import cause_of, waited_ns, words_of
from lambdatrace.analysis.causes.names import asked_names, of_name
from lambdatrace.analysis.phases import connect_ns, handshake_ns
from lambdatrace.model import Outcome, Part, Protocol, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.model import Connection, Exchange, Namelookup, Trace

_ESTABLISHED = frozenset({Outcome.OK, Outcome.OPEN, Outcome.GONE})
# An answer that nobody waited for is none that was missing (logs, metrics).
_MISSED_NS = 100_000_000


def last_failure(trace: Trace) -> Finding | None:
    """The last of what failed, to look a name up, connect, shake hands or be answered.

    What the function tried again with success is left out. None: nothing failed.
    """
    found = [*_of_names(trace), *_of_connections(trace)]
    return max(found, key=lambda each: each[0])[1] if found else None


def _of_names(trace: Trace) -> Iterator[tuple[int, Finding]]:
    asked = asked_names(trace.namelookups)
    by_name: dict[str, list[Namelookup]] = {}
    for lookup in trace.namelookups:
        by_name.setdefault(asked[lookup.name], []).append(lookup)
    for name, own in by_name.items():
        if not any(each.answer == "NOERROR" for each in own):
            last = max(own, key=lambda each: each.started_ns)
            yield last.started_ns + (last.duration_ns or 0), of_name(Part.DNS, name, own, trace)


def _of_connections(trace: Trace) -> Iterator[tuple[int, Finding]]:
    # With their numbers: to look for a row among all takes too long where there are very many.
    latest: dict[int, tuple[int, Exchange]] = {}
    for number, exchange in enumerate(trace.exchanges, 1):
        latest[exchange.connection_id] = number, exchange
    by_destination: dict[str, list[tuple[int, Connection]]] = {}
    for number, connection in enumerate(trace.connections, 1):
        if not connection.before and connection.protocol is Protocol.TCP:
            by_destination.setdefault(destination_of(connection), []).append((number, connection))
    for destination, own in by_destination.items():
        found: list[tuple[int, Finding]] = []
        for number, connection in own:
            row = Reference("connection", number)
            exchanged = latest.get(connection.id)
            failure = _of_connection(connection, row, exchanged, destination, trace)
            if failure is None:
                found.clear()  # it was made good
            else:
                found.append((connection.started_ns + connection.duration_ns, failure))
        if found:
            yield _together(found)


def _together(found: list[tuple[int, Finding]]) -> tuple[int, Finding]:
    """The last failure to a destination, with the rows of those before that were alike."""
    end, last = found[-1]
    alike = [each for _, each in found if each.cause == last.cause]
    rows = {row: None for each in alike for row in each.evidence}
    spent = sum(each.ns for each in alike)
    return end, Finding(
        last.part, last.cause, last.destination, spent, last.words, tuple(rows)[-6:]
    )


def _of_connection(
    connection: Connection,
    row: Reference,
    latest: tuple[int, Exchange] | None,
    destination: str,
    trace: Trace,
) -> Finding | None:
    """How a connection, which is `row`, failed; None: it did not.

    `latest` is its latest exchange, with its number.
    """
    rows: tuple[Reference, ...] = (row,)
    number, exchange = latest or (0, None)
    if connection.outcome not in _ESTABLISHED and connection.connect_ns is None:
        if connection.reused:
            return None
        part, ns = Part.CONNECT, connect_ns(connection) or 0
        cause, words = how_set_up(part, connection)
    elif connection.tls_error is not None:
        part, ns = Part.TLS, handshake_ns(connection) or 0
        cause, words = how_set_up(part, connection)
    elif exchange is not None and _is_missed(exchange, connection, trace):
        part, ns = Part.WAIT, waited_ns(exchange, connection)
        cause = cause_of(part, exchange, connection)
        words = words_of(part, exchange, connection)
        rows = Reference("exchange", number), row
    else:
        return None
    return Finding(part, f"{part}.{cause}", destination, ns, words, rows)


def _is_missed(exchange: Exchange, connection: Connection, trace: Trace) -> bool:
    """Whether an exchange's answer was waited for in vain."""
    if exchange.wait_ns is not None or exchange.transfer_ns is not None:
        return False
    if connection.outcome is Outcome.RESET or connection.closed_by == "peer":
        return True
    ends = connection.started_ns + connection.duration_ns
    is_closed = ends < trace.execution.duration_ns
    return is_closed and waited_ns(exchange, connection) >= _MISSED_NS
