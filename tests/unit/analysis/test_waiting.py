"""Blocked syscalls taken together, by thread, name and file."""

from __future__ import annotations

import support_traces as traces

from lambdatrace.analysis.trace import read_trace
from lambdatrace.analysis.waiting import BlockedTotals, blocked_totals
from lambdatrace.model import BlockedKind

MS = traces.MS


def totals(*records: bytes) -> tuple[BlockedTotals, ...]:
    return blocked_totals(read_trace(traces.execution(blocked=records)).blocked)


def test_waits_of_one_thread_on_one_file_are_taken_together() -> None:
    (row,) = totals(
        traces.blocked("fsync", started=30, ended=50, waited=19, fd=4, path=b"/tmp/a"),
        traces.blocked("fsync", started=10, ended=13, fd=9, path=b"/tmp/a"),
    )
    assert row == BlockedTotals(
        op="fsync", kind=BlockedKind.FILE, fd=None, path="/tmp/a",
        process_id=100, thread_id=100, count=2, first_started_ns=10 * MS, blocked_ns=22 * MS,
        longest_ns=19 * MS,
    )  # fmt: skip


def test_what_differs_stays_apart_and_the_most_time_comes_first() -> None:
    rows = totals(
        traces.blocked("flock", ended=1, path=b"/tmp/a"),
        traces.blocked("flock", ended=2, path=b"/tmp/b"),
        traces.blocked("flock", ended=3, fd=6),
        traces.blocked("flock", ended=4, fd=7),
        traces.blocked("fsync", ended=5, fd=7),
        traces.blocked("fsync", ended=6, fd=7, tid=101),
        traces.blocked("fsync", ended=7, fd=7, tgid=102, tid=101),
    )
    assert [row.blocked_ns // MS for row in rows] == [7, 6, 5, 4, 3, 2, 1]
    assert [row.count for row in rows] == [1] * 7


def test_nothing_waited() -> None:
    assert totals() == ()
