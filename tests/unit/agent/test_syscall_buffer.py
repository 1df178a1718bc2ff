"""Syscall records cut by their position in the ring, packed or not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace import items, wire
from lambdatrace.agent.syscall_buffer import SyscallBuffer

SIZE = wire.SyscallRecord.SIZE
STRIDE = SIZE + 8


def records(first: int, count: int) -> bytes:
    """Records that hold their own number."""
    return b"".join(
        wire.SyscallRecord(wire.KIND_SYSCALL, 1, 0, 0, 0, 0, 0, 0, number, 0).pack()
        for number in range(first, first + count)
    )


def numbers(bodies: list[bytes]) -> list[int]:
    found = []
    for body in bodies:
        kind, size, data = items.unpack_records(body)
        assert (kind, size) == (wire.KIND_SYSCALL, SIZE)
        found += [record.started for record in wire.SyscallRecord.iter_unpack(data)]
    return found


def test_cut_by_position_at_any_split() -> None:
    for max_raw in (0, 4 * SIZE, 1000 * SIZE):
        for split in range(11):
            for until in range(11):
                buffer = SyscallBuffer(STRIDE, max_raw)
                buffer.add(records(0, split), split * STRIDE)
                buffer.add(records(split, 10 - split), 10 * STRIDE)
                assert numbers(buffer.take(until * STRIDE)) == list(range(until))
                assert numbers(buffer.peek()) == list(range(until, 10))
                buffer.add(records(10, 2), 12 * STRIDE)
                assert numbers(buffer.take(None)) == list(range(until, 12))
                assert buffer.take(None) == []


def test_what_is_dropped_is_gone_and_the_rest_stays() -> None:
    for max_raw in (0, 1000 * SIZE):
        for until in range(11):
            buffer = SyscallBuffer(STRIDE, max_raw)
            buffer.add(records(0, 10), 10 * STRIDE)
            buffer.drop(until * STRIDE)
            assert numbers(buffer.take(None)) == list(range(until, 10))
            buffer.add(records(10, 2), 12 * STRIDE)
            buffer.drop(None)
            assert buffer.take(None) == []
            assert buffer.lost == 0


def test_a_position_behind_or_before_everything() -> None:
    buffer = SyscallBuffer(STRIDE)
    buffer.add(records(5, 3), 8 * STRIDE)
    assert buffer.take(2 * STRIDE) == []
    assert numbers(buffer.take(99 * STRIDE)) == [5, 6, 7]


def test_what_is_packed_takes_less_room_and_is_the_same() -> None:
    buffer = SyscallBuffer(STRIDE, max_raw=0)
    for first in range(0, 50_000, 10_000):
        buffer.add(records(first, 10_000), (first + 10_000) * STRIDE)
    bodies = buffer.peek()
    assert sum(map(len, bodies)) < 50_000 * SIZE / 5
    assert numbers(bodies) == list(range(50_000))
    assert buffer.lost == 0


def test_small_slices_become_full_chunks() -> None:
    buffer = SyscallBuffer(STRIDE)
    for first in range(0, 1000, 10):
        buffer.add(records(first, 10), (first + 10) * STRIDE)
    assert len(buffer.take(None)) == 1


def test_what_does_not_fit_is_counted_and_moves_nothing() -> None:
    buffer = SyscallBuffer(STRIDE, max_raw=0, max_packed=1)
    buffer.add(records(0, 8), 8 * STRIDE)
    buffer.add(records(8, 5), 13 * STRIDE)  # does not fit
    assert buffer.lost == 5
    assert numbers(buffer.take(10 * STRIDE)) == list(range(8))
    buffer.add(records(13, 2), 15 * STRIDE)  # there is room again
    # An execution that ended at record 10 gets none of what came after it.
    assert buffer.take(10 * STRIDE) == []
    assert numbers(buffer.take(None)) == [13, 14]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=20),
    st.integers(0, 40),
    st.integers(1, 400),
)
def test_nothing_is_lost_uncounted_or_told_twice(
    steps: list[tuple[int, int]], max_raw: int, max_packed: int
) -> None:
    buffer = SyscallBuffer(STRIDE, max_raw * SIZE, max_packed)
    position, taken = 0, []
    for count, back in steps:
        buffer.add(records(position, count), (position + count) * STRIDE)
        position += count
        until = max(0, position - back)
        part = numbers(buffer.take(until * STRIDE))
        assert all(number < until for number in part)
        assert all(number >= until for number in numbers(buffer.peek()))
        taken += part
    taken += numbers(buffer.take(None))
    assert taken == sorted(set(taken))
    assert len(taken) + buffer.lost == position
