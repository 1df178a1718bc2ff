"""Phases: what follows from exchanges, else from a record, and nothing more."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import support_traces as traces

from lambdatrace import wire
from lambdatrace.analysis.phases import (
    connect_ns,
    handshake_ns,
    phases,
    told_apart,
    transfer_ns,
    wait_ns,
)
from lambdatrace.analysis.trace import read_trace

if TYPE_CHECKING:
    from lambdatrace.model import Connection, Exchange, Trace

MS = traces.MS
UDP = socket.IPPROTO_UDP
OPEN = wire.CONNECTION_OPEN
REUSED = wire.CONNECTION_REUSED
TLS = {"established": 1, "tls_started": 2, "tls_ended": 9, "first_out": 2, "first_in": 6}
WITHOUT = ["dns", "tls", "cpu", "blocked", "processes"]


def trace(record: dict[str, object], *exchanges: bytes, **changes: object) -> Trace:
    records = [traces.connection(**record)]
    return read_trace(traces.execution(records, exchanges=exchanges, **changes))


def decoded(**record: object) -> Connection:
    """A connection whose exchanges were not told apart."""
    return trace(record, capture=WITHOUT).connections[0]


def known(record: dict[str, object], *exchanges: bytes) -> tuple[Connection, tuple[Exchange, ...]]:
    """A connection and its exchanges, all of which are known."""
    found = trace({"exchanges": max(0, len(exchanges) - 1), **record}, *exchanges)
    (connection,) = found.connections
    return connection, told_apart([connection], found.exchanges, whole=True)[connection.id]


def in_ms(
    connection: Connection, exchanges: tuple[Exchange, ...] | None
) -> list[tuple[str, int, int]]:
    found = phases(connection, exchanges)
    return [(str(one.kind), one.start_ns // MS, one.end_ns // MS) for one in found]


@pytest.mark.parametrize(
    ("record", "exchanges", "expected"),
    [
        pytest.param(
            {"established": 5, "closed": 200},
            [{"first_out": 6, "last_out": 8, "first_in": 20, "last_in": 25},
             {"first_out": 90, "last_out": 90, "first_in": 100, "last_in": 100}],
            [("connect", 0, 5), ("send", 6, 8), ("wait", 8, 20), ("transfer", 20, 25),
             ("wait", 90, 100), ("transfer", 100, 100)],
            id="each exchange at its place",
        ),
        pytest.param(
            {**TLS, "closed": 100}, [{"first_out": 10, "first_in": 40, "last_in": 41}],
            [("connect", 0, 1), ("tls", 2, 9), ("wait", 10, 40), ("transfer", 40, 41)],
            id="TLS",
        ),
        pytest.param(
            {**TLS, "tls_ended": None, "closed": 50}, [],
            [("connect", 0, 1), ("tls", 2, 50)],
            id="a handshake that failed",
        ),
        pytest.param(
            {**TLS, "tls_ended": None, "flags": OPEN}, [],
            [("connect", 0, 1), ("tls", 2, 2_000)],
            id="a handshake that never ended",
        ),
        pytest.param(
            {**TLS, "started": -50, "established": -45, "tls_started": -44, "tls_ended": -30,
             "flags": OPEN | REUSED},
            [{"first_out": 10, "first_in": 40}],
            [("wait", 10, 40), ("transfer", 40, 40)],
            id="reused: connect and TLS were before",
        ),
        pytest.param(
            {"started": -50, "established": -45, "flags": OPEN | REUSED},
            [{"first_out": -10, "first_in": 40}],
            [("wait", -10, 40), ("transfer", 40, 40)],
            id="reused: asked before, answered now",
        ),
        pytest.param(
            {"established": 5, "flags": OPEN},
            [{"first_out": 6, "first_in": 20}, {"first_out": 100}],
            [("connect", 0, 5), ("wait", 6, 20), ("transfer", 20, 20), ("wait", 100, 2_000)],
            id="the last request was not answered",
        ),
        pytest.param(
            {"established": 5, "closed": 90},
            [{"first_out": None, "last_out": None, "sends": 0, "first_in": 8, "last_in": 9}],
            [("connect", 0, 5), ("transfer", 8, 9)],
            id="the server speaks first",
        ),
        pytest.param(
            {**TLS, "closed": 12}, [{"first_out": 10, "bytes_out": 24}],
            [("connect", 0, 1), ("tls", 2, 9)],
            id="an encrypted alert waits for nothing",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "first_in": 8, "closed": 9}, [],
            [("connect", 0, 5)],
            id="nothing is made up beside what was recorded",
        ),
    ],
)  # fmt: skip
def test_phases_from_exchanges(
    record: dict[str, object], exchanges: list[dict[str, float]], expected: list[object]
) -> None:
    rows = [traces.exchange(**each) for each in exchanges]
    assert in_ms(*known(record, *rows)) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 7, "first_in": 20, "last_in": 25,
             "closed": 30},
            [("connect", 0, 5), ("send", 6, 7), ("wait", 7, 20), ("transfer", 20, 25)],
            id="one exchange",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 50, "first_in": 20, "last_in": 70},
            [("connect", 0, 5), ("wait", 6, 20), ("exchanges", 20, 70)],
            id="several exchanges",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 100, "first_in": 20, "last_in": 25,
             "flags": OPEN, "waited": 14, "transferred": 5},
            [("connect", 0, 5), ("wait", 6, 20), ("exchanges", 20, 25), ("wait", 100, 2_000)],
            id="the last request was not answered",
        ),
        pytest.param({"closed": 9, "error": 111}, [("connect", 0, 9)], id="refused"),
        pytest.param({"flags": OPEN}, [("connect", 0, 2_000)], id="still connecting"),
        pytest.param(
            {"established": 5, "first_out": 6, "flags": OPEN},
            [("connect", 0, 5), ("wait", 6, 2_000)],
            id="never answered",
        ),
        pytest.param(
            {"started": -100, "established": -90, "first_out": 6, "first_in": 8,
             "flags": OPEN | REUSED},
            [("wait", 6, 8), ("transfer", 8, 8)],
            id="reused: it connected before",
        ),
        pytest.param(
            {"started": -100, "established": -90, "closed": -50,
             "flags": wire.CONNECTION_BEFORE},
            [],
            id="before the execution",
        ),
        pytest.param(
            {"protocol": UDP, "port": 8125, "first_out": 1, "closed": 90},
            [],
            id="a datagram nobody answers",
        ),
        pytest.param(
            {"protocol": UDP, "port": 53, "first_out": 1, "closed": 90},
            [("wait", 1, 90)],
            id="a DNS query without an answer",
        ),
        pytest.param(
            {"established": 5, "first_in": 8, "last_in": 9, "closed": 20},
            [("connect", 0, 5), ("transfer", 8, 9)],
            id="the server speaks first",
        ),
        pytest.param(
            {**TLS, "last_out": 40, "last_in": 70, "closed": 90},
            [("connect", 0, 1), ("tls", 2, 9), ("exchanges", 9, 70)],
            id="behind a TLS handshake",
        ),
        pytest.param(
            {**TLS, "last_out": 40, "flags": OPEN},
            [("connect", 0, 1), ("tls", 2, 9), ("wait", 40, 2_000)],
            id="never answered behind a TLS handshake",
        ),
        pytest.param(
            {**TLS, "tls_ended": None, "last_out": 6, "last_in": 7, "closed": 9},
            [("connect", 0, 1), ("tls", 2, 9)],
            id="a handshake that failed",
        ),
        pytest.param(
            {"started": -100, "established": -90, "first_out": -80, "first_in": -70,
             "last_out": 6, "last_in": 50, "flags": OPEN | REUSED},
            [],
            id="reused: when its exchanges of this execution began is not known",
        ),
    ],
)  # fmt: skip
def test_phases_from_a_record_alone(
    record: dict[str, object], expected: list[tuple[str, int, int]]
) -> None:
    assert in_ms(decoded(**record), None) == expected


def test_how_long_it_took_altogether() -> None:
    one, exchanges = known(
        {**TLS, "flags": OPEN},
        traces.exchange(first_out=10, first_in=40, last_in=45),
        traces.exchange(first_out=50, first_in=51, last_in=60),
        traces.exchange(first_out=100),
    )
    assert (connect_ns(one), handshake_ns(one)) == (1 * MS, 7 * MS)
    assert (wait_ns(one, exchanges), transfer_ns(one, exchanges)) == (1_931 * MS, 14 * MS)


def test_how_long_it_took_from_a_record_alone() -> None:
    one = decoded(
        established=5, first_out=6, last_out=100, first_in=20, last_in=25, flags=OPEN,
        waited=14, transferred=5,
    )  # fmt: skip
    assert (connect_ns(one), wait_ns(one), transfer_ns(one)) == (5 * MS, 1_914 * MS, 5 * MS)


def test_what_is_not_known_has_no_length() -> None:
    one = decoded(established=4, closed=5)
    assert (connect_ns(one), handshake_ns(one), wait_ns(one)) == (4 * MS, None, None)
    assert transfer_ns(one) is None
    metrics = decoded(protocol=UDP, port=8125, first_out=1, closed=90)
    assert (connect_ns(metrics), wait_ns(metrics)) == (None, None)
    # The kernel's sums hold the handshake's round trips, too.
    secured = decoded(**TLS, last_in=50, closed=60)
    assert (wait_ns(secured), transfer_ns(secured)) == (None, None)
    one, exchanges = known({"established": 4, "closed": 5})
    assert (wait_ns(one, exchanges), transfer_ns(one, exchanges)) == (None, None)


def test_sums_of_a_later_execution_hold_no_handshake() -> None:
    one = decoded(
        started=-50, established=-49, tls_started=-48, tls_ended=-40, first_out=-48, first_in=-45,
        last_out=10, last_in=30, waited=20, transferred=0, flags=OPEN | REUSED,
    )  # fmt: skip
    assert (handshake_ns(one), wait_ns(one), transfer_ns(one)) == (None, 20 * MS, 0)


def test_exchanges_are_told_apart_where_all_of_them_are_there() -> None:
    first, other, unknown = (
        traces.connection(1, exchanges=1),
        traces.connection(2, exchanges=4),
        traces.connection(3, "10.0.0.2", 53, UDP),
    )
    found = read_trace(
        traces.execution(
            [first, other, unknown],
            exchanges=[
                traces.exchange(number, first_out=out) for number in (1, 2) for out in (1, 2)
            ],
        )
    )
    # Three were folded: of the first connection none of them.
    some = told_apart(found.connections, found.exchanges, whole=False)
    assert {number: len(rows) for number, rows in some.items()} == {1: 2}
    everything = told_apart(found.connections, found.exchanges, whole=True)
    assert {number: len(rows) for number, rows in everything.items()} == {1: 2, 2: 2}


def test_a_group_that_was_off_tells_nothing_apart() -> None:
    found = trace({"closed": 9}, traces.exchange(), capture=WITHOUT)
    assert found.exchanges == ()
    assert (found.connections[0].exchanges, found.connections[0].stale) == (None, None)
    assert told_apart(found.connections, found.exchanges, whole=True) == {}
