"""Namelookups: queries and answers put together, and the names of connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support_dns import AAAA, POINTER, A, answer, question
from support_records import texts

from lambdatrace import wire
from lambdatrace.agent.names import MAX_LOOKUPS, Names


def pieces(text: bytes, direction: int, time: int, **more: int) -> list[wire.TextRecord]:
    return texts(wire.KIND_DNS, direction, text, time, **more)


def query(text: bytes, time: int, **more: int) -> list[wire.TextRecord]:
    return pieces(text, wire.TEXT_SENT, time, **more)


def reply(text: bytes, time: int, **more: int) -> list[wire.TextRecord]:
    return pieces(text, wire.TEXT_RECEIVED, time, **more)


def connection(address: bytes, started: int, number: int = 9) -> wire.ConnectionRecord:
    record = wire.ConnectionRecord.unpack(bytes(wire.ConnectionRecord.SIZE))
    record.family, record.id, record.started = 4, number, started
    record.address = address.ljust(16, b"\0")
    return record


TEN = bytes([192, 0, 2, 10])


def test_a_question_and_its_answer() -> None:
    names = Names()
    found = names.read(
        query(question("api.example"), 100) + reply(answer("api.example", [(POINTER, A, TEN)]), 350)
    )

    assert [lookup.row() for lookup in found] == [
        ["api.example", "A", "192.0.2.53", 100, 350, 1, "NOERROR", 0, ["192.0.2.10"], 5, 1]
    ]


def test_asked_again_is_one_lookup_from_the_first_time_on() -> None:
    text = question("api.example")
    found = Names().read(query(text, 100) + query(text, 5_100, connection=2))

    assert [(lookup.attempts, lookup.started, lookup.answered) for lookup in found] == [(2, 100, 0)]


def test_a_pair_of_questions_stays_a_pair() -> None:
    found = Names().read(
        query(question("api.example", A, 7), 100) + query(question("api.example", AAAA, 8), 100)
    )

    assert [lookup.type for lookup in found] == [A, AAAA]


def test_a_long_answer_comes_in_pieces() -> None:
    records = [(POINTER, A, bytes([192, 0, 2, n])) for n in range(45)]
    text = answer("big.example", records)
    assert 3 * wire.TEXT_FRAGMENT_BYTES < len(text) <= 4 * wire.TEXT_FRAGMENT_BYTES

    (found,) = Names().read(query(question("big.example"), 1) + reply(text, 2))

    assert found.addresses == [f"192.0.2.{n}" for n in range(45)]


def test_of_an_answer_that_is_longer_still_the_beginning_is_read() -> None:
    text = answer("big.example", [(POINTER, A, bytes([192, 0, 2, n])) for n in range(60)])
    assert len(text) > wire.DNS_FRAGMENTS * wire.TEXT_FRAGMENT_BYTES

    (found,) = Names().read(query(question("big.example"), 1) + reply(text, 2))

    assert found.answered == 2
    assert 40 < len(found.addresses) < 60


def test_messages_of_two_threads_that_come_in_turns_are_kept_apart() -> None:
    first = reply(_many(7, "one.example"), 2, tid=5)
    second = reply(_many(8, "two.example"), 3, tid=6)
    mixed = [record for pair in zip(first, second, strict=True) for record in pair]
    asked = query(question("one.example", A, 7), 1) + query(question("two.example", A, 8), 1, tid=6)

    found = Names().read(asked + mixed)

    assert [(lookup.name, len(lookup.addresses)) for lookup in found] == [
        ("one.example", 20), ("two.example", 20),
    ]  # fmt: skip


def _many(number: int, host: str) -> bytes:
    records = [(POINTER, A, bytes([192, 0, 2, n])) for n in range(20)]
    return number.to_bytes(2, "big") + answer(host, records)[2:]


def test_a_handshake_is_no_dns_message() -> None:
    text = question("api.example")
    found = Names().read(texts(wire.KIND_TLS, wire.TEXT_SENT, text, 1) + query(text, 2))

    assert [lookup.started for lookup in found] == [2]


def test_over_tcp_the_length_is_no_part_of_the_message() -> None:
    asked, told = question("api.example"), answer("api.example", [(POINTER, A, TEN)])
    stream = wire.TEXT_STREAM
    (found,) = Names().read(
        query(len(asked).to_bytes(2, "big") + asked, 1, flags=stream)
        + reply(len(told).to_bytes(2, "big"), 2, flags=stream)
        + reply(told, 3, flags=stream)
    )

    assert found.answered == 3
    assert found.addresses == ["192.0.2.10"]


def test_the_name_a_connection_was_opened_for() -> None:
    names = Names()
    found = names.read(
        query(question("old.example", A, 1), 100)
        + reply(_numbered(1, "old.example"), 110)
        + query(question("new.example", A, 2), 300)
        + reply(_numbered(2, "new.example"), 310)
    )
    early, late = connection(TEN, 200, 1), connection(TEN, 400, 2)

    assert names.hosts([early, late], found) == {1: "old.example", 2: "new.example"}
    # A later execution knows the address without asking again.
    assert names.hosts([connection(TEN, 900, 3)], []) == {3: "new.example"}
    assert names.hosts([connection(bytes([192, 0, 2, 99]), 900)], found) == {}


def _numbered(number: int, host: str) -> bytes:
    return number.to_bytes(2, "big") + answer(host, [(POINTER, A, TEN)])[2:]


def test_a_peek_leaves_everything_as_it_was() -> None:
    names = Names()
    asked = query(question("api.example"), 100)

    assert len(names.read(asked, peek=True)) == 1
    assert len(names.read(asked)) == 1
    assert names.hosts([connection(TEN, 900)], []) == {}


def test_the_number_of_lookups_is_bounded() -> None:
    asked = [
        record
        for number in range(MAX_LOOKUPS + 50)
        for record in query(question(f"n{number}.example"), number)
    ]

    assert len(Names().read(asked)) == MAX_LOOKUPS


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=600),
            st.sampled_from([wire.TEXT_SENT, wire.TEXT_RECEIVED, 0, 9]),
            st.integers(0, 3),
            st.integers(0, 255),
            st.integers(0, 65535),
        ),
        max_size=10,
    )
)
def test_any_records_are_survived(parts: list[tuple[bytes, int, int, int, int]]) -> None:
    records = []
    for text, direction, flags, fragment, length in parts:
        for record in pieces(text, direction, 1, flags=flags):
            record.fragment, record.length = fragment % 6, length
            records.append(record)

    Names().read(records)
