"""Handshakes: what was said in the clear on each connection, from its pieces."""

from __future__ import annotations

import itertools
import ssl
import struct

from hypothesis import given
from hypothesis import strategies as st
from support_records import make, texts

from lambdatrace import wire
from lambdatrace.agent import handshakes
from lambdatrace.agent.handshakes import Handshakes

NAME = "api.partner.example"
HANDSHAKE_FAILURE = bytes([0x15, 3, 3, 0, 2, 2, 40])


def client_hello(name: str = NAME) -> bytes:
    """What this machine's OpenSSL sends first."""
    context = ssl.create_default_context()
    answers, asks = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = context.wrap_bio(answers, asks, server_hostname=name)
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return asks.read()
    raise AssertionError("a handshake with nobody")


def server_hello(suite: int = 0x1301) -> bytes:
    """The shortest there is: TLS 1.3 by its suite, else 1.2."""
    body = b"\3\3" + bytes(32) + b"\0" + struct.pack(">HB", suite, 0)
    message = struct.pack(">I", 2 << 24 | len(body)) + body
    return b"\x16\3\3" + struct.pack(">H", len(message)) + message


def sent(text: bytes, time: int = 1, connection: int = 1) -> list[wire.TextRecord]:
    return texts(wire.KIND_TLS, wire.TEXT_SENT, text, time, connection=connection)


def received(text: bytes, time: int = 2, connection: int = 1) -> list[wire.TextRecord]:
    return texts(wire.KIND_TLS, wire.TEXT_RECEIVED, text, time, connection=connection)


def connections(*numbers: int, tls_started: int = 1) -> list[wire.ConnectionRecord]:
    return [make(wire.ConnectionRecord, id=n, tls_started=tls_started) for n in numbers]


def test_name_and_version_of_each_connection() -> None:
    known = Handshakes()
    known.read(
        sent(client_hello()) + sent(client_hello("db.internal"), connection=2)
        + received(server_hello()) + received(server_hello(0xC02F), connection=2)
    )  # fmt: skip

    assert known.of(connections(1, 2, 3)) == {
        1: [NAME, "1.3", ""],
        2: ["db.internal", "1.2", ""],
    }


def test_a_hello_of_several_pieces_is_read_as_one() -> None:
    # A long name comes last of all in no ClientHello, but padding and key shares come before it.
    hello = client_hello("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + ".example")
    assert len(sent(hello)) > 1

    known = Handshakes()
    known.read(sent(hello))

    ((name, _, _),) = known.of(connections(1)).values()
    assert name.endswith(".example")


def test_a_version_that_comes_piece_by_piece_and_over_two_executions() -> None:
    hello = server_hello()
    for splits in ([5], [5, 9], [1], [60], [5, 60]):
        known = Handshakes()
        known.read(sent(client_hello()))
        at = [0, *splits, len(hello)]
        for begin, end in itertools.pairwise(at):
            known.read(received(hello[begin:end], begin))
        assert known.of(connections(1)) == {1: [NAME, "1.3", ""]}, splits


def test_reading_the_same_again_changes_nothing() -> None:
    # As when an execution is written as it stands shortly before its deadline, and then again.
    known = Handshakes()
    hello = server_hello()
    first = sent(client_hello()) + received(hello[:5])
    for _ in range(2):
        known.read(first, peek=True)
    known.read(first + received(hello[5:], 3))
    assert known.of(connections(1)) == {1: [NAME, "1.3", ""]}
    whole = sent(client_hello()) + received(hello)
    for _ in range(2):
        known.read(whole)
    assert known.of(connections(1)) == {1: [NAME, "1.3", ""]}


def test_an_alert_of_either_side() -> None:
    known = Handshakes()
    known.read(sent(client_hello()) + received(HANDSHAKE_FAILURE))
    unknown_ca = HANDSHAKE_FAILURE[:-1] + bytes([48])
    known.read(sent(client_hello(), connection=2) + sent(unknown_ca, 3, connection=2))
    # The first one is the reason.
    known.read(sent(unknown_ca, 4))

    assert known.of(connections(1, 2)) == {
        1: [NAME, "", "handshake_failure"],
        2: [NAME, "", "unknown_ca"],
    }


def test_a_connection_whose_handshake_was_not_seen_speaks_no_tls() -> None:
    known = Handshakes()
    known.read(sent(client_hello()))
    assert known.of(connections(1, tls_started=0)) == {}


def test_a_later_execution_still_knows_and_one_after_the_end_does_not() -> None:
    known = Handshakes()
    known.read(sent(client_hello()) + sent(client_hello(), connection=2) + received(server_hello()))
    known.forget({1: None})
    assert known.of(connections(1, 2)) == {1: [NAME, "1.3", ""]}
    known.forget({})
    assert known.of(connections(1)) == {}


def test_what_is_remembered_is_bounded() -> None:
    known = Handshakes()
    count = handshakes.MAX_REMEMBERED + 10
    hello = client_hello()
    for number in range(1, count + 1):
        known.read(sent(hello, connection=number) + received(server_hello(), connection=number))
    found = known.of(connections(*range(1, count + 1)))
    assert sorted(found) == list(range(11, count + 1))  # the newest
    assert len(known._received) <= handshakes.MAX_REMEMBERED


def test_dns_is_none_of_its_business() -> None:
    known = Handshakes()
    known.read(texts(wire.KIND_DNS, wire.TEXT_SENT, client_hello(), 1))
    assert known.of(connections(1)) == {}


_PIECES = st.tuples(
    st.binary(max_size=500) | st.just(server_hello()) | st.just(HANDSHAKE_FAILURE),
    st.sampled_from([wire.TEXT_SENT, wire.TEXT_RECEIVED, 0, 9]),
    st.integers(1, 3),
    st.integers(0, 300),
    st.integers(0, 65535),
)


@given(st.lists(_PIECES, max_size=12))
def test_any_records_are_survived(parts: list[tuple[bytes, int, int, int, int]]) -> None:
    known = Handshakes()
    for text, direction, connection, fragment, length in parts:
        records = texts(wire.KIND_TLS, direction, text, 1, connection=connection)
        for record in records:
            record.fragment, record.length = fragment % 256, length
        known.read(records)
    for row in known.of(connections(1, 2, 3)).values():
        assert [type(each) for each in row] == [str, str, str]
