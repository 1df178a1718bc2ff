"""Blocked syscalls by thread, name and file, and which of them are worth showing."""

from __future__ import annotations

import support_traces as traces

from lambdatrace.analysis.trace import read_trace
from lambdatrace.analysis.waiting import SlowCalls, slow_calls, worth_showing
from lambdatrace.model import BlockedKind

MS = traces.MS


def taken(*records: bytes) -> tuple[SlowCalls, ...]:
    return slow_calls(read_trace(traces.execution(blocked=records)).blocked)


def worth(
    blocked: list[bytes], pauses: list[bytes] | None, limit: int = 9
) -> list[tuple[str, int, int]]:
    """(syscall, times, ms) of what is worth showing of an execution of 2 s."""
    trace = read_trace(traces.execution(blocked=blocked, pauses=pauses or []))
    found = worth_showing(
        slow_calls(trace.blocked), None if pauses is None else trace.pauses, 2_000 * MS, limit
    )
    return [(each.op, len(each.calls), each.blocked_ns // MS) for each in found]


def test_waits_of_one_thread_on_one_file_are_taken_together() -> None:
    (row,) = taken(
        traces.blocked("fsync", started=30, ended=50, waited=19, fd=4, path=b"/tmp/a"),
        traces.blocked("fsync", started=10, ended=13, fd=9, path=b"/tmp/a"),
    )
    assert (row.op, row.kind, row.fd, row.path) == ("fsync", BlockedKind.FILE, None, "/tmp/a")
    assert [each.started_ns // MS for each in row.calls] == [10, 30]
    assert (row.blocked_ns, row.longest_ns) == (22 * MS, 19 * MS)


def test_what_differs_stays_apart_and_what_came_first_is_first() -> None:
    rows = taken(
        traces.blocked("flock", started=7, path=b"/tmp/a"),
        traces.blocked("flock", started=6, path=b"/tmp/b"),
        traces.blocked("flock", started=5, fd=6),
        traces.blocked("flock", started=4, fd=7),
        traces.blocked("fsync", started=3, fd=7),
        traces.blocked("fsync", started=2, fd=7, tid=101),
        traces.blocked("fsync", started=1, fd=7, tgid=102, tid=101),
    )
    assert [row.calls[0].started_ns // MS for row in rows] == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_waited() -> None:
    assert taken() == ()
    assert worth([], []) == []


def test_what_held_the_execution_up_is_worth_showing() -> None:
    blocked = [
        traces.blocked("nanosleep", started=100, ended=200),
        traces.blocked("nanosleep", started=300, ended=400),
        traces.blocked("flock", started=500, ended=600),
        traces.blocked("read", started=700, ended=710, fd=3),
    ]
    pauses = [
        traces.pause("sleep", started=100, ended=200, op="nanosleep"),
        traces.pause("lock", started=510, ended=600, op="flock"),
        traces.pause("other", started=700, ended=710, op="read"),  # half a percent of it
    ]
    # While it slept for the second time, others ran.
    assert worth(blocked, pauses) == [("nanosleep", 1, 100), ("flock", 1, 100)]


def test_polls_in_which_a_connection_was_waited_for_are_left_out() -> None:
    """Its connection tells of them; what else the same call waited for is worth showing."""
    blocked = [
        traces.blocked("epoll_wait", started=10, ended=900),
        traces.blocked("epoll_wait", started=1_000, ended=1_500),
    ]
    connection = traces.connection(
        1, started=0, established=1, first_out=2, first_in=900, closed=901, bytes_out=1
    )
    trace = read_trace(
        traces.execution(
            [connection],
            exchanges=[traces.exchange(1, first_out=2, first_in=900, last_in=900)],
            blocked=blocked,
            pauses=[
                traces.pause("poll", started=10, ended=900, op="epoll_wait"),
                traces.pause("poll", started=1_000, ended=1_500, op="epoll_wait"),
            ],
        )
    )
    (row,) = worth_showing(slow_calls(trace.blocked), trace.pauses, 2_000 * MS, 9)
    assert [each.started_ns // MS for each in row.calls] == [1_000]


def test_files_and_children_are_worth_showing_beside_other_work_and_idle_threads_are_not() -> None:
    blocked = [
        traces.blocked("fsync", started=0, ended=100, tid=101),
        traces.blocked("wait4", started=10, ended=310, tid=102),
        traces.blocked("futex", started=0, ended=1_999, tid=103),
        traces.blocked("accept4", started=0, ended=1_999, tid=104),
        traces.blocked("fsync", started=0, ended=99, tid=105),
    ]
    assert worth(blocked, []) == [("fsync", 1, 100), ("wait4", 1, 300)]


def test_without_pauses_all_long_ones_are_taken() -> None:
    blocked = [
        traces.blocked("futex", started=0, ended=1_999),
        traces.blocked("futex", started=0, ended=99, tid=101),
    ]
    assert worth(blocked, None) == [("futex", 1, 1_999)]


def test_of_too_many_those_that_held_it_up_longest_are_taken() -> None:
    blocked = [
        traces.blocked("flock", started=100 * n, ended=100 * n + 30 + n, fd=n) for n in range(9)
    ]
    pauses = [
        traces.pause("lock", started=100 * n, ended=100 * n + 30 + n, op="flock") for n in range(9)
    ]
    assert worth(blocked, pauses, limit=2) == [("flock", 1, 37), ("flock", 1, 38)]
