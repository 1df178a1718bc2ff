"""`show` as a whole, line by line: header, connections, timeline, syscalls."""

# ruff: noqa: E501
from __future__ import annotations

import io
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from rich.segment import Segment
from support_cli import rendered, run

from lambdatrace import wire
from lambdatrace.analysis.phases import told_apart
from lambdatrace.analysis.trace import (
    blocked,
    connections,
    elsewhere,
    exchanges,
    processes,
    read_records,
)
from lambdatrace.analysis.waiting import blocked_totals
from lambdatrace.cli.environment import Environment
from lambdatrace.cli.views.blocked import BlockedTable
from lambdatrace.cli.views.connections import ConnectionTable
from lambdatrace.cli.views.elsewhere import ElsewhereTable
from lambdatrace.cli.views.processes import ProcessTable
from lambdatrace.cli.views.timeline import ASCII, Timeline, bar
from lambdatrace.items import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

UDP = socket.IPPROTO_UDP
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
        "partition": traces.partition(
            dns=22, connect=702, wait=1_168, transfer=70, cpu=30, runqueue=8
        ),
        "shares": [
            ["wait", "10.0.0.7:443", 1_160 * traces.MS],
            ["connect", "192.0.2.1:5432", 650 * traces.MS],
        ],
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

EXPECTED: dict[tuple[str, int], list[str]] = {
    ("pipeline", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, timeout, cold start",
        "network    5 connections, 1 error",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Timed out: 58 % of 2.00 s went into waiting for 10.0.0.7:443: the",
        "           answer took 1.16 s (exchange 1; connection 3); there is no other",
        "           execution to compare with.",
        "",
        "#  destination         connect     wait    total      out       in  outcome",
        "────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.9:8000        reused  8.00 ms   2.90 s    620 B    212 B  open",
        "2  10.0.0.2:53/udp           -  22.0 ms  23.0 ms     31 B     47 B  ok",
        "3  10.0.0.7:443        51.0 ms   1.16 s   1.28 s  1.81 kB  48.2 kB  ok, resent 2",
        "4  [2001:db8::17]:844  1.00 ms        -  1.00 ms      0 B      0 B  refused",
        "   3",
        "5  192.0.2.1:5432       650 ms        -   650 ms      0 B      0 B  connecting",
        "",
        "                      0             500 ms         1.00 s        1.50 s   2.00 s",
        "                      ┬─────────────┬──────────────┬─────────────┬─────────────┬",
        "1 10.0.0.9:8000       ──────────────────────────────────────▎──────────────────→",
        "2 10.0.0.2:53/udp     ▒",
        "3 10.0.0.7:443        ▎░▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒██",
        "4 [2001:db8::17]:8443                                       ▏✗",
        "5 192.0.2.1:5432                                             ░░░░░░░░░░░░░░░░░░→",
        "░ connect  ▒ wait  █ transfer  ─ open, idle  ✗ failed  → not closed",
    ],
    ("pipeline", 120): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, timeout, cold start",
        "network    5 connections, 1 error",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Timed out: 58 % of 2.00 s went into waiting for 10.0.0.7:443: the answer took 1.16 s (exchange 1; connection",
        "           3); there is no other execution to compare with.",
        "",
        "#  destination            start  connect     wait  transfer    total      out       in  outcome",
        "────────────────────────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.9:8000        -900 ms   reused  8.00 ms   1.00 ms   2.90 s    620 B    212 B  open",
        "2  10.0.0.2:53/udp      3.00 ms        -  22.0 ms      0 ms  23.0 ms     31 B     47 B  ok",
        "3  10.0.0.7:443         27.0 ms  51.0 ms   1.16 s   70.0 ms   1.28 s  1.81 kB  48.2 kB  ok, resent 2",
        "4  [2001:db8::17]:8443   1.32 s  1.00 ms        -         -  1.00 ms      0 B      0 B  refused",
        "5  192.0.2.1:5432        1.35 s   650 ms        -         -   650 ms      0 B      0 B  connecting",
        "",
        "                      0                       500 ms                   1.00 s                  1.50 s             2.00 s",
        "                      ┬───────────────────────┬────────────────────────┬───────────────────────┬───────────────────────┬",
        "1 10.0.0.9:8000       ─────────────────────────────────────────────────────────────────▌───────────────────────────────→",
        "2 10.0.0.2:53/udp     ▒▎",
        "3 10.0.0.7:443         ░░░▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒███▎",
        "4 [2001:db8::17]:8443                                                                 ▏✗",
        "5 192.0.2.1:5432                                                                        ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░→",
        "░ connect  ▒ wait  █ transfer  ─ open, idle  ✗ failed  → not closed",
    ],
    ("incomplete", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok",
        "network    400 connections",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "! dropped: 1,200 records, 1 gap while the agent's worker was away: the figures",
        "below are too low",
        "! missing: 1 event chunk did not reach the store: connections below are missing",
        "",
        "verdict    Where the time went is not known: its edges are not exact, or its",
        "           agent was an older one.",
        "",
        "no connections were kept",
    ],
    ("extensions", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok",
        "network    0 connections",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Where the time went is not known: its edges are not exact, or its",
        "           agent was an older one.",
        "",
        "no connections: this execution did not use the network",
        "",
        "other extensions   destination       total    out       in  outcome",
        "────────────────────────────────────────────────────────────────────────",
        "agent\\x1b[31md 77  in.example:443  8.00 ms  310 B  4.20 kB  ECONNREFUSED",
        "telegraf 77        192.0.2.7:443         -  310 B  4.20 kB  open",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   2.00 ms  310 B  4.20 kB  ok",
        "… and 1 more, --output json has them all",
        "… and 3 that were not stored",
    ],
    ("extensions", 120): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok",
        "network    0 connections",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Where the time went is not known: its edges are not exact, or its agent was an older one.",
        "",
        "no connections: this execution did not use the network",
        "",
        "other extensions   destination       start  connect    total    out       in  outcome",
        "──────────────────────────────────────────────────────────────────────────────────────────",
        "agent\\x1b[31md 77  in.example:443  1.00 ms        -  8.00 ms  310 B  4.20 kB  ECONNREFUSED",
        "telegraf 77        192.0.2.7:443   -300 ms   302 ms        -  310 B  4.20 kB  open",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "telegraf 77        192.0.2.7:443   10.0 ms  1.00 ms  2.00 ms  310 B  4.20 kB  ok",
        "… and 1 more, --output json has them all",
        "… and 3 that were not stored",
    ],
    ("empty", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok",
        "network    0 connections",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Where the time went is not known: its edges are not exact, or its",
        "           agent was an older one.",
        "",
        "no connections: this execution did not use the network",
    ],
    ("not kept", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok",
        "network    3 connections",
        "cpu        300 ms on a CPU (15%), 9.00 ms waiting for one",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "events     were not kept (policy slow)",
        "agent      4.10 ms of CPU, 21.0 MB at its peak; since the one before: 12.3 ms",
        "           after the response, 7.30 kB sent, 12 write units, 2 retries, 3",
        "           executions spooled, 1 drained",
        "! lost before this one: 4 items not stored, 2 executions not stored",
        "",
        "verdict    Where the time went is not known: its edges are not exact, or its",
        "           agent was an older one.",
        "",
        "no connections were kept",
    ],
    ("command", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   python3",
        "command    python3 load.py --all",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, error, exit code 3",
        "network    4 connections",
        "cpu        unavailable",
        "seen by    ebpf, level syscalls, edges: a command's life, without tls,",
        "           exchanges, blocked, processes",
        "",
        "verdict    Failed; where the time went is not known: its edges are not exact, or",
        "           its agent was an older one.",
        "",
        "#  destination        process            connect    wait    total  outcome",
        "────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.1:443       python3 100        10.0 ms       -   295 ms  ok, before",
        "2  10.0.0.7:443       curl 10            1.00 ms  900 ms   1.96 s  ok",
        "3  10.9.8.7:8125/udp  a long name 16 11        -       -   1.40 s  ok",
        "4  [fd00:1234:5678:9  python3 100        0.40 ms       -  0.70 ms  failed EPROTO",
        "   abc:def0:1234:567",
        "   8:9abc]:65535",
        "",
        "                           0            500 ms       1.00 s       1.50 s  2.00 s",
        "                           ┬────────────┬────────────┬────────────┬────────────┬",
        "2 10.0.0.7:443             ▒═══════════════════════════════════════════════════",
        "3 10.9.8.7:8125/udp           ─────────────────────────────────────",
        "4 [fd00:1234:5678:9abc:de…              ▏✗",
        "1 that ended before this execution began: not drawn",
        "░ connect  ▒ wait  █ transfer  ═ exchanges, not told apart  ─ open, idle",
        "✗ failed",
        "",
        "syscall   calls  errors    bytes      time",
        "──────────────────────────────────────────",
        "write     1,500       0  1.50 MB   15.0 ms",
        "recvfrom      1       1      0 B   12.0 ms",
        "connect       1       0        -  0.070 ms",
    ],
    ("command", 120): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   python3",
        "command    python3 load.py --all",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, error, exit code 3",
        "network    4 connections",
        "cpu        unavailable",
        "seen by    ebpf, level syscalls, edges: a command's life, without tls, exchanges, blocked, processes",
        "",
        "verdict    Failed; where the time went is not known: its edges are not exact, or its agent was an older one.",
        "",
        "#  destination            process              start  connect    wait  transfer    total     out       in  outcome",
        "────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.1:443           python3 100        -300 ms  10.0 ms       -         -   295 ms     0 B      0 B  ok, before",
        "2  10.0.0.7:443           curl 10               0 ms  1.00 ms  900 ms    500 ms   1.96 s  123 MB  1.00 kB  ok",
        "3  10.9.8.7:8125/udp      a long name 16 11   100 ms        -       -         -   1.40 s   999 B      0 B  ok",
        "4  [fd00:1234:5678:9abc:  python3 100         500 ms  0.40 ms       -         -  0.70 ms     0 B      0 B  failed EPROTO",
        "   def0:1234:5678:9abc]:",
        "   65535",
        "",
        "                                         0                  500 ms              1.00 s              1.50 s        2.00 s",
        "                                         ┬──────────────────┬───────────────────┬───────────────────┬──────────────────┬",
        "2 10.0.0.7:443                           ▒════════════════════════════════════════════════════════════════════════════▏",
        "3 10.9.8.7:8125/udp                          ───────────────────────────────────────────────────────",
        "4 [fd00:1234:5678:9abc:def0:1234:5678:9…                    ▏✗",
        "1 that ended before this execution began: not drawn",
        "░ connect  ▒ wait  █ transfer  ═ exchanges, not told apart  ─ open, idle  ✗ failed",
        "",
        "syscall   calls  errors    bytes      time",
        "──────────────────────────────────────────",
        "write     1,500       0  1.50 MB   15.0 ms",
        "recvfrom      1       1      0 B   12.0 ms",
        "connect       1       0        -  0.070 ms",
    ],
    ("tls", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, crash, ended by SIGKILL, out of memory",
        "network    5 connections, 1 error",
        "cpu        400 ms on a CPU (20%; all threads: 610 ms), 12.0 ms waiting for one",
        "machine    30.0 ms stolen by its host, 1,200 major faults",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Out of memory: the kernel killed python3, which had 512 MB (process",
        "           1).",
        "",
        "#  destination           process      connect      tls     wait  outcome",
        "────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.6:8080         worker 321    reused        -  1.00 ms  reset, stale",
        "2  api.example.com:443   python3 100  4.00 ms  31.0 ms   345 ms  ok",
        "3  old.example.com:443   python3 100  4.00 ms  17.0 ms        -  TLS: unknown_ca",
        "4  10.0.0.5:9000         python3 100  2.00 ms        -   300 ms  ok",
        "5  slow.example.com:443  python3 100  4.00 ms   896 ms        -  TLS: not done",
        "",
        "                       0             500 ms        1.00 s        1.50 s   2.00 s",
        "                       ┬─────────────┬─────────────┬─────────────┬─────────────┬",
        "1 10.0.0.6:8080        ────────▏✗",
        "2 api.example.com:443  ▓▒▒▒▒▒▒█████▌─▒▒▒▒██─────▏───",
        "3 old.example.com:443   ▓",
        "4 10.0.0.5:9000                ▏▄▄▄▄▄▄▄▄▄▄▄▒▒▒▒▒▒▒▒▌",
        "5 slow.example.com:443                                ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓→",
        "░ connect  ▓ tls  ▄ send  ▒ wait  █ transfer  ─ open, idle  ✗ failed",
        "→ not closed",
        "",
        "waited in   kind   on             thread          times   in all",
        "────────────────────────────────────────────────────────────────",
        "epoll_wait  poll   fd 5           worker 321/325      1   1.90 s",
        "flock       lock   /mnt/efs/lock  python3 100         1  89.0 ms",
        "wait4       child                 python3 100         1  9.00 ms",
        "fsync       file   /tmp/out.bin   python3 100         2  7.00 ms",
        "page fault  fault                 python3 100         1  2.00 ms",
        "",
        "process       started by      start     took  ended",
        "────────────────────────────────────────────────────────────────────",
        "python3 100                 -600 ms   2.60 s  SIGKILL, out of memory",
        "worker 321    python3 100   -590 ms   2.59 s  exit code 3",
        "sh 322        worker 321    30.0 ms  9.00 ms  exit code 0",
    ],
    ("tls", 120): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, crash, ended by SIGKILL, out of memory",
        "network    5 connections, 1 error",
        "cpu        400 ms on a CPU (20%; all threads: 610 ms), 12.0 ms waiting for one",
        "machine    30.0 ms stolen by its host, 1,200 major faults",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Out of memory: the kernel killed python3, which had 512 MB (process 1).",
        "",
        "#  destination           process      connect      tls     wait    total      out       in  outcome",
        "───────────────────────────────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.6:8080         worker 321    reused        -  1.00 ms   701 ms    620 B      0 B  reset, stale",
        "2  api.example.com:443   python3 100  4.00 ms  31.0 ms   345 ms   1.00 s  1.90 kB  61.0 kB  ok",
        "3  old.example.com:443   python3 100  4.00 ms  17.0 ms        -  21.0 ms    524 B  1.01 kB  TLS: unknown_ca",
        "4  10.0.0.5:9000         python3 100  2.00 ms        -   300 ms   692 ms  52.4 MB     19 B  ok",
        "5  slow.example.com:443  python3 100  4.00 ms   896 ms        -   900 ms    517 B      0 B  TLS: not done",
        "",
        "                       0                       500 ms                  1.00 s                  1.50 s             2.00 s",
        "                       ┬───────────────────────┬───────────────────────┬───────────────────────┬───────────────────────┬",
        "1 10.0.0.6:8080        ──────────────▏✗",
        "2 api.example.com:443  ▓▓▒▒▒▒▒▒▒▒▒▒█████████▍──▒▒▒▒▒▒▒███─────────▎─────",
        "3 old.example.com:443   ▏▓",
        "4 10.0.0.5:9000                       ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▒▒▒▒▒▒▒▒▒▒▒▒▒▒▌",
        "5 slow.example.com:443                                                      ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓→",
        "░ connect  ▓ tls  ▄ send  ▒ wait  █ transfer  ─ open, idle  ✗ failed  → not closed",
        "",
        "waited in   kind   on             thread             from  times  longest   in all",
        "──────────────────────────────────────────────────────────────────────────────────",
        "epoll_wait  poll   fd 5           worker 321/325     0 ms      1   1.90 s   1.90 s",
        "flock       lock   /mnt/efs/lock  python3 100      1.01 s      1  89.0 ms  89.0 ms",
        "wait4       child                 python3 100     30.0 ms      1  9.00 ms  9.00 ms",
        "fsync       file   /tmp/out.bin   python3 100      1.00 s      2  4.00 ms  7.00 ms",
        "page fault  fault                 python3 100     20.0 ms      1  2.00 ms  2.00 ms",
        "",
        "process       started by      start     took  ended",
        "────────────────────────────────────────────────────────────────────",
        "python3 100                 -600 ms   2.60 s  SIGKILL, out of memory",
        "worker 321    python3 100   -590 ms   2.59 s  exit code 3",
        "sh 322        worker 321    30.0 ms  9.00 ms  exit code 0",
    ],
    ("tls", 200): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, crash, ended by SIGKILL, out of memory",
        "network    5 connections, 1 error",
        "cpu        400 ms on a CPU (20%; all threads: 610 ms), 12.0 ms waiting for one",
        "machine    30.0 ms stolen by its host, 1,200 major faults",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "verdict    Out of memory: the kernel killed python3, which had 512 MB (process 1).",
        "",
        "#  destination           process        start  connect      tls  version     wait  transfer    total  exchanges      out       in  outcome",
        "──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.6:8080         worker 321   -400 ms   reused        -        -  1.00 ms         -   701 ms          1    620 B      0 B  reset, stale",
        "2  api.example.com:443   python3 100     0 ms  4.00 ms  31.0 ms      1.3   345 ms    260 ms   1.00 s          3  1.90 kB  61.0 kB  ok",
        "3  old.example.com:443   python3 100  40.0 ms  4.00 ms  17.0 ms      1.2        -         -  21.0 ms          0    524 B  1.01 kB  TLS: unknown_ca",
        "4  10.0.0.5:9000         python3 100   310 ms  2.00 ms        -        -   300 ms   1.00 ms   692 ms          1  52.4 MB     19 B  ok",
        "5  slow.example.com:443  python3 100   1.10 s  4.00 ms   896 ms        -        -         -   900 ms          0    517 B      0 B  TLS: not done",
        "",
        "                       0                                           500 ms                                      1.00 s                                      1.50 s                                 2.00 s",
        "                       ┬───────────────────────────────────────────┬───────────────────────────────────────────┬───────────────────────────────────────────┬───────────────────────────────────────────┬",
        "1 10.0.0.6:8080        ──────────────────────────▏✗",
        "2 api.example.com:443  ▓▓▓▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒██████████████████─────▒▒▒▒▒▒▒▒▒▒▒▒▒█████─────────────────▍▏────────",
        "3 old.example.com:443     ▌▓▍",
        "4 10.0.0.5:9000                                   ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒",
        "5 slow.example.com:443                                                                                                  ░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓→",
        "░ connect  ▓ tls  ▄ send  ▒ wait  █ transfer  ─ open, idle  ✗ failed  → not closed",
        "",
        "waited in   kind   on             thread             from  times  longest   in all",
        "──────────────────────────────────────────────────────────────────────────────────",
        "epoll_wait  poll   fd 5           worker 321/325     0 ms      1   1.90 s   1.90 s",
        "flock       lock   /mnt/efs/lock  python3 100      1.01 s      1  89.0 ms  89.0 ms",
        "wait4       child                 python3 100     30.0 ms      1  9.00 ms  9.00 ms",
        "fsync       file   /tmp/out.bin   python3 100      1.00 s      2  4.00 ms  7.00 ms",
        "page fault  fault                 python3 100     20.0 ms      1  2.00 ms  2.00 ms",
        "",
        "process       started by      start     took  ended",
        "────────────────────────────────────────────────────────────────────",
        "python3 100                 -600 ms   2.60 s  SIGKILL, out of memory",
        "worker 321    python3 100   -590 ms   2.59 s  exit code 3",
        "sh 322        worker 321    30.0 ms  9.00 ms  exit code 0",
    ],
    ("unknown", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok, its process ended with exit code 1",
        "network    1 connection",
        "seen by    ebpf, level flows, edges exact, from the kernel, without dns",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "! unavailable: cpu, blocked: no tracepoint sched/sched_switch",
        "! io_uring was used: what goes through it is not seen",
        "! overlap: other executions ran in this process meanwhile: no traffic shown",
        "! folded: 3,999 exchanges, 1 blocked syscall: counted, but not kept one by one",
        "",
        "verdict    Where the time went is not known: group cpu is unavailable, no",
        "           tracepoint sched/sched_switch.",
        "",
        "#  destination      connect      tls  wait   total  outcome",
        "──────────────────────────────────────────────────────────────",
        "1  10.0.0.7:443     4.00 ms  31.0 ms     -  1.00 s  ok",
        "",
        "               0               500 ms          1.00 s          1.50 s     2.00 s",
        "               ┬───────────────┬───────────────┬───────────────┬───────────────┬",
        "1 10.0.0.7:443 ▓════════════════════════════▍───",
        "░ connect  ▓ tls  ▒ wait  █ transfer  ═ exchanges, not told apart",
        "─ open, idle",
        "",
        "waited in  kind   on        thread           times   in all",
        "───────────────────────────────────────────────────────────",
        "nanosleep  sleep            python3 100          1  1.00 ms",
        "nanosleep  sleep            python3 100/101      1  1.00 ms",
        "nanosleep  sleep            python3 100/102      1  1.00 ms",
        "nanosleep  sleep            python3 100/103      1  1.00 ms",
        "nanosleep  sleep            python3 100/104      1  1.00 ms",
        "nanosleep  sleep            python3 100/105      1  1.00 ms",
        "nanosleep  sleep            python3 100/106      1  1.00 ms",
        "nanosleep  sleep            python3 100/107      1  1.00 ms",
        "nanosleep  sleep            python3 100/108      1  1.00 ms",
        "nanosleep  sleep            python3 100/109      1  1.00 ms",
        "… and 2 more rows; --output json has every wait",
        "… and 1 more wait that was not kept",
    ],
    ("unknown", 120): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok, its process ended with exit code 1",
        "network    1 connection",
        "seen by    ebpf, level flows, edges exact, from the kernel, without dns",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "! unavailable: cpu, blocked: no tracepoint sched/sched_switch",
        "! io_uring was used: what goes through it is not seen",
        "! overlap: other executions ran in this process meanwhile: no traffic shown",
        "! folded: 3,999 exchanges, 1 blocked syscall: counted, but not kept one by one",
        "",
        "verdict    Where the time went is not known: group cpu is unavailable, no tracepoint sched/sched_switch.",
        "",
        "#  destination      start  connect      tls  wait  transfer   total     out      in  outcome",
        "───────────────────────────────────────────────────────────────────────────────────────────────",
        "1  10.0.0.7:443      0 ms  4.00 ms  31.0 ms     -         -  1.00 s  190 kB  610 kB  ok",
        "",
        "               0                         500 ms                    1.00 s                    1.50 s               2.00 s",
        "               ┬─────────────────────────┬─────────────────────────┬─────────────────────────┬─────────────────────────┬",
        "1 10.0.0.7:443 ▓▓═════════════════════════════════════════════▌─────",
        "░ connect  ▓ tls  ▒ wait  █ transfer  ═ exchanges, not told apart  ─ open, idle",
        "",
        "waited in  kind   on        thread              from  times  longest   in all",
        "─────────────────────────────────────────────────────────────────────────────",
        "nanosleep  sleep            python3 100         0 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/101  1.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/102  2.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/103  3.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/104  4.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/105  5.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/106  6.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/107  7.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/108  8.00 ms      1  1.00 ms  1.00 ms",
        "nanosleep  sleep            python3 100/109  9.00 ms      1  1.00 ms  1.00 ms",
        "… and 2 more rows; --output json has every wait",
        "… and 1 more wait that was not kept",
    ],
}


@pytest.mark.parametrize(("case", "width"), sorted(EXPECTED))
def test_show(case: str, width: int, tmp_path: Path) -> None:
    assert drawn(case, width, tmp_path) == EXPECTED[case, width]


@pytest.mark.parametrize("case", CASES)
def test_no_column_is_cut(case: str) -> None:
    """Nothing but the terminal's edge would cut a table that is too wide for it."""
    records = read_records(traces.execution(**CASES[case]))
    decoded = connections(records)
    tables = [
        ConnectionTable(decoded, told_apart(decoded, exchanges(records), whole=True)),
        BlockedTable(blocked_totals(blocked(records)), {100: "python3", 321: "worker"}),
        ProcessTable(processes(records)),
        ElsewhereTable(elsewhere(records), 2),
    ]
    console = Environment(stdout=io.StringIO(), environ={}, width=300).console
    for width in range(72, 200):
        for table in tables:
            drawn = console.render(table, console.options.update(max_width=width))
            for line in Segment.split_lines(drawn):
                assert sum(segment.cell_length for segment in line) <= width


def drawn(case: str, width: int, folder: Path) -> list[str]:
    """What the command writes, through a real store."""
    items = traces.execution(**CASES[case])
    if case == "incomplete":
        items = [item for item in items if item.kind != CHUNK]
    url = traces.write(folder / f"{case}{width}.db", items)
    result = run("show", "@latest", "--store", url, width=width)
    assert (result.code, result.stderr) == (0, "")
    return [line.rstrip() for line in result.stdout.splitlines()]


def test_colours_add_nothing_but_colours() -> None:
    """Without them, the same characters are there."""
    records = read_records(traces.execution(traces.pipeline()))
    decoded = connections(records)
    known = told_apart(decoded, exchanges(records), whole=True)
    view = Timeline(decoded, known, records.execution.duration_ns)
    coloured = "\n".join(rendered(view, width=80, color=True))
    assert "\x1b[" in coloured
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).split("\n")]
    assert plain == rendered(view, width=80)


def test_many_connections_are_folded() -> None:
    many = [
        traces.connection(
            number, started=number / 10, established=number / 10 + 1, closed=number / 10 + 2,
            error=111 if number == 10_000 else 0,
        )
        for number in range(1, 10_001)
    ]  # fmt: skip
    decoded = connections(read_records(traces.execution(many)))
    views = ConnectionTable(decoded, {}), Timeline(decoded, {}, 2_000 * traces.MS)
    lines = rendered(*views, width=80)
    assert len(lines) < 100
    assert sum("… and 9,960 more" in line for line in lines) == 2
    assert sum("refused" in line for line in lines) == 1


def test_phases_are_told_apart_in_ascii_too() -> None:
    records = read_records(traces.execution(**CASES["tls"]))
    decoded = connections(records)
    known = told_apart(decoded, exchanges(records), whole=True)
    bars = [bar(each, known.get(each.id), 2_000 * traces.MS, 60, ASCII) for each in decoded]
    assert [line.plain.rstrip() for line in bars] == [
        "---------|x",
        "%======######|-====##------|--",
        " %",
        "         ^^^^^^^^^^^^=========|",
        "                                 %%%%%%%%%%%%%%%%%%%%%%%%%%>",
    ]
    without = bar(decoded[1], None, 2_000 * traces.MS, 60, ASCII)
    assert without.plain.rstrip() == "%~~~~~~~~~~~~~~~~~~~~~~~~~~|--"
