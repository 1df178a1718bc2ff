"""Syscall records cut by their position in the ring."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace.agent.syscall_buffer import SyscallBuffer

RECORD, STRIDE = 4, 12


def records(first: int, count: int) -> bytes:
    """Records that hold their own number."""
    return struct.pack(f"<{count}I", *range(first, first + count))


def numbers(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // RECORD}I", data))


def test_cut_by_position_at_any_split() -> None:
    for split in range(11):
        for until in range(11):
            buffer = SyscallBuffer(RECORD, STRIDE)
            buffer.add(records(0, split), split * STRIDE)
            buffer.add(records(split, 10 - split), 10 * STRIDE)
            assert numbers(buffer.take(until * STRIDE)) == list(range(until))
            assert numbers(buffer.peek()) == list(range(until, 10))
            buffer.add(records(10, 2), 12 * STRIDE)
            assert numbers(buffer.take(None)) == list(range(until, 12))
            assert buffer.take(None) == b""


def test_a_position_behind_or_before_everything() -> None:
    buffer = SyscallBuffer(RECORD, STRIDE)
    buffer.add(records(5, 3), 8 * STRIDE)
    assert buffer.take(2 * STRIDE) == b""
    assert numbers(buffer.take(99 * STRIDE)) == [5, 6, 7]


def test_what_does_not_fit_is_counted_and_moves_nothing() -> None:
    buffer = SyscallBuffer(RECORD, STRIDE, max_bytes=10 * RECORD)
    buffer.add(records(0, 8), 8 * STRIDE)
    buffer.add(records(8, 5), 13 * STRIDE)  # does not fit
    buffer.add(records(13, 2), 15 * STRIDE)  # does
    assert buffer.lost == 5
    # An execution that ended at record 10 gets none of what came after it.
    assert numbers(buffer.take(10 * STRIDE)) == list(range(8))
    assert numbers(buffer.take(None)) == [13, 14]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=20), st.integers(1, 40))
def test_nothing_is_lost_uncounted_or_told_twice(
    steps: list[tuple[int, int]], capacity: int
) -> None:
    buffer = SyscallBuffer(RECORD, STRIDE, max_bytes=capacity * RECORD)
    position, taken = 0, []
    for count, back in steps:
        buffer.add(records(position, count), (position + count) * STRIDE)
        position += count
        until = max(0, position - back)
        part = numbers(buffer.take(until * STRIDE))
        assert all(number < until for number in part)
        assert all(number >= until for number in numbers(buffer.peek()))
        assert len(buffer.peek()) <= capacity * RECORD
        taken += part
    taken += numbers(buffer.take(None))
    assert taken == sorted(set(taken))
    assert len(taken) + buffer.lost == position
