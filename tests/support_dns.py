"""DNS messages written by hand, after RFC 1035."""

from __future__ import annotations

import struct

A, AAAA = 1, 28


def name(text: str) -> bytes:
    labels = [label.encode() for label in text.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(text: str, kind: int = A, number: int = 7, flags: int = 0x0100) -> bytes:
    return (
        struct.pack(">HHHHHH", number, flags, 1, 0, 0, 0) + name(text) + struct.pack(">HH", kind, 1)
    )


def answer(text: str, records: list[tuple[bytes, int, bytes]], flags: int = 0x8180) -> bytes:
    head = struct.pack(">HHHHHH", 7, flags, 1, len(records), 0, 0)
    body = name(text) + struct.pack(">HH", A, 1)
    for owner, kind, data in records:
        body += owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    return head + body


POINTER = b"\xc0\x0c"  # to the question's name
