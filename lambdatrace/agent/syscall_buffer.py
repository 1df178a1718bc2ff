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
        self._parts: list[bytes] = []
        self._size = 0
        self._begin = 0  # position of the first byte kept
        self.lost = 0  # records that did not fit

    def add(self, records: bytes, end: int) -> None:
        """Keep `records`, whose last one ends at position `end` of the ring."""
        if not records:
            return
        if not self._parts:
            self._begin = end - len(records) // self._record * self._stride
        if self._size + len(records) > self._max:
            self.lost += len(records) // self._record
            return
        self._parts.append(records)
        self._size += len(records)

    def take(self, until: int | None) -> bytes:
        """Everything up to position `until` (None: all); what lies behind stays."""
        data = b"".join(self._parts)
        if until is None:
            taken, rest = data, b""
        else:
            count = max(0, (until - self._begin) // self._stride) * self._record
            taken, rest = data[:count], data[count:]
        self._parts = [rest] if rest else []
        self._size = len(rest)
        self._begin += len(taken) // self._record * self._stride
        return taken

    def peek(self) -> bytes:
        """Everything, and it stays."""
        return b"".join(self._parts)
