"""The ring in the shared mapping: whole records only, whoever died while writing one."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lambdatrace.preload import ring as rings
from lambdatrace.preload.layout import MAP_BUSY
from lambdatrace.preload.ring import SharedRing

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD, SLOTS = 16, 5
STRIDE = RECORD + 8
DATA = 64


class Writer:
    """What the library does, step by step."""

    def __init__(self, mapping: memoryview) -> None:
        self._mapping = mapping

    def reserve(self, owner: int = 0) -> int:
        """Move the head on; returns where the slot begins."""
        (head,) = struct.unpack_from("<Q", self._mapping)
        struct.pack_into("<Q", self._mapping, 0, head + STRIDE)
        at = DATA + head % (SLOTS * STRIDE)
        if owner:
            struct.pack_into("<I", self._mapping, at, MAP_BUSY | owner)
        return at

    def finish(self, at: int, value: int) -> None:
        """Fill it."""
        struct.pack_into("<QQ", self._mapping, at + 8, value, value)
        struct.pack_into("<I", self._mapping, at, RECORD)

    def write(self, *values: int) -> None:
        """Whole records."""
        for value in values:
            self.finish(self.reserve(os.getpid()), value)


@pytest.fixture
def mapping() -> Iterator[memoryview]:
    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        view = memoryview(memory)
        yield view
        view.release()


@pytest.fixture
def ring(mapping: memoryview) -> Iterator[SharedRing]:
    mapping[DATA : DATA + SLOTS * STRIDE] = b"".join(rings.blank(RECORD, SLOTS * STRIDE))
    ring = SharedRing(mapping, 0, DATA, SLOTS * STRIDE, RECORD)
    yield ring
    ring.close()


@pytest.fixture
def writer(mapping: memoryview) -> Writer:
    return Writer(mapping)


def values(drained: bytes) -> list[int]:
    pairs = list(struct.iter_unpack("<QQ", drained))
    assert all(first == second for first, second in pairs)
    return [first for first, _ in pairs]


def ended() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_records_come_in_order_over_the_end_of_the_ring(ring: SharedRing, writer: Writer) -> None:
    found, count = [], 0
    for size in (3, 5, 1, 4, 5, 2):
        writer.write(*range(count, count + size))
        count += size
        found += values(ring.drain())
    assert found == list(range(count))
    assert ring.position == count * STRIDE
    assert not ring.waiting


def test_nothing_behind_a_position_is_taken(ring: SharedRing, writer: Writer) -> None:
    writer.write(1, 2, 3)
    assert values(ring.drain(2 * STRIDE)) == [1, 2]
    assert values(ring.drain()) == [3]


def test_a_slot_that_is_reserved_is_never_taken_for_the_record_before(
    ring: SharedRing, writer: Writer
) -> None:
    writer.write(*range(SLOTS))
    assert len(values(ring.drain())) == SLOTS
    at = writer.reserve()  # the header still is as it was left
    writer.write(8)
    assert ring.drain() == b""
    writer.finish(at, 7)
    assert values(ring.drain()) == [7, 8]
    assert ring.given_up == 0


def test_what_somebody_is_writing_is_waited_for(ring: SharedRing, writer: Writer) -> None:
    at = writer.reserve(os.getpid())
    writer.write(2)
    for _ in range(3):
        assert ring.drain() == b""
    writer.finish(at, 1)
    assert values(ring.drain()) == [1, 2]


def test_what_is_finished_meanwhile_is_not_given_up(
    ring: SharedRing, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a pid stood there is the record's size by then, and no process of that number."""
    take, slots = ring._take, [writer.reserve(os.getpid())]

    def look_too_early(until: int | None) -> bytes:
        taken = take(until)
        if slots:
            writer.finish(slots.pop(), 7)
        return taken

    monkeypatch.setattr(ring, "_take", look_too_early)
    monkeypatch.setattr(rings, "lives", lambda process_id: process_id == os.getpid())
    assert values(ring.drain()) == [7]
    assert ring.given_up == 0


def test_what_a_dead_process_left_is_given_up_at_once(ring: SharedRing, writer: Writer) -> None:
    writer.write(1)
    writer.reserve(ended())
    writer.write(3)
    assert values(ring.drain()) == [1, 3]
    assert ring.given_up == 1


@pytest.mark.parametrize("owner", [0, os.getpid()])
def test_after_a_while_nobody_is_waited_for(
    ring: SharedRing, writer: Writer, monkeypatch: pytest.MonkeyPatch, owner: int
) -> None:
    now = 100.0
    monkeypatch.setattr(rings.time, "monotonic", lambda: now)
    writer.reserve(owner)
    writer.write(2)
    assert ring.drain() == b""
    now += 1.9
    assert ring.drain() == b""
    now += 0.2
    assert values(ring.drain()) == [2]
    assert ring.given_up == 1
