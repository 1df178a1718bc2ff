"""Syscalls that wait: each one that waited long enough is there, with what it waited for."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import support_probe as kernel
from support import in_a_calm_moment

from lambdatrace import wire

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
WAIT_MS = 50
# Reading the kernel's books takes a little itself.
SLACK_NS = 5 * MS


class Waited:
    """What programs/waits.py told, and what the probe saw."""

    def __init__(self, way: str, folder: Path, wait_ms: int = WAIT_MS, **options: Any) -> None:
        with kernel.watching(**options) as watch:
            ran = kernel.run(
                [sys.executable, "-S", kernel.PROGRAMS / "waits.py", way, str(wait_ms), folder]
            )
            self.connections = watch.connections()
            [self.end] = [edge for edge in watch.ends() if not edge.parent]
            assert not any(watch.probe.lost())
        self.all = watch.blocked
        self.told = json.loads(ran.stdout)
        # While it was timed, by the thread that was.
        self.records = [
            record
            for record in self.all
            if record.tid == self.told["thread"]
            and record.started >= self.told["before"]
            and record.ended <= self.told["after"]
        ]

    @property
    def one(self) -> wire.BlockedRecord:
        [record] = self.records
        return record


def op(record: wire.BlockedRecord) -> str:
    return wire.OPS[record.op]


def path(record: wire.BlockedRecord) -> str | None:
    return record.path.split(b"\0", 1)[0].decode() or None


@pytest.mark.parametrize(
    ("way", "ops"),
    [
        ("nanosleep", {"nanosleep", "clock_nanosleep"}),
        ("in_a_thread", {"nanosleep", "clock_nanosleep"}),
        ("futex", {"futex"}),
        ("flock", {"flock"}),
        ("fcntl_lock", {"fcntl"}),
        ("wait4", {"wait4"}),
        ("poll", {"poll", "ppoll"}),
        ("epoll", {"epoll_wait", "epoll_pwait"}),
        ("selects", {"select", "pselect6"}),
        ("pipe", {"read"}),
        ("accept", {"accept4", "accept"}),
        ("fifo", {"open", "openat"}),
        ("closed_and_opened", {"read"}),
        ("closed_and_piped", {"read"}),
    ],
)
@in_a_calm_moment
def test_what_waits_is_there_once_with_its_times(tmp_path: Path, way: str, ops: set[str]) -> None:
    waited = Waited(way, tmp_path)
    record, told = waited.one, waited.told
    assert op(record) in ops
    took = told["after"] - told["before"]
    assert took >= (WAIT_MS - 1) * MS or way not in ("nanosleep", "poll", "epoll", "selects")
    assert record.waited == pytest.approx(told["asleep"], abs=SLACK_NS)
    assert record.waited <= record.ended - record.started <= took
    assert (record.tgid, record.branch) == (waited.end.tgid, waited.end.branch)
    assert path(record) == told["path"]
    if told["fd"] is not None:
        assert record.fd == told["fd"]
    elif way != "fifo":
        assert record.fd == -1
    if told["result"] is not None:
        assert record.result == told["result"]


def test_fsync_says_which_file(tmp_path: Path) -> None:
    # However short it waits: only that it does is the disk's.
    waited = Waited("fsync", tmp_path, threshold_ns=1)
    record = waited.one
    assert op(record) == "fsync"
    assert (record.fd, path(record)) == (waited.told["fd"], waited.told["path"])
    took = waited.told["after"] - waited.told["before"]
    assert 0 < record.waited <= record.ended - record.started <= took


def test_a_path_too_long_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    waited = Waited("fifo", folder)
    found = path(waited.one)
    assert found is not None
    assert len(found) == 95
    assert waited.told["path"].startswith(found)


def test_what_waits_no_longer_than_the_threshold_has_no_record(tmp_path: Path) -> None:
    waited = Waited("two", tmp_path, 400, threshold_ns=200 * MS)
    assert [record.waited >= 200 * MS for record in waited.all] == [True]
    assert waited.one.waited >= 395 * MS
    assert Waited("nanosleep", tmp_path, threshold_ns=10_000 * MS).all == []


def slept(waited: Waited) -> int:
    """How many of the 20 times 3 ms it really slept, as the kernel accounts it.

    Who loses the CPU between asking the time and going to sleep has nothing left to sleep.
    """
    return int(waited.told["left"])


def test_the_threshold_is_a_millisecond_by_default(tmp_path: Path) -> None:
    waited = Waited("many", tmp_path, 20 * 3)
    assert len(waited.records) == slept(waited) > 0
    assert all(record.waited >= MS for record in waited.all)


def test_what_comes_on_top_is_counted_and_not_told(tmp_path: Path) -> None:
    waited = Waited("many", tmp_path, 20 * 3, most_blocked=5)
    assert len(waited.all) == 5
    assert waited.end.folded_blocked >= slept(waited) - 5 > 0
    everything = Waited("many", tmp_path, 20 * 3, most_blocked=1_000)
    assert everything.end.folded_blocked == 0
    assert len(everything.all) >= slept(everything)


def test_a_connection_tells_of_its_own_waiting(tmp_path: Path) -> None:
    waited = Waited("receive", tmp_path)
    assert waited.records == []
    [connection] = [each for each in waited.connections if each.receives]
    assert connection.bytes_in == 5


def test_two_processes_wait_each_for_itself(tmp_path: Path) -> None:
    waited = Waited("wait4", tmp_path)
    child = waited.told["child"]
    [its_own] = [record for record in waited.all if record.tgid == child]
    assert op(its_own) in ("nanosleep", "clock_nanosleep")
    assert its_own.branch == waited.one.branch
    assert its_own.fd == -1
    # Its parent is told when it ends.
    assert waited.one.ended >= its_own.ended
