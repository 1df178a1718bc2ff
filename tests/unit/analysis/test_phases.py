"""Phases: what follows from a record, and nothing more."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import support_traces as traces

from lambdatrace import wire
from lambdatrace.analysis.phases import (
    connect_ns,
    mixed_stretch,
    phases,
    transfer_ns,
    wait_ns,
)
from lambdatrace.analysis.trace import read_trace

if TYPE_CHECKING:
    from lambdatrace.model import Connection

UDP = socket.IPPROTO_UDP
OPEN = wire.CONNECTION_OPEN
REUSED = wire.CONNECTION_REUSED


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 7, "first_in": 20, "last_in": 25,
             "closed": 30},
            [("connect", 0, 5), ("wait", 7, 20), ("transfer", 20, 25)],
            id="one exchange",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 50, "first_in": 20, "last_in": 70,
             "waited": 60, "transferred": 3},
            [("connect", 0, 5), ("wait", 6, 20), ("wait", 20, 70)],
            id="several exchanges, mostly waiting",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 21, "first_in": 20, "last_in": 70,
             "waited": 15, "transferred": 48},
            [("connect", 0, 5), ("wait", 6, 20), ("transfer", 20, 70)],
            id="several exchanges, mostly transfer",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 50, "first_in": 20, "last_in": 70,
             "waited": 34, "transferred": 20},
            [("connect", 0, 5), ("wait", 6, 20)],
            id="several exchanges, of this and that",
        ),
        pytest.param(
            {"established": 5, "first_out": 6, "last_out": 100, "first_in": 20, "last_in": 25,
             "flags": OPEN, "waited": 14, "transferred": 5},
            [("connect", 0, 5), ("wait", 6, 20), ("transfer", 20, 25), ("wait", 100, 2_000)],
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
    ],
)  # fmt: skip
def test_phases(record: dict[str, int], expected: list[tuple[str, int, int]]) -> None:
    ms = traces.MS
    found = [
        (str(one.kind), one.start_ns // ms, one.end_ns // ms) for one in phases(decoded(**record))
    ]
    assert found == expected


def decoded(**record: object) -> Connection:
    (connection,) = read_trace(traces.execution([traces.connection(**record)])).connections
    return connection


def test_how_long_it_took_altogether() -> None:
    one = decoded(
        established=5, first_out=6, last_out=100, first_in=20, last_in=25, flags=OPEN,
        waited=14, transferred=5,
    )  # fmt: skip
    ms = traces.MS
    assert (connect_ns(one), wait_ns(one), transfer_ns(one)) == (5 * ms, 1_914 * ms, 5 * ms)


def test_what_is_not_known_has_no_length() -> None:
    one = decoded(established=4, closed=5)
    assert (connect_ns(one), wait_ns(one), transfer_ns(one)) == (4 * traces.MS, None, None)
    metrics = decoded(protocol=UDP, port=8125, first_out=1, closed=90)
    assert (connect_ns(metrics), wait_ns(metrics)) == (None, None)


@pytest.mark.parametrize(
    ("waited", "transferred", "mixed"), [(34, 20, True), (14, 1, False), (64, 0, False)]
)
def test_a_stretch_of_several_exchanges(waited: int, transferred: int, mixed: bool) -> None:
    one = decoded(
        established=5, first_out=6, last_out=60, first_in=20, last_in=70, closed=80,
        waited=waited, transferred=transferred,
    )  # fmt: skip
    stretch = (20 * traces.MS, 70 * traces.MS)
    assert mixed_stretch(one) == (stretch if mixed else None)
