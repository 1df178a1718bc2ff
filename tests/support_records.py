"""Records from a few words: what is not named is zero."""

from __future__ import annotations

from typing import Any, TypeVar

from lambdatrace import wire

Kind = TypeVar("Kind", bound=wire.Record)

SERVER = bytes([192, 0, 2, 53]).ljust(16, b"\0")
_FRAGMENTS = {
    (wire.KIND_DNS, wire.TEXT_SENT): wire.DNS_FRAGMENTS,
    (wire.KIND_DNS, wire.TEXT_RECEIVED): wire.DNS_FRAGMENTS,
    (wire.KIND_TLS, wire.TEXT_SENT): wire.TLS_SENT_FRAGMENTS,
    (wire.KIND_TLS, wire.TEXT_RECEIVED): wire.TLS_RECEIVED_FRAGMENTS,
}


def make(cls: type[Kind], **fields: Any) -> Kind:
    """A record with these fields."""
    record = cls.unpack(bytes(cls.SIZE))
    for name, value in fields.items():
        assert name in cls.NAMES, name
        setattr(record, name, value)
    return record


def event(record: wire.Record, exchange: wire.Exchange | None = None) -> bytes:
    """A record as the events ring has it; a connection's latest exchange follows it."""
    following = b"" if exchange is None else exchange.pack()
    return (record.pack() + following).ljust(wire.EVENT_BYTES, b"\0")


def texts(
    kind: int, direction: int, text: bytes, time: int, *, tid: int = 5, connection: int = 1,
    flags: int = 0,
) -> list[wire.TextRecord]:  # fmt: skip
    """A message in as many pieces as the probe makes of it."""
    size = wire.TEXT_FRAGMENT_BYTES
    most = _FRAGMENTS.get((kind, direction), wire.DNS_FRAGMENTS)
    return [
        wire.TextRecord(
            kind, direction, number, 4, connection, 5, tid, 5, len(text), flags, time,
            SERVER, text[number * size : (number + 1) * size].ljust(size, b"\0"),
        )
        for number in range(min(most, -(-len(text) // size)))
    ]  # fmt: skip
