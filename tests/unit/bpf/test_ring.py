"""The ring's reading end, over memory laid out as the kernel lays it out."""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.bpf.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = mmap.PAGESIZE
BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT, include/uapi/linux/bpf.h
DISCARD = 1 << 30
HEADER = 8
SIZES = [wire.SyscallRecord.SIZE, wire.EVENT_BYTES]


class Kernel:
    """The writing end: consumer page, producer page, and the data, seen twice in a row."""

    def __init__(self, record: int, size: int = PAGE) -> None:
        self.fd = os.memfd_create("ring")
        self.size, self.record, self.stride = size, record, record + HEADER
        os.ftruncate(self.fd, 2 * PAGE + 2 * size)
        self.memory = mmap.mmap(self.fd, 2 * PAGE + 2 * size)
        self.position = 0

    @property
    def consumer(self) -> int:
        return int(struct.unpack_from("<Q", self.memory, 0)[0])

    def room(self) -> int:
        """How many records fit; the kernel leaves a byte free at least."""
        return (self.size - 1 - (self.position - self.consumer)) // self.stride

    def reserve(self, payload: bytes, *, header: bytes | None = None) -> int:
        """Take the place of a record, busy unless `header` says otherwise; returns the place."""
        assert len(payload) == self.record
        assert self.room() > 0
        place = self.position
        busy = struct.pack("<II", self.record | BUSY, 7)
        self._write(place, busy if header is None else header)
        self._write(place + HEADER, payload)
        self.position += self.stride
        struct.pack_into("<Q", self.memory, PAGE, self.position)
        return place

    def commit(self, place: int) -> None:
        self._write(place, struct.pack("<I", self.record))

    def put(self, payload: bytes) -> None:
        self.commit(self.reserve(payload))

    def _write(self, position: int, data: bytes) -> None:
        for number, value in enumerate(data, position):
            offset = 2 * PAGE + number % self.size
            self.memory[offset] = self.memory[offset + self.size] = value

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


class Both:
    """Both ends of one ring."""

    def __init__(self, record: int, size: int = PAGE) -> None:
        self.kernel = Kernel(record, size)
        self.ring = Ring(self.kernel.fd, size, record)

    def __enter__(self) -> Both:
        return self

    def __exit__(self, *_: object) -> None:
        self.ring.close()
        self.kernel.close()


def payload(number: int, record: int) -> bytes:
    """A record that no other is equal to, in any of its words."""
    return struct.pack("<Q", number + 1) * (record // 8)


@pytest.fixture(params=SIZES)
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    with Both(request.param) as ends:
        yield ends


def test_an_empty_ring_gives_nothing(both: Both) -> None:
    assert both.ring.drain() == b""
    assert both.ring.position == 0


def test_records_come_without_headers_in_order_and_once(both: Both) -> None:
    kernel = both.kernel
    expected = [payload(n, kernel.record) for n in range(5)]
    for one in expected:
        kernel.put(one)
    assert both.ring.drain() == b"".join(expected)
    assert both.ring.drain() == b""
    assert both.ring.position == kernel.consumer == 5 * kernel.stride
    assert both.ring.stride == kernel.stride


def test_a_record_that_is_being_written_stays_and_so_does_what_follows(both: Both) -> None:
    kernel = both.kernel
    records = [payload(n, kernel.record) for n in range(4)]
    kernel.put(records[0])
    busy = kernel.reserve(records[1])
    kernel.put(records[2])
    assert both.ring.drain() == records[0]
    assert both.ring.drain() == b""
    kernel.commit(busy)
    kernel.put(records[3])
    assert both.ring.drain() == b"".join(records[1:])


def test_a_discarded_record_is_never_handed_out(both: Both) -> None:
    # bpf_ringbuf_output, all the probe uses, makes none.
    kernel = both.kernel
    kernel.put(payload(0, kernel.record))
    kernel.reserve(payload(1, kernel.record), header=struct.pack("<II", kernel.record | DISCARD, 0))
    assert both.ring.drain() == payload(0, kernel.record)


def test_a_full_ring_is_emptied_at_once_wherever_it_begins(both: Both) -> None:
    kernel = both.kernel
    number = 0
    for _ in range(3 * PAGE // kernel.stride):
        kernel.put(payload(number, kernel.record))  # moves the beginning by one record
        assert both.ring.drain() == payload(number, kernel.record)
        number += 1
        expected = []
        while kernel.room():
            expected.append(payload(number, kernel.record))
            kernel.put(expected[-1])
            number += 1
        assert both.ring.drain() == b"".join(expected)


def test_nothing_behind_until_is_taken(both: Both) -> None:
    kernel = both.kernel
    records = [payload(n, kernel.record) for n in range(6)]
    for one in records:
        kernel.put(one)
    stride = kernel.stride
    assert both.ring.drain(until=0) == b""
    assert both.ring.drain(until=stride - 1) == b""
    assert both.ring.drain(until=2 * stride) == b"".join(records[:2])
    assert both.ring.drain(until=2 * stride) == b""
    assert both.ring.drain(until=stride) == b""  # long gone
    assert both.ring.drain(until=3 * stride + 1) == records[2]
    assert both.ring.drain(until=1 << 60) == b"".join(records[3:])


def test_closing_leaves_the_descriptor_to_its_owner() -> None:
    with Both(SIZES[0]) as both:
        both.kernel.put(payload(0, SIZES[0]))
        other = Ring(both.kernel.fd, PAGE, SIZES[0])
        other.close()
        assert both.ring.drain() == payload(0, SIZES[0])


@settings(deadline=None)
@given(data=st.data(), record=st.sampled_from(SIZES), size=st.sampled_from([PAGE, 4 * PAGE]))
def test_any_order_of_reserving_committing_and_draining(
    data: st.DataObject, record: int, size: int
) -> None:
    with Both(record, size) as both:
        kernel = both.kernel
        waiting: list[bytes] = []  # reserved, not drained
        busy: dict[int, int] = {}  # position in the ring -> number
        number = taken = 0
        for _ in range(data.draw(st.integers(1, 30))):
            step = data.draw(st.sampled_from(["fill", "reserve", "commit", "drain"]))
            if step == "fill":
                for _ in range(min(kernel.room(), data.draw(st.integers(1, 40)))):
                    waiting.append(payload(number, record))
                    kernel.put(waiting[-1])
                    number += 1
            elif step == "reserve" and kernel.room():
                waiting.append(payload(number, record))
                busy[kernel.reserve(waiting[-1])] = number
                number += 1
            elif step == "commit" and busy:
                place = data.draw(st.sampled_from(sorted(busy)))
                kernel.commit(place)
                del busy[place]
            elif step == "drain":
                until = data.draw(st.none() | st.integers(0, kernel.position + 100))
                finished = min(busy.values(), default=number) - taken
                if until is not None:
                    finished = max(0, min(finished, until // kernel.stride - taken))
                assert both.ring.drain(until) == b"".join(waiting[:finished])
                del waiting[:finished]
                taken += finished
                assert both.ring.position == taken * kernel.stride


@settings(deadline=None)
@given(
    headers=st.lists(st.binary(min_size=8, max_size=8) | st.none(), min_size=1, max_size=17),
    record=st.sampled_from(SIZES),
)
def test_no_header_makes_it_hand_out_what_is_half_written(
    headers: list[bytes | None], record: int
) -> None:
    """Any bytes where headers stand (None: a finished record's)."""
    finished = struct.pack("<II", record, 0)
    with Both(record) as both:
        fitting = headers[: both.kernel.room()]
        for number, header in enumerate(fitting):
            both.kernel.reserve(payload(number, record), header=header or finished)
        got = both.ring.drain()
        count, rest = divmod(len(got), record)
        assert rest == 0
        assert got == b"".join(payload(n, record) for n in range(count))
        lengths = [struct.unpack_from("<I", header or finished)[0] for header in fitting]
        first_busy = next((n for n, length in enumerate(lengths) if length & BUSY), len(lengths))
        first_odd = next((n for n, length in enumerate(lengths) if length >> 24), len(lengths))
        assert first_odd <= count <= first_busy
        assert both.ring.position == count * both.kernel.stride
