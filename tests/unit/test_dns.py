"""DNS messages: written here by hand after RFC 1035, read by lambdatrace."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from support_dns import POINTER, answer, name, question

from lambdatrace import dns


def test_a_question() -> None:
    message = dns.parse(question("API.Partner.example", dns.AAAA))

    assert message is not None
    assert (message.id, message.is_answer, message.name, message.type) == (
        7, False, "api.partner.example", dns.AAAA,
    )  # fmt: skip


def test_addresses_behind_a_chain_of_names() -> None:
    data = answer(
        "www.example",
        [
            (POINTER, 5, name("a.example")),
            (name("a.example"), 5, b"\x01b" + POINTER),
            (name("b.www.example"), dns.A, bytes([192, 0, 2, 10])),
            (name("b.www.example"), dns.AAAA, bytes(15) + b"\x01"),
        ],
    )
    message = dns.parse(data)

    assert message is not None
    assert message.is_answer
    assert not message.malformed
    assert message.name == "www.example"
    assert message.addresses == ["192.0.2.10", "::1"]


def test_codes_and_truncation() -> None:
    missing = dns.parse(answer("no.example", [], 0x8183))
    cut = dns.parse(answer("big.example", [], 0x8380))

    assert missing is not None
    assert cut is not None
    assert (dns.rcode_name(missing.rcode), missing.truncated) == ("NXDOMAIN", False)
    assert (dns.rcode_name(cut.rcode), cut.truncated) == ("NOERROR", True)
    assert dns.rcode_name(23) == "RCODE23"
    assert dns.type_name(28) == "AAAA"
    assert dns.type_name(4711) == "TYPE4711"


def test_an_answer_cut_short_keeps_what_came_before() -> None:
    whole = answer("a.example", [(POINTER, dns.A, bytes([192, 0, 2, n])) for n in range(3)])
    message = dns.parse(whole[:-1])

    assert message is not None
    assert message.malformed
    assert message.addresses == ["192.0.2.0", "192.0.2.1"]


def test_a_name_that_points_at_itself_ends() -> None:
    head = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)

    assert dns.parse(head + b"\xc0\x0c" + struct.pack(">HH", 1, 1)) is None


def test_a_hostile_label_is_escaped() -> None:
    message = dns.parse(question("\x1b[31m.exa mple"))

    assert message is not None
    assert message.name == "\\027[31m.exa\\032mple"


@given(st.binary(max_size=700))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    message = dns.parse(data)

    if message is not None:
        assert len(message.name) <= 4 * 255
        assert len(message.addresses) <= 64
        assert message.name.isascii()
        assert message.name.isprintable()


@given(st.data())
def test_any_damage_to_an_answer_is_survived(data: st.DataObject) -> None:
    whole = bytearray(answer("a.example", [(POINTER, dns.A, bytes(4)), (POINTER, 5, POINTER)]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    dns.parse(bytes(whole))
