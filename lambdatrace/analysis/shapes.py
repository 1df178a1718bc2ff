"""Figures of one destination as glances have them (glance.py): many at once, column by column."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

from lambdatrace.glance import KEY, NUMBERS, TIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

_CODES = ("I", "Q")


class Shape:
    """What executions tell of a destination in the same form.

    `where` is the JSON of host, address, port and protocol, without brackets, not looked at yet;
    `size` how many bytes the figures of one execution have; `waiting` are those not added up yet.
    Raises ValueError for what is no shape.
    """

    __slots__ = ("_code", "_counts", "_width", "size", "waiting", "where")

    def __init__(self, text: str) -> None:
        *where, code = json.loads(f"[{text}]")
        where, self._counts = where[:KEY], where[KEY:]
        is_told = len(where) == KEY and len(self._counts) == len(TIMES) and code in _CODES
        if not is_told or any(type(count) is not int or count < 0 for count in self._counts):
            raise ValueError(text)
        self.where = json.dumps(where, separators=(",", ":")).encode()[1:-1]
        self.waiting: list[bytes] = []
        self._code = code
        self._width = len(NUMBERS) + sum(self._counts)
        self.size = self._width * array(code).itemsize

    def has_as_many(self, most: Sequence[int]) -> list[bool]:
        """Of which of glance.TIMES each execution has as many as in `most`."""
        return [count == many for count, many in zip(self._counts, most, strict=True)]

    def take(self, most: Sequence[int]) -> tuple[list[array[int]], list[list[array[int]]]]:
        """(each of glance.NUMBERS, each of glance.TIMES) of all that waits; then nothing does.

        Of a kind of which there are `most`, the times of each execution are by themselves, in the
        order of the numbers (`has_as_many`); others are in any order.
        """
        values = array(self._code, b"".join(self.waiting))
        self.waiting.clear()
        begin, width = len(NUMBERS), self._width
        times = []
        for count, many in zip(self._counts, most, strict=True):
            if count == many:
                starts = range(begin, len(values), width)
                times.append([values[start : start + count] for start in starts])
            else:
                times.append([values[begin + n :: width] for n in range(count)])
            begin += count
        return [values[n::width] for n in range(len(NUMBERS))], times
