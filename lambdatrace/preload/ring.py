"""A ring in the shared mapping: drained like the kernel's (bpf/ring.py), and its writers may die.

Its data is there once, so a slice ends where the ring does. The reader marks each slot as busy when
it has taken its record, so that one which was reserved and is not written yet is never taken for
the record before. A slot that nobody will ever finish is given up, and counted.
"""

from __future__ import annotations

import os
import time

from lambdatrace.bpf.ring import fence, without_headers
from lambdatrace.preload.layout import MAP_BUSY, MAP_RING_HEADER_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSY = b"\x80"
_PID = 0xFFFFFF  # of a header's first word, its writer's
# How long a slot may be in the works (s): its writer may be kept from a CPU for a while. One whose
# process has ended is given up at once.
_PATIENCE_S = 2.0
_PIECE = 1 << 16  # bytes


def blank(record_size: int, size: int) -> Iterator[bytes]:
    """The data of a new ring, `size` bytes of slots that are not written yet, piece by piece."""
    stride = record_size + MAP_RING_HEADER_BYTES
    piece = (bytes(3) + _BUSY).ljust(stride, b"\0") * max(1, _PIECE // stride)
    for at in range(0, size, len(piece)):
        yield piece[: size - at]


class SharedRing:
    """The reading end.

    Parameters
    ----------
    mapping : memoryview
        All of the shared mapping, writable.
    counters : int
        Where its head stands, and 8 bytes behind that its tail.
    at, size : int
        Where its data begins, and how long it is: bytes, whole slots.
    record_size : int
        Bytes of each record, without header; a multiple of 8.
    """

    def __init__(
        self, mapping: memoryview, counters: int, at: int, size: int, record_size: int
    ) -> None:
        self._head, self._tail = (
            mapping[counters + offset : counters + offset + 8].cast("Q") for offset in (0, 8)
        )
        self._data = mapping[at : at + size]
        self._size = size
        self._record = record_size
        self.stride = record_size + MAP_RING_HEADER_BYTES
        self.given_up = 0  # slots that nobody finished
        self._stuck: tuple[int, float] = (-1, 0.0)  # position, since when (s, time.monotonic)

    @property
    def position(self) -> int:
        """Bytes consumed since the ring was made, headers included."""
        return int(self._tail[0])

    @property
    def waiting(self) -> int:
        """Bytes that wait, headers included."""
        return int(self._head[0] - self._tail[0])

    def drain(self, until: int | None = None) -> bytes:
        """Take every finished record that waits, without headers, in order; see bpf.ring.Ring."""
        taken = []
        while True:
            piece = self._take(until)
            if piece:
                taken.append(piece)
            elif not self._give_up(until):
                return b"".join(taken)

    def close(self) -> None:
        """Let go of the mapping."""
        for view in (self._head, self._tail, self._data):
            view.release()

    def _count(self, until: int | None) -> int:
        """How many slots wait up to `until` that stand in a row."""
        position, end = self._tail[0], self._head[0]
        if until is not None and until < end:
            end = until
        row = self._size - position % self._size
        return max(0, int(min(end - position, row))) // self.stride

    def _take(self, until: int | None) -> bytes:
        count = self._count(until)
        begin = self._tail[0] % self._size
        slots = self._data[begin : begin + count * self.stride]
        tops = bytes(slots[3 :: self.stride])
        finished = len(tops) - len(tops.lstrip(b"\0"))
        if not finished:
            return b""
        fence()
        size = finished * self.stride
        taken = bytes(slots[:size])
        self._mark(begin, size)
        fence()
        self._tail[0] += size
        return without_headers(taken, self.stride, self._record)

    def _mark(self, begin: int, size: int) -> None:
        slots = self._data[begin : begin + size]
        for place in range(3):
            slots[place :: self.stride] = bytes(size // self.stride)
        slots[3 :: self.stride] = _BUSY * (size // self.stride)

    def _give_up(self, until: int | None) -> bool:
        """Skip the first slot if nobody is going to finish it."""
        if not self._count(until):
            return False
        position = int(self._tail[0])
        begin = position % self._size
        word = int.from_bytes(self._data[begin : begin + 4], "little")
        if not word & MAP_BUSY:
            return True  # finished meanwhile: it is no pid that stands there
        writer = word & _PID
        now = time.monotonic()
        if self._stuck[0] != position:
            self._stuck = (position, now)
        if (not writer or lives(writer)) and now - self._stuck[1] < _PATIENCE_S:
            return False
        self.given_up += 1
        self._mark(begin, self.stride)
        self._tail[0] = position + self.stride
        return True


def lives(process_id: int) -> bool:
    """Whether a process has not ended, or has not been reaped."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
