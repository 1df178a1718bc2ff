"""Namelookups: queries and answers put together, and the names of connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support_dns import AAAA, POINTER, A, answer, question

from lambdatrace import wire
from lambdatrace.agent.names import MAX_LOOKUPS, Names

SERVER = bytes([192, 0, 2, 53]).ljust(16, b"\0")


def pieces(
    text: bytes, direction: int, time: int, *, tid: int = 5, connection: int = 1, flags: int = 0
) -> list[wire.DnsRecord]:
    size = wire.DNS_FRAGMENT_BYTES
    return [
        wire.DnsRecord(
            wire.KIND_DNS, direction, number, 4, connection, 5, tid, 5, len(text), flags, time,
            SERVER, text[number * size : (number + 1) * size].ljust(size, b"\0"),
        )
        for number in range(min(wire.DNS_FRAGMENTS, -(-len(text) // size)))
    ]  # fmt: skip


def query(text: bytes, time: int, **more: int) -> list[wire.DnsRecord]:
    return pieces(text, wire.DNS_QUERY, time, **more)


def reply(text: bytes, time: int, **more: int) -> list[wire.DnsRecord]:
    return pieces(text, wire.DNS_ANSWER, time, **more)


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
    records = [(POINTER, A, bytes([192, 0, 2, n])) for n in range(30)]
    text = answer("big.example", records)
    assert len(text) > 4 * wire.DNS_FRAGMENT_BYTES

    (found,) = Names().read(query(question("big.example"), 1) + reply(text, 2))

    assert found.addresses == [f"192.0.2.{n}" for n in range(30)]


def test_over_tcp_the_length_is_no_part_of_the_message() -> None:
    asked, told = question("api.example"), answer("api.example", [(POINTER, A, TEN)])
    stream = wire.DNS_STREAM
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
            st.sampled_from([wire.DNS_QUERY, wire.DNS_ANSWER, 0, 9]),
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
