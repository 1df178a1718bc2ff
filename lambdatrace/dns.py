"""DNS messages (RFC 1035): the few things a trace needs of them, from bytes that may be anything.

Used by the agent: standard library only.
"""

from __future__ import annotations

import _socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_HEADER = struct.Struct(">HHHHHH")
_RESPONSE = 0x8000
_TRUNCATED = 0x0200
_RCODE = 0x000F

A: Final = 1
AAAA: Final = 28
# IANA's names of the types one meets; others are written TYPE123 (RFC 3597).
TYPES: Final = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
    64: "SVCB", 65: "HTTPS", 255: "ANY",
}  # fmt: skip
RCODES: Final = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
}  # fmt: skip

# RFC 1035: a name has at most 255 bytes, hence at most 127 labels; each pointer costs one of them
# here, which ends loops.
_MAX_NAME_STEPS = 128
_MAX_NAME_BYTES = 255
# More answers than any resolver uses: a bound on what a hostile message can make a reader keep.
_MAX_ANSWERS = 64


class Message:
    """What could be read of one message; `malformed` if it ended or broke before its end."""

    __slots__ = ("addresses", "id", "is_answer", "malformed", "name", "rcode", "truncated", "type")

    def __init__(self) -> None:
        self.id = 0
        self.is_answer = False
        self.truncated = False
        self.rcode = 0
        self.name = ""  # of the first question, lower case, without the last dot
        self.type = 0
        self.addresses: list[str] = []  # of all A and AAAA answers, whatever CNAMEs lead to them
        self.malformed = False


def parse(data: bytes) -> Message | None:
    """Read a message; None if not even its first question can be read."""
    if len(data) < _HEADER.size:
        return None
    message = Message()
    message.id, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    message.is_answer = bool(flags & _RESPONSE)
    message.truncated = bool(flags & _TRUNCATED)
    message.rcode = flags & _RCODE
    if not questions:
        return None
    try:
        message.name, offset = _name(data, _HEADER.size)
        message.type = _number(data, offset)
        offset += 4
        for _ in range(questions - 1):
            offset = _name(data, offset)[1] + 4
    except ValueError:
        return None
    try:
        for _ in range(min(answers, _MAX_ANSWERS)):
            offset = _answer(data, offset, message.addresses)
    except ValueError:
        message.malformed = True
    return message


def type_name(number: int) -> str:
    """A record type as text."""
    return TYPES.get(number, f"TYPE{number}")


def rcode_name(number: int) -> str:
    """An answer code as text."""
    return RCODES.get(number, f"RCODE{number}")


def _answer(data: bytes, offset: int, addresses: list[str]) -> int:
    """Read one resource record; returns where the next begins. Raises ValueError."""
    offset = _name(data, offset)[1]
    kind, length = _number(data, offset), _number(data, offset + 8)
    begin, end = offset + 10, offset + 10 + length
    if end > len(data):
        raise ValueError("a record is cut short")
    if kind == A and length == 4:
        addresses.append(_socket.inet_ntop(_socket.AF_INET, data[begin:end]))
    elif kind == AAAA and length == 16:
        addresses.append(_socket.inet_ntop(_socket.AF_INET6, data[begin:end]))
    return end


def _number(data: bytes, offset: int) -> int:
    if offset + 2 > len(data):
        raise ValueError("a number is cut short")
    return data[offset] << 8 | data[offset + 1]


def _name(data: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset` and where it ends there. Raises ValueError."""
    labels: list[str] = []
    end = -1
    size = 0
    for _ in range(_MAX_NAME_STEPS):
        if offset >= len(data):
            break
        length = data[offset]
        if length >= 0xC0:
            if end < 0:
                end = offset + 2
            offset = _number(data, offset) & 0x3FFF
            continue
        if length > 63:
            break
        offset += 1
        if not length:
            return ".".join(labels).lower(), offset if end < 0 else end
        if offset + length > len(data):
            break
        size += length + 1
        if size > _MAX_NAME_BYTES:
            break
        # Names are bytes; what is no printable ASCII is escaped as in master files.
        label = data[offset : offset + length]
        labels.append("".join(chr(b) if 0x21 <= b <= 0x7E else f"\\{b:03d}" for b in label))
        offset += length
    raise ValueError("a name does not end")
