"""What the tests' referee makes of packets and traces, where what happened is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import support_dns
from support_calls import Calls
from support_capture import ACK, FIN, SYN, TCP, UDP, Packet
from support_referee import compared
from support_wire import Exchange, Flow, Query, flows, queries

NEAR, FAR = ("192.0.2.1", 40000), ("192.0.2.2", 443)
# Numbers of both directions run over in the middle of the first bytes.
OUT, INTO = 0xFFFFFFFD, 0xFFFFFFF0
MS = 1_000_000


def out(time: int, at: int, text: bytes = b"", flags: int = ACK) -> Packet:
    return Packet(time, True, TCP, NEAR, FAR, flags, (OUT + at) & 0xFFFFFFFF, text)


def into(time: int, at: int, text: bytes = b"", flags: int = ACK) -> Packet:
    return Packet(time, False, TCP, FAR, NEAR, flags, (INTO + at) & 0xFFFFFFFF, text)


HANDSHAKE = [out(1, 0, flags=SYN), into(5, 0, flags=SYN | ACK), out(6, 1)]


def test_a_kept_alive_connection_has_an_exchange_for_each_request() -> None:
    (flow,) = flows(
        [
            *HANDSHAKE,
            out(10, 1, b"GET"), out(12, 4, b"/"),
            into(20, 1, b"abc"), into(25, 4, b"de"),
            out(30, 5, b"AGAIN"),
            into(44, 6, b"f"),
            out(50, 10, b"BYE", flags=FIN | ACK),
            into(51, 7, b"nobody reads this"),
        ]
    )  # fmt: skip

    assert (flow.syn, flow.syn_ack, flow.retransmits) == (1, 5, 0)
    assert flow.exchanges() == [Exchange(12, 20), Exchange(30, 44), Exchange(50, None)]


def test_what_was_sent_before_is_a_retransmission_and_no_new_request() -> None:
    (flow,) = flows(
        [
            out(1, 0, flags=SYN), out(1001, 0, flags=SYN), into(1005, 0, flags=SYN | ACK),
            out(1010, 1, b"GET"), out(1011, 4, b"/"), out(1250, 4, b"/"), out(1260, 1, b"GET/"),
            into(1270, 1, b"a"),
            out(1280, 5, flags=FIN | ACK), out(1290, 5, flags=FIN | ACK),
        ]
    )  # fmt: skip

    assert flow.syn_ack == 1005
    assert (flow.retransmits, flow.retransmits_when_closed) == (4, 1)
    assert flow.exchanges() == [Exchange(1011, 1270)]


def test_an_answer_is_there_when_its_first_byte_is_and_not_a_later_one() -> None:
    (flow,) = flows(
        [
            *HANDSHAKE,
            out(10, 1, b"GET"),
            into(20, 4, b"de"), into(30, 6, b"f"), into(220, 1, b"abc"), into(221, 1, b"abc"),
        ]
    )  # fmt: skip

    assert bytes(flow.into.text) == b"abcdef"
    assert flow.exchanges() == [Exchange(10, 220)]


def test_a_port_used_again_is_another_connection() -> None:
    again = Packet(90, True, TCP, NEAR, FAR, SYN, 7, b"")

    assert [flow.syn for flow in flows([*HANDSHAKE, again])] == [1, 90]


def test_neither_a_handshake_nor_tickets_nor_a_farewell_are_exchanges_of_tls() -> None:
    hello, encrypted = b"\x16\x03\x01\0\x04abcd", b"\x17\x03\x03\0\x05abcde"
    farewell = b"\x17\x03\x03\0\x13" + bytes(19)
    (flow,) = flows(
        [
            *HANDSHAKE,
            out(10, 1, hello), into(20, 1, hello + encrypted),
            out(30, 10, encrypted), out(31, 20, encrypted),  # Finished, a request
            into(40, 20, encrypted), into(50, 30, encrypted),  # a ticket, the answer
            out(60, 30, farewell),
        ]
    )  # fmt: skip

    assert flow.exchanges("1.3", 1) == [Exchange(31, 50)]
    assert flow.exchanges("1.3", 0) == [Exchange(31, 40)]
    assert flow.exchanges("1.2", 0) == [Exchange(31, 40)]


def test_a_query_that_is_repeated_begins_with_the_first() -> None:
    question, answer = support_dns.question("a.test"), support_dns.answer("a.test", [])
    server = ("192.0.2.2", 53)
    sent = [Packet(time, True, UDP, NEAR, server, 0, 0, question) for time in (1, 1001)]
    answered = Packet(1003, False, UDP, server, NEAR, 0, 0, answer)

    assert queries([*sent, answered], []) == [Query("a.test", "A", 1, False, 2, 1003, "NOERROR")]


FLOW = Flow(NEAR, FAR, syn=0, seq=OUT, syn_ack=2 * MS, retransmits=1)
FLOW.out.add(10 * MS, 0, b"GET")
FLOW.into.add(110 * MS, 0, b"a")
QUERY = Query("a.test", "A", 0, False, answered=2 * MS, answer="NOERROR")


def document() -> dict[str, Any]:
    """A trace of one connection, one exchange and one namelookup."""
    connection = {
        "id": 3, "protocol": "tcp", "local_port": 40000, "address": FAR[0], "port": 443,
        "thread_id": 7, "fd": 4, "connect_ms": 2.0, "retransmits": 1, "outcome": "ok",
    }  # fmt: skip
    lookup = {
        "name": "a.test", "type": "A", "duration_ms": 2.0, "attempts": 1, "answer": "NOERROR",
        "connection_id": 3,
    }  # fmt: skip
    exchange = {"connection_id": 3, "wait_ms": 100.0}
    return {"connections": [connection], "exchanges": [exchange], "namelookups": [lookup]}


@pytest.mark.parametrize(
    ("table", "column", "value", "wrong"),
    [
        ("connections", "connect_ms", 2.29, []),
        ("connections", "connect_ms", 2.31, ["connect time"]),
        ("connections", "connect_ms", None, ["connect time"]),
        ("connections", "retransmits", 0, ["retransmits", "retransmits to the end"]),
        ("connections", "outcome", "refused", ["refusals"]),
        ("connections", "port", 80, ["connection", "connection"]),
        ("exchanges", "wait_ms", 104.9, []),
        ("exchanges", "wait_ms", 94.9, ["wait"]),
        ("exchanges", "connection_id", 4, ["exchanges"]),
        ("namelookups", "duration_ms", 1.6, ["DNS delay"]),
        ("namelookups", "attempts", 2, ["attempts"]),
        ("namelookups", "answer", "NXDOMAIN", ["answer"]),
        ("namelookups", "type", "AAAA", ["query", "query"]),
    ],
)
def test_a_trace_is_right_within_5_percent_or_300_us_and_counts_exactly(
    table: str, column: str, value: object, wrong: list[str]
) -> None:
    told = document()
    told[table][0][column] = value

    found = compared([FLOW], [QUERY], told, {}, Calls())

    assert [each.what for each in found if not each.agrees] == wrong


SENT = """
    python-7 [000] ..... 0.009900: sys_enter: NR 44 (4, 7f00, 3, 0, 0, 0)
    python-7 [000] ..... 0.010050: sys_exit: NR 44 = 3
"""
RECEIVE = """
    python-7 [000] ..... 0.010060: sys_enter: NR 45 (4, 7f00, 9, 0, 0, 0)
"""
SLEEP = """
    python-7 [000] ..... 0.010060: sys_enter: NR 230 (1, 0, 7f00, 0, 0, 0)
    python-7 [000] ..... 0.121800: sys_exit: NR 230 = 0
    python-7 [000] ..... 0.121810: sys_enter: NR 45 (4, 7f00, 9, 0, 0, 0)
"""
RECEIVED = """
    python-7 [000] ..... 0.122050: sys_exit: NR 45 = 1
"""


@pytest.mark.parametrize(
    ("calls", "wait", "agrees"),
    [
        (SENT + RECEIVE + RECEIVED, 112.1, True),
        (SENT + RECEIVE + RECEIVED, 112.2, False),
        (SENT + RECEIVE + RECEIVED, 110.0, False),
        (SENT + SLEEP + RECEIVED, 112.1, False),
        (RECEIVE + RECEIVED, 112.1, False),
        ("", 112.1, False),
    ],
)
def test_only_a_program_that_waited_may_be_late_and_only_as_late_as_the_kernel_says(
    monkeypatch: pytest.MonkeyPatch, calls: str, wait: float, agrees: bool
) -> None:
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine="x86_64"))
    log = Calls()
    log.read(calls, offset=0)
    told = document()
    told["exchanges"][0]["wait_ms"] = wait

    found = compared([FLOW], [QUERY], told, {}, log)

    assert [each.agrees for each in found if each.what == "wait"] == [agrees]
