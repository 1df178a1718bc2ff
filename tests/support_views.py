"""Executions that between them have all that views over many show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import support_traces as traces

from lambdatrace.analysis.summary import read_execution
from lambdatrace.model import Part

if TYPE_CHECKING:
    from lambdatrace.model import Execution

MS = traces.MS
HOSTILE = "\x1b[31m[red]evil\u202e\u200b.example"
CJK = "データ取得.例え.テスト"


def partition(**parts: float) -> list[int | None]:
    """ms of some parts; stealing is not known."""
    return [None if part == "steal" else round(parts.get(part, 0) * MS) for part in Part]


def execution(name: str, **changes: Any) -> Execution:
    """One execution."""
    return read_execution(traces.summary(name, **changes))


USUAL = [
    execution(
        "4f2c9a10-0000-4000-8000-000000000001", connections=5, duration_ns=900 * MS,
        partition=partition(wait=640, cpu=200, connect=60),
        shares=[["wait", "api.partner.example:443", 600 * MS], ["wait", "10.0.0.9:8000", 40 * MS]],
        destinations=[
            traces.destination(host="api.partner.example", time=660, connect=[3, 51], wait=[600],
                               tls=[31], dns=[2], connections=2),
            traces.destination("10.0.0.9", 8000, bytes_in=48_210_000_000, time=40, reused=1,
                               connect=[], wait=[12, 28]),
        ],
    ),
    execution(
        "4f2c9a10-5555-4000-8000-000000000002", status="timeout", cold_start=True, errors=3,
        connections=12, duration_ns=3_000 * MS, started_ns=traces.STARTED_NS - 60_000 * MS,
        partition=partition(connect=2_900, cpu=100),
        shares=[["connect", "[2001:db8::17]:8443", 2_900 * MS]],
        destinations=[
            traces.destination("2001:db8::17", 8443, connections=3, errors=3, connect=[],
                               time=2_900),
            traces.destination("10.0.0.2", 53, protocol="udp", connect=[], wait=[22], time=22),
        ],
    ),
    execution(
        "b7000000-0000-4000-8000-000000000003", function="a-function-with-quite-a-long-name",
        status="unfinished", dropped={"events": 13}, duration_ns=890_000 * MS, connections=10_000,
        started_ns=traces.STARTED_NS - 90_000 * MS, partition=partition(sleep=890_000),
        shares=[["sleep", "clock_nanosleep", 890_000 * MS]],
    ),
    execution(
        "short", duration_ns=450_000, started_ns=traces.STARTED_NS - 90_000_000 * MS,
        partition=None,
    ),
]  # fmt: skip
STRANGE = [
    execution(
        "データ取得-0001", function="データ取得", connections=1, partition=partition(wait=2_000),
        shares=[["wait", f"{CJK}:443", 2_000 * MS]],
        destinations=[traces.destination(host=CJK, time=2_000, wait=[2_000])],
    ),
    execution(
        f"{HOSTILE}-2", function=HOSTILE, status="crash", errors=1, connections=1,
        partition=partition(wait=1_000, cpu=1_000),
        shares=[["wait", f"{HOSTILE}:443", 1_000 * MS]],
        destinations=[traces.destination(host=HOSTILE, time=1_000, wait=[1_000])],
    ),
]  # fmt: skip
CASES = {"usual": USUAL, "one": USUAL[:1], "strange": STRANGE}
