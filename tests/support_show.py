"""Executions that between them show everything which `show` can show, as the agent stores them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import support_traces as traces

from lambdatrace import wire
from lambdatrace.analysis.trace import elsewhere_left_out, read_records, without_syscalls
from lambdatrace.analysis.verdict import judge
from lambdatrace.export.html import Report
from lambdatrace.items import CHUNK
from lambdatrace.model import Part

if TYPE_CHECKING:
    from lambdatrace.items import Item

UDP = socket.IPPROTO_UDP
MS = traces.MS


def parts(**ms: float) -> list[int | None]:
    """A summary's partition from the parts that are not 0, in ms; the host does not tell steal."""
    values = traces.partition(sum(ms.values()), **ms)
    return [None if name is Part.STEAL else ns for name, ns in zip(Part, values, strict=True)]


def lookup(
    name: str,
    kind: str = "A",
    *,
    started: float = 0.0,
    answered: float | None = None,
    answer: str | None = None,
    addresses: tuple[str, ...] = (),
    attempts: int = 1,
    connection: int = 1,
) -> list[Any]:
    """One namelookup as items.py has it; times in ms."""
    times = [traces.moment(started), traces.moment(answered)]
    answer = "NOERROR" if addresses else answer
    return [name, kind, "10.0.0.2", *times, attempts, answer, 0, list(addresses), 100, connection]


CASES: dict[str, dict[str, Any]] = {
    # A query, a slow answer, a refusal, a reused connection and one that hangs.
    "pipeline": {
        "connections": traces.pipeline(),
        "exchanges": [
            traces.exchange(2, first_out=80, last_out=82, first_in=1_240, last_in=1_310),
            traces.exchange(4, first_out=1_330, first_in=1_338, last_in=1_339),
        ],
        "status": "timeout",
        "cold_start": True,
        "errors": 1,
    },
    "incomplete": {
        # So many that they stand in a chunk of their own, which is missing.
        "connections": [traces.connection(number, closed=2_000) for number in range(400)],
        "dropped": {"events": 1_200, "gaps": 1},
    },
    "empty": {"connections": []},
    # What is theirs stands apart.
    "extensions": {
        "connections": [],
        "details": {
            "extensions": [
                traces.elsewhere("agent\x1b[31md", host="in.example", established=None, error=111),
                traces.elsewhere(started=-300, closed=None),
                *[traces.elsewhere(started=10, established=11, closed=12)] * 14,
            ],
            "extensions_left_out": 3,
        },
    },
    # By a policy, and with all that the agent tells of itself.
    "not kept": {
        "connections": [],
        "kept": False,
        "keep": "slow",
        "dropped": {"items": 4, "executions": 2},
        "agent": {"cpu_ns": 4_100_000, "peak_bytes": 21_000_000, "after_ns": 12_300_000,
                  "sent_bytes": 7_300, "write_units": 12, "flushes": 1, "retries": 2,
                  "spooled": 3, "drained": 1},
    },
    "command": {
        "connections": [
            traces.connection(1, established=1, first_out=2, first_in=30, last_out=1_900,
                              last_in=1_950, waited=900, transferred=500, closed=1_960,
                              bytes_out=123_456_789, bytes_in=1_000, tgid=10, comm=b"curl"),
            traces.connection(2, "10.9.8.7", 8125, UDP, started=100, first_out=100, closed=1_500,
                              bytes_out=999, tgid=11, comm=b"a long name 16"),
            traces.connection(3, "10.0.0.1", 443, started=-300, established=-290, closed=-5,
                              flags=wire.CONNECTION_BEFORE),
            traces.connection(4, "fd00:1234:5678:9abc:def0:1234:5678:9abc", 65_535, started=500,
                              established=500.4, closed=500.7, error=71),
        ],
        "function": "python3",
        "version": None,
        "memory_mb": None,
        "agent": None,
        "edges": "process",
        "level": "syscalls",
        "capture": ["dns", "cpu"],
        "cpu": None,
        "command": "python3 load.py --all",
        "exit_code": 3,
        "status": "error",
        "syscalls": [
            traces.syscall("connect", result=-115, duration=0.07),
            *[traces.syscall("write", result=1_000)] * 1_500,
            traces.syscall("recvfrom", result=-104, duration=12),
        ],
    },
    # What issue 3 added, each thing once: a handshake that held out, one that was refused and one
    # that hangs; an upload, repeated exchanges and a connection that had gone stale.
    "tls": {
        "connections": [
            traces.connection(1, established=4, first_out=5, first_in=20, last_out=900, last_in=905,
                              tls_started=5, tls_ended=36, closed=1_000, bytes_out=1_900,
                              bytes_in=61_000, exchanges=2),
            traces.connection(2, "10.0.0.8", started=40, established=44, first_out=44, first_in=60,
                              last_out=60, tls_started=44, closed=61, bytes_out=524,
                              bytes_in=1_009),
            traces.connection(3, "10.0.0.9", started=1_100, established=1_104, first_out=1_104,
                              tls_started=1_104, flags=wire.CONNECTION_OPEN, bytes_out=517),
            traces.connection(4, "10.0.0.6", 8080, started=-400, established=-390, first_out=-390,
                              first_in=-380, last_out=300, closed=301, error=104, bytes_out=620,
                              flags=wire.CONNECTION_RESET | wire.CONNECTION_REUSED, tgid=321,
                              comm=b"worker"),
            traces.connection(5, "10.0.0.5", 9000, started=310, established=312, first_out=312,
                              last_out=700, first_in=1_000, last_in=1_001, closed=1_002,
                              bytes_out=52_428_800, bytes_in=19),
        ],
        "exchanges": [
            traces.exchange(1, first_out=40, first_in=240, last_in=440),
            traces.exchange(1, first_out=500, first_in=640, last_in=700),
            traces.exchange(1, first_out=900, first_in=905),
            traces.exchange(4, first_out=300),
            traces.exchange(5, first_out=312, last_out=700, first_in=1_000, last_in=1_001),
        ],
        "blocked": [
            traces.blocked("flock", started=1_010, ended=1_099, path=b"/mnt/efs/lock"),
            traces.blocked("fsync", started=1_001, ended=1_004, path=b"/tmp/out.bin"),
            traces.blocked("fsync", started=1_005, ended=1_009, fd=6, path=b"/tmp/out.bin"),
            traces.blocked("epoll_wait", started=0, ended=1_900, tgid=321, tid=325),
            traces.blocked("wait4", started=30, ended=39, fd=-1),
            traces.blocked("none", started=20, ended=22, fd=-1, number=wire.BLOCKED_FAULT),
        ],
        "details": {
            "lookups": [],
            "hosts": {"1": "api.example.com", "2": "old.example.com", "3": "slow.example.com"},
            "tls": {"1": ["api.example.com", "1.3", ""],
                    "2": ["old.example.com", "1.2", "unknown_ca"],
                    "3": ["slow.example.com", "", ""]},
            "processes": [
                traces.process(100, parent=0, name="python3", started=-600, ended=2_000, signal=9,
                               out_of_memory=True),
                traces.process(321, name="worker", started=-590, ended=1_999, exit_code=3),
                traces.process(322, parent=321, name="sh", started=30, ended=39),
            ],
        },
        "status": "crash",
        "errors": 1,
        "cpu": [610 * traces.MS, 400 * traces.MS, 20 * traces.MS, 12 * traces.MS],
        "steal_ns": 30 * traces.MS,
        "major_faults": 1_200,
        "ending": [0, 9, 1],
    },
    # What is not known, and why.
    "unknown": {
        "connections": [
            traces.connection(1, established=4, first_out=5, first_in=20, last_out=900,
                              last_in=905, tls_started=5, tls_ended=36, closed=1_000,
                              bytes_out=190_000, bytes_in=610_000, exchanges=4_000),
        ],
        "exchanges": [traces.exchange(1, first_out=40, first_in=240, last_in=440)],
        "blocked": [
            traces.blocked("nanosleep", started=i, ended=i + 1, fd=-1, tid=100 + i)
            for i in range(12)
        ],
        "capture": ["tls", "exchanges", "processes"],
        "unavailable": {"cpu": "no tracepoint sched/sched_switch",
                        "blocked": "no tracepoint sched/sched_switch"},
        "unseen": ["io_uring", "overlap"],
        "folded": {"exchanges": 3_999, "blocked": 1},
        "cpu": None,
        "steal_ns": None,
        "ending": [1, 0, 0],
    },
}  # fmt: skip

CASES["pipeline"] |= {
    "partition": parts(dns=22, connect=720, wait=1_168, transfer=70, cpu=18, other=2),
    "shares": [
        ["wait", "api.example:443", 1_160 * MS], ["connect", "192.0.2.1:5432", 650 * MS],
        ["dns", "api.example", 22 * MS],
    ],
    "details": {
        "lookups": [lookup("api.example", started=3, answered=25, addresses=("10.0.0.7",))],
        "hosts": {"2": "api.example"},
    },
    "pauses": [
        traces.pause("network", started=3, ended=25, op="recvfrom", connection=1),
        traces.pause("network", started=27, ended=78, op="poll", connection=2),
        traces.pause("runqueue", started=78, ended=82),
        traces.pause("network", started=82, ended=1_240, op="recvfrom", connection=2),
        traces.pause("poll", started=1_350, ended=2_000, op="poll", connection=5),
    ],
}  # fmt: skip
CASES["tls"] |= {
    "partition": parts(tls=927, wait=680, transfer=170, file=7, lock=89, cpu=100, runqueue=12,
                       other=15),
    "shares": [
        ["tls", "slow.example.com:443", 896 * MS], ["wait", "10.0.0.5:9000", 300 * MS],
        ["wait", "api.example.com:443", 280 * MS], ["lock", "/mnt/efs/lock", 89 * MS],
        ["tls", "api.example.com:443", 31 * MS],
    ],
    "pauses": [
        traces.pause("lock", started=1_010, ended=1_099, op="flock"),
        traces.pause("child", started=30, ended=39, op="wait4"),
        traces.pause("file", started=1_001, ended=1_004, op="fsync"),
    ],
}  # fmt: skip
# Cut off at the deadline, with everything under way.
CASES["open"] = {
    "connections": [
        traces.connection(1, "10.0.0.2", 53, UDP, started=1, first_out=1, bytes_out=31,
                          flags=wire.CONNECTION_OPEN),
        traces.connection(2, started=10, flags=wire.CONNECTION_OPEN, retransmits=2),
        traces.connection(3, "10.0.0.8", started=20, established=24, first_out=24, tls_started=24,
                          bytes_out=517, flags=wire.CONNECTION_OPEN),
        traces.connection(4, "10.0.0.9", 8080, started=30, established=34, first_out=35,
                          bytes_out=90, flags=wire.CONNECTION_OPEN),
        traces.connection(5, "10.0.0.10", 8080, started=-500, established=-490, first_out=40,
                          bytes_out=90,
                          flags=wire.CONNECTION_OPEN | wire.CONNECTION_REUSED),
    ],
    "exchanges": [traces.exchange(4, first_out=35), traces.exchange(5, first_out=40)],
    "blocked": [
        traces.blocked("flock", started=50, ended=3_000, path=b"/mnt/efs/lock", result=-512),
    ],
    "pauses": [traces.pause("lock", started=60, ended=3_000, op="flock")],
    "details": {"lookups": [lookup("hangs.example", started=1, attempts=3)], "hosts": {}},
    "duration_ns": 3_000 * MS,
    "status": "timeout",
    "partition": parts(lock=2_940, cpu=60),
    "shares": [["lock", "/mnt/efs/lock", 2_940 * MS]],
}  # fmt: skip
# Characters of two cells, and names longer than any column.
WIDE_HOST = "データベース.東京.例え.example"
CASES["wide"] = {
    "connections": [
        traces.connection(1, established=4, first_out=5, first_in=900, last_in=901, closed=950,
                          bytes_out=90, bytes_in=900),
        traces.connection(2, "10.0.0.8", started=910, closed=911, error=111),
        traces.connection(3, "10.0.0.9", started=920, established=930, first_out=931,
                          first_in=1_900, last_in=1_901, closed=1_950, bytes_out=1, bytes_in=2),
    ],
    "blocked": [
        traces.blocked("fsync", started=1_910, ended=1_990,
                       path="/mnt/データ/レポート/二千二十六年.csv".encode()),
    ],
    "pauses": [traces.pause("file", started=1_910, ended=1_990, op="fsync")],
    "details": {
        "lookups": [lookup(WIDE_HOST, started=1, answered=3, answer="SERVFAIL", connection=9)],
        "hosts": {"1": WIDE_HOST, "2": WIDE_HOST,
                  "3": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"},
    },
    "partition": parts(wait=1_800, file=80, cpu=120),
    "shares": [["wait", f"{WIDE_HOST}:443", 890 * MS],
               ["file", "/mnt/データ/レポート/二千二十六年.csv", 80 * MS]],
}  # fmt: skip
HOSTILE = "\x1b[31m\u202e[red]\x07"
CASES["hostile"] = {
    "connections": [
        traces.connection(1, established=4, first_out=5, first_in=900, last_in=901, closed=950,
                          bytes_out=90, bytes_in=900, tls_started=5, tls_ended=9, comm=b"\x1b[2J"),
        traces.connection(2, "10.0.0.8", started=910, closed=911, error=111),
    ],
    "blocked": [traces.blocked("fsync", ended=80, path=HOSTILE.encode())],
    "pauses": [traces.pause("file", ended=80, op="fsync")],
    "details": {
        "lookups": [lookup(HOSTILE, HOSTILE, answered=3, answer=HOSTILE, connection=9)],
        "hosts": {"1": HOSTILE},
        "tls": {"1": [HOSTILE, HOSTILE, HOSTILE]},
        "processes": [traces.process(200, name=HOSTILE, exit_code=1)],
    },
    "partition": parts(wait=1_800, file=80, cpu=120),
    "shares": [["wait", f"{HOSTILE}:443", 890 * MS], ["file", HOSTILE, 80 * MS]],
    "function": HOSTILE,
}  # fmt: skip
# More than anybody reads: ten thousand connections to one place, others to three hundred.
CASES["folded"] = {
    "connections": [
        *[
            traces.connection(
                n, started=n / 10, established=n / 10 + 1,
                closed=n / 10 + (400 if n == 7_000 else 2 + n % 3), bytes_out=100, bytes_in=1_000,
                error={9_999: 111, 10_000: 111, 4_000: 104}.get(n, 0),
            )
            for n in range(1, 10_001)
        ],
        *[
            traces.connection(10_000 + n, f"10.1.{n // 250}.{n % 250}", 8080, started=n * 5,
                              established=n * 5 + n % 7, closed=n * 5 + 20)
            for n in range(1, 301)
        ],
        traces.connection(20_000, "10.9.9.9", 5432, started=5, flags=wire.CONNECTION_OPEN),
    ],
    "details": {
        "lookups": [
            lookup(f"shard{n % 3}.example", started=n, answered=None if n == 500 else n + 2,
                   addresses=() if n == 500 else ("10.0.0.7",), connection=0)
            for n in range(1, 1_001)
        ],
        "processes": [
            traces.process(200 + n, name="sh", started=n, ended=n + 5, exit_code=n % 2)
            for n in range(40)
        ],
    },
    "errors": 3,
    "partition": parts(connect=1_500, wait=400, cpu=100),
}  # fmt: skip


def stored(case: str, **changes: Any) -> list[Item]:
    """The items of a case."""
    items = traces.execution(**CASES[case] | changes)
    if case == "incomplete":
        items = [item for item in items if item.kind != CHUNK]
    return items


def report(items: list[Item]) -> Report:
    """An execution, analysed."""
    records = read_records(items)
    trace = without_syscalls(records)
    return Report(trace, judge(trace), elsewhere_left_out(records))
