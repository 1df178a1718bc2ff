"""Syscall records between the ring and the store: cut by position, never looked at one by one."""

from __future__ import annotations

from lambdatrace import items, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes that are kept as they came from the ring; more than that is packed, to a tenth and less.
# Packing is CPU time while the function runs: at 1.5 million records a second, for executions with
# more than 200,000 syscalls.
MAX_RAW_BYTES = 8 << 20
# Bytes of packed records of one execution; what comes on top is counted as lost. At 6 bytes a
# record five million syscalls.
MAX_PACKED_BYTES = 32 << 20


class _Part:
    """Records that followed one another in the ring, packed or not."""

    __slots__ = ("begin", "bodies", "count", "raw")

    def __init__(self, begin: int, raw: bytes, count: int) -> None:
        self.begin = begin  # position of the first one's first byte
        self.raw = raw  # empty once they are packed
        self.bodies: list[bytes] = []
        self.count = count


class SyscallBuffer:
    """Records that have left the ring, with their place in its history.

    Parameters
    ----------
    stride : int
        Bytes of a record with its header: positions count headers.
    max_raw, max_packed : int
        Bytes that are kept before packing begins, and after it at most.
    """

    def __init__(
        self, stride: int, max_raw: int = MAX_RAW_BYTES, max_packed: int = MAX_PACKED_BYTES
    ) -> None:
        self._stride = stride
        self._max_raw = max_raw
        self._max_packed = max_packed
        # What did not fit leaves a gap between two parts.
        self._parts: list[_Part] = []
        self._raw = 0
        self._packed = 0
        self.lost = 0  # records that did not fit

    def add(self, records: bytes, end: int) -> None:
        """Keep `records`, whose last one ends at position `end` of the ring."""
        if not records:
            return
        count = len(records) // _RECORD
        if self._packed >= self._max_packed:
            self.lost += count
            return
        self._parts.append(_Part(end - count * self._stride, records, count))
        self._raw += len(records)
        if self._raw > self._max_raw:
            for part in self._parts:
                self._pack(part)

    def take(self, until: int | None) -> list[bytes]:
        """Chunk bodies (items.py) of everything up to position `until` (None: all).

        What lies behind stays.
        """
        return list(_bodies(self._take(until)))

    def drop(self, until: int | None) -> None:
        """Let go of everything up to position `until` (None: all), without packing it."""
        self._take(until)

    def _take(self, until: int | None) -> list[_Part]:
        before: list[_Part] = []
        behind: list[_Part] = []
        for part in self._parts:
            count = part.count
            if until is not None:
                count = min(count, max(0, (until - part.begin) // self._stride))
            if count == part.count:
                before.append(part)
            elif not count:
                behind.append(part)
            else:
                raw = _unpacked(part)
                split = count * _RECORD
                before.append(_Part(part.begin, raw[:split], count))
                rest = part.begin + count * self._stride
                behind.append(_Part(rest, raw[split:], part.count - count))
        self._parts = behind
        self._raw = sum(len(part.raw) for part in behind)
        self._packed = sum(len(body) for part in behind for body in part.bodies)
        return before

    def peek(self) -> list[bytes]:
        """Chunk bodies of everything, and it stays."""
        return list(_bodies(self._parts))

    def _pack(self, part: _Part) -> None:
        if not part.raw:
            return
        part.bodies = list(items.chunk_bodies(wire.KIND_SYSCALL, _RECORD, part.raw))
        self._packed += sum(map(len, part.bodies))
        self._raw -= len(part.raw)
        part.raw = b""


_RECORD = wire.SyscallRecord.SIZE


def _unpacked(part: _Part) -> bytes:
    return part.raw or b"".join([items.unpack_records(body)[2] for body in part.bodies])


def _bodies(parts: list[_Part]) -> Iterator[bytes]:
    """Bodies in order; what is not packed yet is packed together: fewer, fuller chunks."""
    raw: list[bytes] = []
    for part in parts:
        if part.raw:
            raw.append(part.raw)
            continue
        yield from items.chunk_bodies(wire.KIND_SYSCALL, _RECORD, b"".join(raw))
        raw = []
        yield from part.bodies
    yield from items.chunk_bodies(wire.KIND_SYSCALL, _RECORD, b"".join(raw))
