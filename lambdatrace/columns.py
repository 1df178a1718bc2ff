"""Records of an execution as differences: two thirds of what deflating makes of their bytes.

Each field is told by how it differs from what is likely to be near it: a time from the one that
usually comes before it in the same record, most others from the record before. Fields come one
after the other, each for all records, in two streams. The first is worth deflating: how long each
difference is (its code), the highest byte of each, and texts. The other holds the lower bytes,
which are chance. A text (address, name) is told by its number in the order of first appearance.

A code: 0 as the reference; 1 the value is 0; 2n a difference of n bytes; 2n + 1 the same below 0.

Used by the agent: standard library only, no `dataclasses`, no `typing`.
"""

from __future__ import annotations

import struct

from lambdatrace import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Field -> what it is told from: a field that stands before it in the same record, "-field" of the
# record before, or "": nothing. Unless named, it is its own value in the record before. This is
# part of schema 3 (items.py).
_REFERENCES: dict[type[wire.Record], dict[str, str]] = {
    wire.ConnectionRecord: {
        "established": "started", "first_out": "established", "last_out": "first_out",
        "first_in": "first_out", "last_in": "last_out", "closed": "last_in",
        "tls_started": "first_out", "tls_ended": "tls_started", "bytes_out": "", "bytes_in": "",
        "waited": "", "transferred": "", "sends": "", "receives": "", "exchanges": "",
    },
    wire.ExchangeRecord: {
        "first_out": "-last_in", "last_out": "first_out", "first_in": "last_out",
        "last_in": "first_in", "bytes_out": "", "bytes_in": "",
    },
    wire.BlockedRecord: {"started": "-ended", "ended": "started", "waited": ""},
    wire.PauseRecord: {"started": "-ended", "ended": "started"},
    wire.SyscallRecord: {"result": "", "duration": ""},
}  # fmt: skip

_ZERO = 1
_MAX_CODE = 17  # of a difference of eight bytes


class _Field:
    """One field of a record. Its reference stands at `own` in the record itself, or at `before` in
    the one before (-1: not there); where that holds nothing yet, and a time is wanted, it is the
    start that `pack` was given.
    """

    __slots__ = ("before", "is_time", "own", "text_bytes")

    def __init__(self, record: type[wire.Record], name: str) -> None:
        kind = record.__annotations__[name]
        reference = _REFERENCES.get(record, {}).get(name, f"-{name}")
        self.text_bytes = int(kind[1:]) if kind[0] == "b" else 0
        self.own = record.NAMES.index(reference) if reference in record.NAMES else -1
        self.before = record.NAMES.index(reference[1:]) if reference[:1] == "-" else -1
        self.is_time = kind == "u64" and self.before >= 0


_known_fields: dict[type[wire.Record], list[_Field]] = {}


def _fields(record: type[wire.Record]) -> list[_Field]:
    if record not in _known_fields:
        _known_fields[record] = [_Field(record, name) for name in record.NAMES]
    return _known_fields[record]


def pack(record: type[wire.Record], data: bytes, start: int) -> tuple[bytes, bytes]:
    """(the stream to deflate, the other one) of whole records; `start`: ns, near their times."""
    columns: list[Any] = list(zip(*record.STRUCT.iter_unpack(data), strict=True))
    codes, highest, lower, texts = bytearray(), bytearray(), bytearray(), bytearray()
    near: list[Sequence[int]] = []  # the values; where one is 0, its reference
    for place, field in enumerate(_fields(record) if columns else ()):
        if field.text_bytes:
            columns[place] = _numbered(columns[place], texts)
        column = columns[place]
        if field.own >= 0:
            references = near[field.own]
        elif field.before >= 0:
            first = start if field.is_time else 0
            references = (first, *[value or first for value in columns[field.before][:-1]])
        else:
            references = (0,) * len(column)
        if column == references:  # the usual case
            codes += bytes(len(column))
            near.append(references)
            continue
        for value, reference in zip(column, references, strict=True):
            difference = value - reference
            if not difference or not value:
                codes.append(_ZERO if difference else 0)
                continue
            size = abs(difference).bit_length() + 7 >> 3
            codes.append(2 * size + (difference < 0))
            digits = abs(difference).to_bytes(size, "little")
            highest.append(digits[-1])
            lower += digits[:-1]
        if 0 in column:
            column = tuple(map(_or, column, references))
        near.append(column)
    return bytes(codes + highest + texts), bytes(lower)


def _or(value: int, reference: int) -> int:
    return value or reference


def _numbered(column: Sequence[bytes], texts: bytearray) -> tuple[int, ...]:
    """The numbers of texts, from 1 on; new ones go to `texts`, each behind its length."""
    known: dict[bytes, int] = {}
    for text in column:
        if text not in known:
            known[text] = len(known) + 1
            short = text.rstrip(b"\0")
            texts.append(len(short))
            texts += short
    return tuple([known[text] for text in column])


class Reader:
    """Takes from the front of both streams what `pack` has made of one kind after the other."""

    def __init__(self, deflated: bytes, lower: bytes, start: int) -> None:
        self._streams = deflated, lower
        self._places = [0, 0]
        self._start = start

    @property
    def is_at_end(self) -> bool:
        """Whether both streams have been used up."""
        return self._places == [len(stream) for stream in self._streams]

    def unpack(self, record: type[wire.Record], count: int) -> bytes:
        """So many records, back to back. Raises ValueError on what `pack` did not write."""
        fields = _fields(record)
        codes = self._take(0, count * len(fields))
        if codes and max(codes) > _MAX_CODE:
            raise ValueError("a code that there is not")
        differences = self._differences(codes)
        texts: list[list[bytes]] = [[] for _ in fields]
        # By record, for fields need each other's values; texts come by field.
        numbers: list[list[int]] = []
        for row in range(count):
            before = numbers[-1] if numbers else [0] * len(fields)
            near: list[int] = []
            values: list[int] = []
            for place, field in enumerate(fields):
                reference = 0
                if field.own >= 0:
                    reference = near[field.own]
                elif field.before >= 0:
                    reference = before[field.before] or (self._start if field.is_time else 0)
                cell = place * count + row
                value = 0 if codes[cell] == _ZERO else reference + differences[cell]
                values.append(value)
                near.append(value or reference)
            numbers.append(values)
        for place, field in enumerate(fields):
            if field.text_bytes:
                texts[place] = self._texts([row[place] for row in numbers], field.text_bytes)
        found = []
        for row, values in enumerate(numbers):
            cells = [
                told[row] if told else value for value, told in zip(values, texts, strict=True)
            ]
            try:
                found.append(record.STRUCT.pack(*cells))
            except struct.error as error:
                raise ValueError("a value that its field has no room for") from error
        return b"".join(found)

    def _differences(self, codes: bytes) -> list[int]:
        highest = self._take(0, sum(code > _ZERO for code in codes))
        found, at = [], 0
        for code in codes:
            difference = 0
            if code > _ZERO:
                digits = self._take(1, (code >> 1) - 1) + highest[at : at + 1]
                at += 1
                difference = int.from_bytes(digits, "little")
            found.append(-difference if code & 1 else difference)
        return found

    def _texts(self, numbers: Sequence[int], most: int) -> list[bytes]:
        known: list[bytes] = []
        for number in numbers:
            if number == len(known) + 1:
                (size,) = self._take(0, 1)
                if size > most:
                    raise ValueError("a text that its field has no room for")
                known.append(self._take(0, size))
            elif not 1 <= number <= len(known):
                raise ValueError("a text that was never told")
        return [known[number - 1] for number in numbers]

    def _take(self, stream: int, size: int) -> bytes:
        begin = self._places[stream]
        self._places[stream] = end = begin + size
        if end > len(self._streams[stream]):
            raise ValueError("cut short")
        return self._streams[stream][begin:end]
