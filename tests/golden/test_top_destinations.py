"""`top-destinations` as a whole, line by line."""

# ruff: noqa: E501
from __future__ import annotations

import pytest
import support_traces as traces
from support_cli import rendered

from lambdatrace.analysis.destinations import destination_rows
from lambdatrace.analysis.summary import read_execution
from lambdatrace.cli.views.destinations import DestinationTable

EXECUTIONS = [
    read_execution(traces.summary(destinations=[*destinations]))
    for destinations in (
        [
            traces.destination(host="partner.example.com", time=1_250, connect=[3, 51]),
            traces.destination("2001:db8::17", 8443, connections=3, errors=3, connect=[], time=4),
        ],
        [
            traces.destination("10.0.0.8", host="partner.example.com", time=90, connect=[4]),
            traces.destination("10.0.0.2", 53, protocol="udp", connect=[], time=22),
            traces.destination("10.0.0.9", 8000, bytes_in=48_210_000_000, time=400_000),
        ],
    )
]

EXPECTED: dict[int, list[str]] = {
    80: [
        "destination              execs  conns  errors  conn. p95      p99        time",
        "─────────────────────────────────────────────────────────────────────────────",
        "10.0.0.9:8000                1      1       0    5.00 ms  5.00 ms  6 min 40 s",
        "partner.example.com:443      2      2       0    51.0 ms  51.0 ms      1.34 s",
        "10.0.0.2:53/udp              1      1       0          -        -     22.0 ms",
        "[2001:db8::17]:8443          1      3       3          -        -     4.00 ms",
    ],
    120: [
        "destination              executions  conns  errors    out       in  connect p50      p95      p99        time",
        "─────────────────────────────────────────────────────────────────────────────────────────────────────────────",
        "10.0.0.9:8000                     1      1       0  100 B  48.2 GB      5.00 ms  5.00 ms  5.00 ms  6 min 40 s",
        "partner.example.com:443           2      2       0  200 B  4.00 kB      4.00 ms  51.0 ms  51.0 ms      1.34 s",
        "10.0.0.2:53/udp                   1      1       0  100 B  2.00 kB            -        -        -     22.0 ms",
        "[2001:db8::17]:8443               1      3       3  100 B  2.00 kB            -        -        -     4.00 ms",
    ],
}


@pytest.mark.parametrize("width", sorted(EXPECTED))
def test_top_destinations(width: int) -> None:
    assert drawn(width) == EXPECTED[width]


def drawn(width: int) -> list[str]:
    """The table."""
    return rendered(DestinationTable(destination_rows(EXECUTIONS)), width=width)


def test_no_column_is_cut() -> None:
    for width in range(80, 200):
        assert drawn(width)[0].endswith("  time")
