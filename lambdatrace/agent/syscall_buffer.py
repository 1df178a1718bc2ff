"""Syscall records between the ring and the store: cut by position, never looked at one by one."""

from __future__ import annotations

# Bytes. At 40 bytes a record 800,000 syscalls of one execution; beyond it they are counted as lost.
MAX_BYTES = 32 << 20


class SyscallBuffer:
    """Records that have left the ring, with their place in its history.

    Parameters
    ----------
    record_size, stride : int
        Bytes of a record without and with its header: positions count headers.
    max_bytes : int
        What is kept at most.
    """

    def __init__(self, record_size: int, stride: int, max_bytes: int = MAX_BYTES) -> None:
        self._record = record_size
        self._stride = stride
        self._max = max_bytes
        # (position of its first byte, records): what did not fit leaves a gap between two.
        self._parts: list[tuple[int, bytes]] = []
        self._size = 0
        self.lost = 0  # records that did not fit

    def add(self, records: bytes, end: int) -> None:
        """Keep `records`, whose last one ends at position `end` of the ring."""
        if not records:
            return
        count = len(records) // self._record
        if self._size + len(records) > self._max:
            self.lost += count
            return
        self._parts.append((end - count * self._stride, records))
        self._size += len(records)

    def take(self, until: int | None) -> bytes:
        """Everything up to position `until` (None: all); what lies behind stays."""
        if until is None:
            taken, self._parts, self._size = self.peek(), [], 0
            return taken
        before, behind = [], []
        for begin, records in self._parts:
            count = min(max(0, (until - begin) // self._stride), len(records) // self._record)
            split = count * self._record
            if split:
                before.append(records[:split])
            if split < len(records):
                behind.append((begin + count * self._stride, records[split:]))
        self._parts = behind
        taken = b"".join(before)
        self._size -= len(taken)
        return taken

    def peek(self) -> bytes:
        """Everything, and it stays."""
        return b"".join([records for _, records in self._parts])
