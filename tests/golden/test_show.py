"""`show` as a whole, line by line: header, connections, timeline, syscalls."""

# ruff: noqa: E501
from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from support_cli import rendered, run

from lambdatrace import wire
from lambdatrace.analysis.trace import connections, read_records
from lambdatrace.cli.views.connections import ConnectionTable
from lambdatrace.cli.views.timeline import Timeline
from lambdatrace.items import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

UDP = socket.IPPROTO_UDP
CASES: dict[str, dict[str, Any]] = {
    # A query, a slow answer, a refusal, a reused connection and one that hangs.
    "pipeline": {
        "connections": traces.pipeline(),
        "status": "timeout",
        "cold_start": True,
        "errors": 1,
    },
    "incomplete": {
        "connections": [traces.connection(closed=2_000)],
        "dropped": {"events": 1_200, "gaps": 1},
    },
    "empty": {"connections": []},
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
        "command": "python3 load.py --all",
        "exit_code": 3,
        "status": "error",
        "syscalls": [
            traces.syscall("connect", result=-115, duration=0.07),
            *[traces.syscall("write", result=1_000)] * 1_500,
            traces.syscall("recvfrom", result=-104, duration=12),
        ],
    },
}  # fmt: skip

EXPECTED: dict[tuple[str, int], list[str]] = {
    ("pipeline", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, timeout, cold start",
        "network    5 connections, 1 error",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
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
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
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
        "network    1 connection",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "! dropped: 1,200 connection records, 1 gap while the agent's worker was away:",
        "the figures below are too low",
        "! missing: 1 event chunk did not reach the store: connections below are missing",
        "",
        "no connections were kept",
    ],
    ("empty", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   checkout, version 7, 512 MB",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, ok",
        "network    0 connections",
        "seen by    ebpf, level flows, edges exact, from the kernel",
        "agent      11.4 ms of CPU, 18.3 MB at its peak",
        "",
        "no connections: this execution did not use the network",
    ],
    ("command", 80): [
        "execution  4f2c9a10-0000-4000-8000-000000000001",
        "function   python3",
        "command    python3 load.py --all",
        "started    2026-11-22 07:00:00.000 UTC",
        "took       2.00 s, error, exit code 3",
        "network    4 connections",
        "seen by    ebpf, level syscalls, edges: a command's life",
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
        "2 10.0.0.7:443             ▒▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓",
        "3 10.9.8.7:8125/udp           ─────────────────────────────────────",
        "4 [fd00:1234:5678:9abc:de…              ▏✗",
        "1 that ended before this execution began: not drawn",
        "░ connect  ▒ wait  █ transfer  ▓ several exchanges  ─ open, idle  ✗ failed",
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
        "seen by    ebpf, level syscalls, edges: a command's life",
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
        "2 10.0.0.7:443                           ▒▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▏",
        "3 10.9.8.7:8125/udp                          ───────────────────────────────────────────────────────",
        "4 [fd00:1234:5678:9abc:def0:1234:5678:9…                    ▏✗",
        "1 that ended before this execution began: not drawn",
        "░ connect  ▒ wait  █ transfer  ▓ several exchanges  ─ open, idle  ✗ failed",
        "",
        "syscall   calls  errors    bytes      time",
        "──────────────────────────────────────────",
        "write     1,500       0  1.50 MB   15.0 ms",
        "recvfrom      1       1      0 B   12.0 ms",
        "connect       1       0        -  0.070 ms",
    ],
}


@pytest.mark.parametrize(("case", "width"), sorted(EXPECTED))
def test_show(case: str, width: int, tmp_path: Path) -> None:
    assert drawn(case, width, tmp_path) == EXPECTED[case, width]


@pytest.mark.parametrize("case", CASES)
def test_no_column_is_cut(case: str) -> None:
    records = read_records(traces.execution(**CASES[case]))
    table = ConnectionTable(connections(records))
    for width in range(72, 200):
        lines = rendered(table, width=width)
        assert case == "empty" or lines[0].endswith("  outcome"), lines


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
    view = Timeline(connections(records), records.execution.duration_ns)
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
    lines = rendered(ConnectionTable(decoded), Timeline(decoded, 2_000 * traces.MS), width=80)
    assert len(lines) < 100
    assert sum("… and 9,960 more" in line for line in lines) == 2
    assert sum("refused" in line for line in lines) == 1
