"""Verdicts: each cause by its records, in which order they count, and what is abnormal."""

from __future__ import annotations

import errno
import socket
from itertools import pairwise
from typing import Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.analysis.causes.base import destination_of
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.trace import read_trace
from lambdatrace.analysis.usual import FEWEST, Recent, Usual, usual_figures
from lambdatrace.analysis.verdict import judge, judge_summary
from lambdatrace.model import Execution, Part, Reference, Trace, Verdict

MS = traces.MS
API = "api.example:443"
HOSTS = {"1": "api.example", "2": "api.example", "3": "api.example"}


def trace(*, total: float = 1_000, parts: dict[str, float] | None = None, **more: Any) -> Trace:
    """An execution of `total` ms, `parts` of its partition in ms; the rest is CPU time."""
    parts = {"cpu": total - sum((parts or {}).values()), **(parts or {})}
    more.setdefault("partition", traces.partition(total, **parts))
    details = {"lookups": [], "hosts": HOSTS, "tls": {}, **more.pop("details", {})}
    shares = [[part, subject, round(ms * MS)] for part, subject, ms in more.pop("shares", [])]
    return read_trace(
        traces.execution(
            duration_ns=round(total * MS), shares=shares, details=details, **more
        )
    )  # fmt: skip


def told(verdict: Verdict) -> tuple[str | None, str | None]:
    return verdict.cause, verdict.destination


def rows(verdict: Verdict, kind: str) -> list[int]:
    return [each.number for each in verdict.evidence if each.kind == kind]


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lookups", "cause"),
    [
        ([{"answered": 800}], "dns.slow"),
        ([{"answered": 800, "attempts": 2}], "dns.unanswered"),
        ([{"attempts": 3}], "dns.unanswered"),
        ([{"answered": 800, "answer": "NXDOMAIN", "addresses": ()}], "dns.nxdomain"),
        ([{"answered": 800, "answer": "SERVFAIL", "attempts": 2}], "dns.servfail"),
        ([{"answered": 800, "answer": "REFUSED"}], "dns.failed"),
        # It has no address of the other kind, and some servers say NXDOMAIN then.
        (
            [{"answered": 800}, {"answered": 800, "kind": "AAAA", "answer": "NXDOMAIN"}],
            "dns.slow",
        ),
        # The kind that took the most time counts.
        ([{"answered": 2}, {"kind": "AAAA", "answered": 800, "attempts": 2}], "dns.unanswered"),
    ],
)
def test_names(lookups: list[dict[str, Any]], cause: str) -> None:
    verdict = judge(
        trace(
            parts={"dns": 800},
            shares=[("dns", "api.example", 800)],
            details={"lookups": [traces.lookup("api.example", **each) for each in lookups]},
        )
    )
    assert told(verdict) == (cause, "api.example")
    assert verdict.share == 0.8
    assert rows(verdict, "namelookup")
    assert "10.0.0.2" in verdict.text


def test_names_that_a_resolver_made_belong_to_the_one_that_was_asked_for() -> None:
    names = ["db.prod.svc.cluster.local", "db.prod.cluster.local", "db.prod"]
    lookups = [
        traces.lookup(
            name,
            started=300 * number,
            answered=300 * (number + 1),
            answer="NOERROR" if name == "db.prod" else "NXDOMAIN",
        )
        for number, name in enumerate(names)
    ]
    shares = [("dns", name, 300) for name in names]
    verdict = judge(trace(parts={"dns": 900}, shares=shares, details={"lookups": lookups}))
    assert told(verdict) == ("dns.nxdomain", "db.prod")
    assert verdict.share == 0.9
    assert rows(verdict, "namelookup") == [1, 2]


# -- connections ----------------------------------------------------------------------------------

OPEN, RESET = wire.CONNECTION_OPEN, wire.CONNECTION_RESET


@pytest.mark.parametrize(
    ("connection", "cause"),
    [
        ({"established": 700, "closed": 800}, "connect.slow"),
        ({"established": 1_020, "retransmits": 1, "closed": 1_030}, "connect.syn"),
        # Those of a request are no SYNs.
        ({"established": 300, "retransmits": 1, "closed": 800}, "connect.slow"),
        ({"closed": 800, "error": errno.ECONNREFUSED}, "connect.refused"),
        ({"closed": 800, "error": errno.ETIMEDOUT, "retransmits": 6}, "connect.timeout"),
        ({"closed": 800, "flags": wire.CONNECTION_ABANDONED}, "connect.timeout"),
        ({"flags": OPEN}, "connect.timeout"),
        ({"closed": 800, "error": errno.EHOSTUNREACH}, "connect.unreachable"),
        ({"closed": 800, "error": errno.EACCES}, "connect.failed"),
    ],
)
def test_connecting(connection: dict[str, Any], cause: str) -> None:
    verdict = judge(
        trace(
            total=1_200,
            parts={"connect": 1_000},
            shares=[("connect", API, 1_000)],
            connections=[traces.connection(**connection)],
        )
    )
    assert told(verdict) == (cause, API)
    assert rows(verdict, "connection") == [1]


@pytest.mark.parametrize(
    ("connection", "tls", "cause"),
    [
        ({"tls_ended": 800}, "", "tls.slow"),
        ({"flags": OPEN}, "", "tls.hung"),
        ({"closed": 800}, "unknown_ca", "tls.certificate"),
        ({"closed": 800}, "certificate_expired", "tls.certificate"),
        ({"closed": 800}, "handshake_failure", "tls.failed"),
        ({"closed": 800}, "", "tls.failed"),
        ({"closed": 800, "flags": RESET}, "", "tls.failed"),
    ],
)
def test_handshakes(connection: dict[str, Any], tls: str, cause: str) -> None:
    made = traces.connection(established=2, first_out=3, tls_started=3, **connection)
    details = {"tls": {"1": ["api.example", "1.3", tls]}}
    verdict = judge(
        trace(parts={"tls": 800}, shares=[("tls", API, 800)], connections=[made], details=details)
    )
    assert told(verdict) == (cause, API)
    assert rows(verdict, "connection") == [1]


# -- exchanges ------------------------------------------------------------------------------------

REUSED = wire.CONNECTION_REUSED


@pytest.mark.parametrize(
    ("connection", "exchange", "cause"),
    [
        ({"closed": 900}, {"first_in": 850}, "wait.slow"),
        ({"closed": 900}, {"first_in": 850, "retransmits": 3}, "wait.loss"),
        # One packet sent again explains 200 ms, and not a server that takes its time besides.
        ({"closed": 900}, {"first_in": 850, "retransmits": 1}, "wait.slow"),
        ({"flags": OPEN}, {}, "wait.hung"),
        ({"closed": 900, "flags": wire.CONNECTION_SELF_CLOSED}, {}, "wait.hung"),
        ({"closed": 900, "flags": wire.CONNECTION_PEER_CLOSED}, {}, "wait.closed"),
        ({"closed": 900, "flags": RESET}, {}, "wait.reset"),
        ({"closed": 900, "flags": RESET | REUSED, "started": -500}, {}, "wait.stale"),
    ],
)
def test_waiting(connection: dict[str, Any], exchange: dict[str, Any], cause: str) -> None:
    began = connection.get("started", 0)
    made = traces.connection(**{"established": began + 1, "first_out": 10, **connection})
    verdict = judge(
        trace(
            parts={"wait": 840},
            shares=[("wait", API, 840)],
            connections=[made],
            exchanges=[traces.exchange(first_out=10, **exchange)],
        )
    )
    assert told(verdict) == (cause, API)
    assert (rows(verdict, "exchange"), rows(verdict, "connection")) == ([1], [1])


@pytest.mark.parametrize(
    ("exchange", "cause"),
    [
        ({"first_in": 20, "last_in": 900, "bytes_in": 3_000_000}, "transfer.slow"),
        ({"last_out": 800, "first_in": 810, "bytes_out": 100_000}, "transfer.slow"),
        (
            {"last_out": 800, "first_in": 810, "bytes_out": 100_000, "retransmits": 9},
            "transfer.loss",
        ),
        # One of a thousand packets is nothing.
        (
            {"last_out": 800, "first_in": 810, "bytes_out": 1_500_000, "retransmits": 1},
            "transfer.slow",
        ),
        # What was sent again says nothing about what was received.
        (
            {"first_in": 20, "last_in": 900, "bytes_in": 3_000_000, "retransmits": 2},
            "transfer.slow",
        ),
    ],
)
def test_transferring(exchange: dict[str, Any], cause: str) -> None:
    verdict = judge(
        trace(
            parts={"transfer": 800},
            shares=[("transfer", API, 800)],
            connections=[traces.connection(established=1, first_out=5, closed=950)],
            exchanges=[traces.exchange(first_out=5, **exchange)],
        )
    )
    assert told(verdict) == (cause, API)
    assert rows(verdict, "exchange") == [1]


def test_datagrams_have_no_exchanges() -> None:
    made = traces.connection(protocol=socket.IPPROTO_UDP, first_out=1, first_in=800, closed=900)
    verdict = judge(
        trace(parts={"wait": 800}, shares=[("wait", API, 800)], connections=[made])
    )  # fmt: skip
    assert told(verdict) == ("wait", API)
    assert rows(verdict, "connection") == [1]


def test_of_several_destinations_the_one_that_took_the_most() -> None:
    connections = [
        traces.connection(1, "10.0.0.7", established=1, first_out=2, closed=400),
        traces.connection(2, "10.0.0.8", established=401, first_out=402, closed=1_000),
    ]
    exchanges = [
        traces.exchange(1, first_out=2, first_in=350),
        traces.exchange(2, first_out=402, first_in=950),
    ]
    verdict = judge(
        trace(
            parts={"wait": 900},
            shares=[("wait", "10.0.0.8:443", 550), ("wait", "10.0.0.7:443", 350)],
            connections=connections,
            exchanges=exchanges,
            details={"hosts": {}},
        )
    )
    assert told(verdict) == ("wait.slow", "10.0.0.8:443")
    assert verdict.share == 0.55
    expected = "55 % of 1.00 s went into waiting for 10.0.0.8:443, of 90 % into waiting for answers"
    assert verdict.text.startswith(expected)
    assert rows(verdict, "connection") == [2]


def test_a_greeting_that_came_late_is_not_the_answer_that_followed_it() -> None:
    """As of a database: what it is asked then takes 5 ms."""
    unasked = {"first_out": None, "last_out": None, "sends": 0}
    verdict = judge(
        trace(
            parts={"wait": 805},
            shares=[("wait", "10.0.0.9:3306", 805)],
            connections=[traces.connection(1, "10.0.0.9", 3306, established=2, first_out=811,
                                           first_in=810, exchanges=1)],
            exchanges=[
                traces.exchange(1, first_in=810, **unasked),
                traces.exchange(1, first_out=811, first_in=816),
            ],
            pauses=[
                traces.pause("network", connection=1, op="recvfrom", started=5, ended=805),
                traces.pause("network", connection=1, op="recvfrom", started=811, ended=816),
            ],
            details={"hosts": {}},
        )
    )  # fmt: skip
    assert told(verdict) == ("wait", "10.0.0.9:3306")
    assert "the answer took" not in verdict.text
    assert "it had been asked nothing, and said nothing for 800 ms (c1, p1)" in verdict.text
    assert rows(verdict, "connection") == [1]
    assert rows(verdict, "pause") == [1]


def test_a_socket_that_is_no_connection_here() -> None:
    """A Unix socket's: the call is no destination."""
    verdict = judge(
        trace(
            parts={"wait": 800},
            shares=[("wait", "recvfrom", 800)],
            pauses=[traces.pause("network", op="recvfrom", started=5, ended=805)],
        )
    )
    assert told(verdict) == ("wait", None)
    assert "recvfrom took 800 ms, on no connection that is traced (p1)" in verdict.text


# -- calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "op", "path", "cause"),
    [
        ("file", "fsync", "/data/out", "file.fsync"),
        ("file", "fdatasync", "/data/out", "file.fsync"),
        ("file", "read", "/data/in", "file.read"),
        ("lock", "flock", "/data/lock", "lock.flock"),
        ("lock", "futex", "", "lock.futex"),
        ("sleep", "clock_nanosleep", "", "sleep.clock_nanosleep"),
        ("child", "wait4", "", "other.wait4"),
    ],
)
def test_calls(waits: str, op: str, path: str, cause: str) -> None:
    part = cause.partition(".")[0]
    verdict = judge(
        trace(
            parts={part: 800},
            shares=[(part, path or op, 800)],
            blocked=[traces.blocked(op, started=5, ended=805, path=path.encode())],
            pauses=[traces.pause(waits, op=op, started=5, ended=805)],
        )
    )
    assert told(verdict) == (cause, path or None)
    assert rows(verdict, "blocked") == [1]


def test_calls_side_by_side_are_told_as_their_rows_have_them() -> None:
    """The longest of three sleeps is not as long as the longest piece that one of them ended."""
    ends = [100, 300, 500]
    verdict = judge(
        trace(
            parts={"sleep": 500},
            blocked=[traces.blocked("nanosleep", ended=end, tid=end) for end in ends],
            pauses=[
                traces.pause("sleep", op="nanosleep", started=start, ended=end, tid=end)
                for start, end in pairwise([0, *ends])
            ],
        )
    )
    assert "3 calls of nanosleep, 500 ms at most (b1, b2, b3)" in verdict.text


def test_pages_that_have_to_be_read() -> None:
    verdict = judge(
        trace(
            parts={"file": 800},
            shares=[("file", "page fault", 800)],
            blocked=[traces.blocked("none", ended=800, number=wire.BLOCKED_FAULT, fd=-1)],
            pauses=[traces.pause("fault", started=0, ended=800)],
        )
    )
    assert told(verdict) == ("file.fault", None)
    assert rows(verdict, "blocked") == [1]


# -- the CPU --------------------------------------------------------------------------------------


def test_its_own_computing() -> None:
    verdict = judge(trace())
    assert told(verdict) == ("cpu.own", None)
    assert verdict.evidence == (Reference("execution", 1),)


def test_steal_is_not_put_down_to_the_function() -> None:
    verdict = judge(trace(parts={"steal": 700}))
    assert told(verdict) == ("steal", None)
    assert "raise" not in verdict.text


def starved(pauses: list[tuple[float, float, bool]], **more: Any) -> Verdict:
    """The verdict on waits for a CPU: (start, end, whether that was idle) of each, ms."""
    found = [traces.pause("runqueue", started=a, ended=b, idle=idle) for a, b, idle in pauses]
    waited = sum(b - a for a, b, _ in pauses)
    return judge(trace(parts={"runqueue": waited}, pauses=found, **more))


def test_a_cpu_limit_is_regular_and_leaves_the_cpu_idle() -> None:
    limited = [(20 * n + 2, 20 * n + 20, True) for n in range(50)]
    verdict = starved(limited)
    assert verdict.cause == "runqueue.throttled"
    assert "every 20.0 ms" in verdict.text
    assert "raise the memory (512 MB now)" in verdict.text
    assert rows(verdict, "pause")
    assert "raise its CPU limit" in starved(limited, memory_mb=None).text


def test_neighbours_that_take_turns_are_regular_as_well() -> None:
    verdict = starved([(20 * n + 4, 20 * n + 20, False) for n in range(50)])
    assert verdict.cause == "runqueue.neighbour"
    assert "raise" not in verdict.text


def test_neighbours_are_irregular() -> None:
    steps = [7, 31, 12, 55, 9, 23, 44, 17, 61, 5]
    ends = [sum(steps[: n + 1]) * 3 for n in range(len(steps))]
    pauses = [(end - step * 2.5, end, False) for end, step in zip(ends, steps, strict=True)]
    assert starved(pauses).cause == "runqueue.neighbour"


def test_a_cpu_limit_with_neighbours_keeps_linux_own_period() -> None:
    """None of the CPUs is ever idle; between the long waits there are short ones."""
    pauses = []
    for n in range(9):
        pauses += [(100 * n + 4 * k, 100 * n + 4 * k + 2, False) for k in range(5)]
        pauses.append((100 * n + 30, 100 * n + 100 + n % 3, False))
    assert starved(pauses).cause == "runqueue.throttled"


def test_an_idle_cpu_alone_is_no_limit() -> None:
    """A virtual machine whose host is slow to wake its CPUs up looks like that."""
    ends = [60, 130, 330, 380, 640, 990]
    verdict = starved([(end - 50, end, True) for end in ends], total=500)
    assert told(verdict) == ("runqueue", None)
    assert "raise" not in verdict.text


def test_waits_that_are_too_short_to_be_told_are_not_explained() -> None:
    assert told(judge(trace(parts={"runqueue": 800}))) == ("runqueue", None)


# -- what failed ----------------------------------------------------------------------------------


def refused(number: int = 1, **more: Any) -> bytes:
    more = {"closed": more.get("started", 0) + 1, "error": errno.ECONNREFUSED, **more}
    return traces.connection(number, **more)


def test_a_failure_counts_however_little_time_it_took() -> None:
    verdict = judge(
        trace(
            status="error",
            parts={"sleep": 900},
            shares=[("sleep", "clock_nanosleep", 900)],
            connections=[refused(1), refused(2, started=5)],
        )
    )
    assert told(verdict) == ("connect.refused", API)
    assert rows(verdict, "connection") == [1, 2]
    assert verdict.share == 0.002
    assert verdict.text.startswith("Failed after connecting to api.example:443: it was refused")


def test_not_where_the_function_went_on_and_ended_well() -> None:
    verdict = judge(trace(total=50, connections=[refused()]))
    assert verdict.cause is None


def test_not_if_it_was_tried_again_with_success() -> None:
    again = traces.connection(2, started=10, established=11, closed=20)
    seen = trace(total=50, status="error", connections=[refused(), again])
    verdict = judge(seen)
    assert verdict.cause is None
    assert verdict.text.startswith("Failed; nothing stands out")
    assert verdict.text.endswith(". What it raised by itself stands in its log.")
    names = [traces.lookup("a.b.local", answered=1, answer="NXDOMAIN"), traces.lookup("a.b")]
    names[1] = traces.lookup("a.b", started=2, answered=3)
    assert judge(trace(total=50, status="error", details={"lookups": names})).cause is None


def test_the_last_failure_counts() -> None:
    lookups = [traces.lookup("gone.example", started=20, answered=21, answer="NXDOMAIN")]
    verdict = judge(
        trace(status="error", connections=[refused()], details={"lookups": lookups})
    )  # fmt: skip
    assert told(verdict) == ("dns.nxdomain", "gone.example")


def test_an_alert_and_a_stale_connection_are_failures() -> None:
    alert = traces.connection(established=1, first_out=2, tls_started=2, closed=9)
    details = {"tls": {"1": ["api.example", "1.3", "certificate_expired"]}}
    verdict = judge(trace(total=20, status="error", connections=[alert], details=details))
    assert told(verdict) == ("tls.certificate", API)
    stale = traces.connection(
        started=-500, established=-499, first_out=3, closed=4, flags=REUSED | RESET
    )
    exchange = traces.exchange(first_out=3)
    verdict = judge(trace(total=20, status="error", connections=[stale], exchanges=[exchange]))
    assert told(verdict) == ("wait.stale", API)
    assert rows(verdict, "exchange") == [1]


def test_what_nobody_waited_for_did_not_fail() -> None:
    """A line for a log server, sent and not answered."""
    log = traces.connection(established=1, first_out=2, closed=4, flags=wire.CONNECTION_SELF_CLOSED)
    verdict = judge(
        trace(total=20, status="error", connections=[log], exchanges=[traces.exchange(first_out=2)])
    )
    assert verdict.cause is None


def test_what_ended_before_it_began_is_no_failure_of_this_execution() -> None:
    before = refused(started=-100, flags=wire.CONNECTION_BEFORE)
    assert judge(trace(total=20, status="error", connections=[before])).cause is None


# -- how it ended ---------------------------------------------------------------------------------


def test_a_timeout_is_explained_whatever_is_usual() -> None:
    seen = trace(
        status="timeout",
        parts={"wait": 300, "cpu": 250, "sleep": 250, "connect": 200},
        shares=[("wait", API, 300)],
        connections=[traces.connection(established=1, first_out=700, flags=OPEN)],
        exchanges=[traces.exchange(first_out=700)],
    )
    verdict = judge(seen, usual(wait=300))
    assert told(verdict) == ("wait.hung", API)
    assert verdict.text.startswith(
        "Timed out: 30 % of 1.00 s went into waiting for api.example:443"
    )


def test_out_of_memory_comes_first() -> None:
    killed = traces.process(100, parent=0, name="python3", signal=9, out_of_memory=True)
    seen = trace(
        status="crash", ending=[0, 9, 1], connections=[refused()], details={"processes": [killed]}
    )
    verdict = judge(seen)
    assert told(verdict) == ("other.out_of_memory", None)
    assert rows(verdict, "process") == [1]
    assert verdict.text == "Out of memory: the kernel killed python3, which had 512 MB (x1)."


def test_a_crash_tells_how() -> None:
    verdict = judge(trace(status="crash", ending=[0, 11, 0]))
    assert told(verdict) == ("other.crash", None)
    assert "SIGSEGV" in verdict.text
    assert "exit code 3" in judge(trace(status="crash", ending=[3, 0, 0])).text


# -- what is abnormal -----------------------------------------------------------------------------


def usual(**parts: float) -> Usual:
    """Usual figures: medians in ms of 20 executions."""
    found = {part: round(parts.get(part, 0) * MS) for part in Part}
    return Usual(20, round(sum(parts.values()) * MS), found)


def waiting(ms: float, total: float) -> Trace:
    return trace(
        total=total,
        parts={"wait": ms},
        shares=[("wait", API, ms)],
        connections=[traces.connection(established=1, first_out=1, closed=total)],
        exchanges=[traces.exchange(first_out=1, first_in=ms + 1)],
    )


@pytest.mark.parametrize(
    ("ms", "total", "stands_out"),
    [(600, 1_000, True), (390, 1_000, True), (110, 120, True), (90, 120, False), (5, 17, False)],
)
def test_without_usual_figures_it_has_to_be_large_and_long(
    ms: float, total: float, stands_out: bool
) -> None:
    verdict = judge(waiting(ms, total))
    if ms == 390:
        assert verdict.cause == "cpu.own"  # the larger one
    else:
        assert (verdict.cause == "wait.slow") is stands_out
    assert "there is no other execution to compare with" in verdict.text
    assert (verdict.usual_ns, verdict.compared) == (None, 0)


def test_the_largest_part_may_be_no_more_than_a_third() -> None:
    verdict = judge(trace(parts={"wait": 350, "sleep": 330, "cpu": 320}))
    assert told(verdict) == (None, None)
    assert verdict.text.startswith("Nothing stands out: the largest part of 1.00 s")
    assert "log" not in verdict.text


@pytest.mark.parametrize(
    ("ms", "usually", "stands_out"),
    [
        (600, 20, True),
        (600, 590, False),
        (600, 420, False),  # not by half
        (600, 390, True),
        (30, 1, True),
        (18, 1, False),  # not by 20 ms
    ],
)
def test_with_usual_figures_it_has_to_exceed_them(
    ms: float, usually: float, stands_out: bool
) -> None:
    verdict = judge(waiting(ms, ms + 10), usual(wait=usually, cpu=9))
    assert (verdict.cause == "wait.slow") is stands_out
    assert f"the median of {verdict.compared} executions" in verdict.text
    assert verdict.usual_ns == round(usually * MS)


def test_what_is_much_as_always_is_not_the_cause() -> None:
    """It always sleeps, and today somebody makes it wait besides."""
    seen = trace(
        total=2_000,
        parts={"sleep": 1_200, "wait": 700},
        shares=[("sleep", "clock_nanosleep", 1_200), ("wait", API, 700)],
        connections=[traces.connection(established=1, first_out=1, closed=1_990)],
        exchanges=[traces.exchange(first_out=1, first_in=701)],
    )
    assert told(judge(seen, usual(sleep=1_200, wait=10))) == ("wait.slow", API)
    assert judge(seen).cause == "sleep"


def test_where_not_all_executions_were_looked_at_none_is_said_to_be_none_of_those() -> None:
    """Functions that share a table: a busy one's executions hide those of one that is not."""
    recent = Recent()
    one = summary(partition=traces.partition(2_000, wait=2_000))
    nothing = "there is no other execution to compare with"
    assert f"; {nothing}." in judge_summary(one, recent.usual(one)).text
    recent.is_cut = True
    of_those = f"; among the 500 that were looked at {nothing}."
    assert of_those in judge_summary(one, recent.usual(one)).text


def test_too_few_executions_are_told_as_such() -> None:
    assert "; 1 other execution is too few to say" in judge(waiting(5, 9), Usual(1)).text
    assert "; 9 other executions are too few to say" in judge(waiting(5, 9), Usual(9)).text


def summary(**changes: Any) -> Execution:
    return read_execution(traces.summary(**changes))


def test_usual_figures_are_medians_of_ten_executions_or_more() -> None:
    found = [
        summary(duration_ns=n * MS, partition=traces.partition(n, wait=n / 2)) for n in range(1, 12)
    ]
    whole = usual_figures(found, found[0])
    assert (whole.executions, whole.duration_ns) == (11, 6 * MS)
    assert whole.part_ns(Part.WAIT) == 3 * MS
    few = usual_figures(found[: FEWEST - 1], found[0])
    assert (few.executions, few.part_ns(Part.WAIT)) == (FEWEST - 1, None)
    assert usual_figures([*found, summary()], found[0]).executions == 11  # one tells nothing


def test_what_is_usual_is_what_the_latest_executions_took_that_ended_well() -> None:
    recent = Recent()
    for n in range(1, 131):
        recent.add_newer(summary(duration_ns=n * MS, partition=traces.partition(n, wait=n / 2)))
    recent.add_newer(summary(status="error", partition=traces.partition()))
    recent.add_newer(summary())
    usual = recent.usual(summary())
    assert (usual.executions, usual.duration_ns) == (100, 80 * MS)
    assert recent.usual(summary(function="other")) == Usual()


def test_older_ones_are_taken_in_as_long_as_they_say_something_more() -> None:
    rows = [
        traces.execution(duration_ns=n * MS, partition=traces.partition(n, wait=1))[-1]
        for n in range(1, 131)
    ]
    recent = Recent()
    for row in rows:
        recent.add_older(row)
    assert recent.has_enough("checkout")
    assert recent.usual(summary()).duration_ns == 50 * MS
    recent.add_newer(summary(duration_ns=200 * MS, partition=traces.partition(200, wait=1)))
    assert recent.usual(summary()).executions == 100
    of_another = Recent("other")
    of_another.add_older(rows[0])
    assert of_another.usual(summary()) == Usual()


def seen_by(backend: str, n: int = 0, **parts: float) -> Execution:
    """One of what `backend` sees: eBPF everything, preload no locks but some, /proc the CPU."""
    blind = {"preload": (Part.LOCK,), "proc": (*list(Part)[:8],)}.get(backend, ())
    told = zip(Part, traces.partition(sum(parts.values()), **parts), strict=True)
    partition = [None if part in blind and not ns else ns for part, ns in told]
    duration = round(sum(parts.values()) * MS)
    return summary(execution_id=f"one-{n}", duration_ns=duration, partition=partition)


def of_history(one: Execution, *before: Execution) -> Verdict:
    recent = Recent()
    for each in before:
        recent.add_newer(each)
    return judge_summary(one, recent.usual(one))


def test_what_another_backend_could_not_see_is_no_accusation() -> None:
    """A healthy function that waits, seen with eBPF until now: to /proc all of that is other."""
    before = [seen_by("ebpf", n, wait=150 + n, cpu=2) for n in range(12)]
    verdict = of_history(seen_by("proc", other=156, cpu=2), *before)
    assert verdict.cause is None
    assert verdict.text.endswith("usually 155 ms, the median of 12 executions.")
    assert of_history(seen_by("proc", other=900, cpu=2), *before).cause == "other"


def test_a_few_that_could_not_see_a_part_do_not_excuse_it() -> None:
    before = [seen_by("ebpf", n, wait=150, cpu=2) for n in range(12)]
    before += [seen_by("proc", n, other=152, cpu=2) for n in range(3)]
    verdict = of_history(seen_by("ebpf", wait=1_500, cpu=2), *before)
    assert (verdict.cause, verdict.compared) == ("wait", 12)
    assert "usually 150 ms, the median of 12 executions" in verdict.text
    assert of_history(seen_by("ebpf", wait=160, cpu=2), *before).cause is None


def test_a_part_that_none_could_see_has_to_be_large_and_long() -> None:
    """A preloaded library sees some locks only: of most executions it tells none."""
    before = [seen_by("preload", n, sleep=30, cpu=2) for n in range(12)]
    verdict = of_history(seen_by("preload", lock=1_200, sleep=30, cpu=2), *before)
    assert (verdict.cause, verdict.usual_ns, verdict.compared) == ("lock", None, 0)
    assert "12 other executions do not tell what is usual" in verdict.text
    assert of_history(seen_by("preload", lock=90, sleep=30, cpu=2), *before).cause is None
    # What is usual of the others stays as it is.
    assert of_history(seen_by("preload", lock=200, sleep=900), *before).cause == "sleep"


# -- with less ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "its edges are not exact"),
        ({"capture": ["dns"]}, "group cpu was not recorded"),
        ({"unavailable": {"cpu": "no tracepoint"}}, "group cpu is unavailable, no tracepoint"),
    ],
)
def test_without_a_partition_it_says_why(changes: dict[str, Any], why: str) -> None:
    verdict = judge(trace(partition=None, **changes))
    assert verdict == Verdict(None, None, 0.0, verdict.text, (), None, 0)
    assert "Where the time went is not known: " in verdict.text
    assert why in verdict.text


def test_a_summary_alone_carries_parts_and_destinations() -> None:
    verdict = judge_summary(waiting(900, 1_000).execution)
    assert told(verdict) == ("wait", API)
    assert verdict.evidence == (Reference("execution", 1),)
    assert verdict.text.startswith("90 % of 1.00 s went into waiting for api.example:443; ")
    asleep = trace(parts={"sleep": 900}, shares=[("sleep", "clock_nanosleep", 900)])
    assert told(judge_summary(asleep.execution)) == ("sleep", None)
    at_file = trace(parts={"file": 900}, shares=[("file", "/data/out", 900)])
    assert told(judge_summary(at_file.execution)) == ("file", "/data/out")


# -- whatever there is ----------------------------------------------------------------------------

_SUBJECTS = ["api.example:443", "10.0.0.7:443", "10.0.0.7:80", "api.example", "a.b", "/x", "futex"]
_times = st.one_of(st.none(), st.floats(-100, 1_200))


@st.composite
def traced(draw: st.DrawFn) -> Trace:
    """Any execution, its records thrown together; many cannot be."""
    parts = [draw(st.integers(0, 400)) for _ in range(11)]
    total = sum(parts) + draw(st.integers(0, 300))
    partition = [*(ms * MS for ms in parts), (total - sum(parts)) * MS]
    connections = [
        traces.connection(
            number,
            port=draw(st.sampled_from([53, 80, 443])),
            started=draw(st.floats(-100, 1_000)),
            error=draw(st.sampled_from([0, 0, 104, 110, 111, 113])),
            flags=draw(st.integers(0, 255)),
            retransmits=draw(st.integers(0, 9)),
            waited=0,
            transferred=0,
            **{
                name: draw(_times)
                for name in ("established", "first_out", "first_in", "closed", "tls_started")
            },
        )
        for number in range(1, draw(st.integers(0, 4)) + 1)
    ]
    exchanges = [
        traces.exchange(
            draw(st.integers(1, 4)),
            first_out=draw(st.floats(0, 900)),
            first_in=draw(_times),
            retransmits=draw(st.integers(0, 4)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    pauses = [
        traces.pause(
            draw(st.sampled_from(wire.WAITS)),
            started=start,
            ended=start + draw(st.integers(1, 300)),
            op=draw(st.sampled_from(["none", "futex", "fsync", "poll"])),
            connection=draw(st.integers(0, 4)),
            idle=draw(st.booleans()),
        )
        for start in draw(st.lists(st.integers(-50, 1_000), max_size=4))
    ]
    lookups = [
        traces.lookup(
            draw(st.sampled_from(["api.example", "a.b", "a.b.local", ""])),
            started=draw(st.integers(0, 500)),
            answered=draw(st.one_of(st.none(), st.integers(500, 900))),
            answer=draw(st.sampled_from(["NOERROR", "NXDOMAIN", "SERVFAIL", "TYPE 7"])),
            attempts=draw(st.integers(1, 3)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    shares = [
        (draw(st.sampled_from(list(Part))), draw(st.sampled_from(_SUBJECTS)), ms)
        for ms in draw(st.lists(st.integers(0, 500), max_size=4))
    ]
    return trace(
        total=total,
        partition=draw(st.sampled_from([partition, partition, None])),
        status=draw(st.sampled_from(["ok", "error", "timeout", "crash", "unfinished"])),
        connections=connections,
        exchanges=exchanges,
        blocked=[traces.blocked(draw(st.sampled_from(["futex", "fsync"])), path=b"/x")],
        pauses=pauses,
        shares=shares,
        details={"lookups": lookups, "processes": [traces.process()]},
    )


@given(traced(), st.sampled_from([Usual(), Usual(3), usual(), usual(wait=100, cpu=100)]))
def test_a_verdict_says_nothing_that_is_not_in_the_records(seen: Trace, usually: Usual) -> None:
    for verdict, known in ((judge(seen, usually), seen), (judge_summary(seen.execution), None)):
        assert 0 <= verdict.share <= 1
        assert verdict.text.endswith(".")
        assert verdict.cause is None or verdict.cause.partition(".")[0] in list(Part)
        if verdict.destination is not None:
            assert verdict.cause is not None
            assert verdict.destination in verdict.text
            assert verdict.destination in destinations(seen)
        if known is not None:
            for row in verdict.evidence:
                assert 1 <= row.number <= counts(known)[row.kind]
        if verdict.cause is not None:
            assert verdict.evidence


def destinations(seen: Trace) -> set[str]:
    """Everything that an execution's records name."""
    return {
        *(destination_of(each) for each in seen.connections),
        *(each.name for each in seen.namelookups),
        *(each.path for each in seen.blocked if each.path),
        *(each.subject for each in seen.execution.shares),
        *(each.subject for each in seen.pauses),
    }


def counts(seen: Trace) -> dict[str, int]:
    return {
        "execution": 1,
        "connection": len(seen.connections),
        "namelookup": len(seen.namelookups),
        "exchange": len(seen.exchanges),
        "blocked": len(seen.blocked),
        "pause": len(seen.pauses),
        "process": len(seen.processes),
    }
