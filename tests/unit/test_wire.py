"""The record layout: sizes, round trips and what is refused."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace import wire

if TYPE_CHECKING:
    from lambdatrace.wire import u8, u64

RECORDS = [
    wire.ConnectionRecord, wire.EdgeRecord, wire.TextRecord, wire.ExchangeRecord, wire.Exchange,
    wire.BlockedRecord, wire.SyscallRecord, wire.Config,
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS)
@given(data=st.data())
def test_any_bytes_of_the_right_length_survive_a_round_trip(
    record: type[wire.Record], data: st.DataObject
) -> None:
    raw = data.draw(st.binary(min_size=record.SIZE, max_size=record.SIZE))
    # A record is a C struct: padding bytes are the only ones that could get lost, and a layout
    # with padding is refused when the class is made.
    assert record.unpack(raw).pack() == raw


@pytest.mark.parametrize("record", RECORDS)
@given(raw=st.binary(max_size=400))
def test_short_or_ragged_input_is_a_struct_error_and_nothing_else(
    record: type[wire.Record], raw: bytes
) -> None:
    if len(raw) < record.SIZE:
        with pytest.raises(struct.error):
            record.unpack(raw)
    if len(raw) % record.SIZE:
        with pytest.raises(struct.error):
            list(record.iter_unpack(raw))
    else:
        assert b"".join(one.pack() for one in record.iter_unpack(raw)) == raw


def test_everything_in_the_events_ring_has_one_size_and_keeps_it_aligned() -> None:
    assert wire.EVENT_BYTES == wire.ConnectionRecord.SIZE + wire.Exchange.SIZE
    assert wire.EVENT_BYTES == wire.EdgeRecord.SIZE == wire.TextRecord.SIZE
    # The kernel pads these.
    assert max(wire.ExchangeRecord.SIZE, wire.BlockedRecord.SIZE) < wire.EVENT_BYTES
    assert all(record.SIZE % 8 == 0 for record in RECORDS)


def test_every_record_of_the_events_ring_begins_with_its_kind() -> None:
    kinds = [value for name, value in vars(wire).items() if name.startswith("KIND_")]
    assert len(set(kinds)) == len(kinds)
    for record in RECORDS:
        if record not in (wire.Exchange, wire.Config):
            assert record.NAMES[0] == "kind"
            assert record.unpack(bytes([7]) + bytes(record.SIZE - 1)).kind == 7  # type: ignore[attr-defined]


def test_a_longer_text_than_one_piece_fits_the_bytes_of_its_pieces() -> None:
    assert wire.TextRecord.NAMES[-1] == "text"
    piece = wire.TextRecord.unpack(bytes(wire.TextRecord.SIZE)).text
    assert len(piece) == wire.TEXT_FRAGMENT_BYTES
    assert wire.TLS_RECEIVED_FRAGMENTS >= 1
    assert max(wire.DNS_FRAGMENTS, wire.TLS_SENT_FRAGMENTS) < 256  # TextRecord.fragment


def test_a_layout_a_compiler_would_pad_is_refused() -> None:
    with pytest.raises(TypeError, match="pad"):

        class Padded(wire.Record):
            small: u8
            large: u64


def test_fields_are_read_in_their_order() -> None:
    raw = bytes([wire.KIND_SYSCALL, 2]) + struct.pack("<HIIIiiQQ", 3, 4, 5, 6, -7, -8, 9, 10)
    record = wire.SyscallRecord.unpack(raw)
    assert (record.op, record.flags, record.connection) == (2, 3, 4)
    assert (record.fd, record.result, record.started, record.duration) == (-7, -8, 9, 10)


def test_operations_have_distinct_numbers() -> None:
    assert [wire.OPS[number] for number in wire.OP_NUMBERS.values()] == list(wire.OPS)
    assert len(wire.OPS) < 256


def test_the_c_header_defines_every_field() -> None:
    header = wire.c_header()
    for record in RECORDS:
        assert all(f" {name};" in header or f" {name}[" in header for name in record.NAMES)
