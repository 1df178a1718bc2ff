"""`list` as a whole, line by line."""

# ruff: noqa: E501
from __future__ import annotations

import pytest
import support_traces as traces
from support_cli import rendered

from lambdatrace.analysis.summary import read_execution
from lambdatrace.cli.views.executions import ExecutionTable

IDS = [
    "4f2c9a10-0000-4000-8000-000000000001",
    "4f2c9a10-5555-4000-8000-000000000002",
    "b7000000-0000-4000-8000-000000000003",
    "short",
]
EXECUTIONS = [
    read_execution(summary)
    for summary in (
        traces.summary(IDS[0], connections=5),
        traces.summary(IDS[1], status="timeout", cold_start=True, connections=12, errors=3),
        traces.summary(
            IDS[2], function="a-function-with-quite-a-long-name", status="unfinished",
            dropped={"events": 13}, duration_ns=890_000_000_000, connections=10_000,
        ),
        traces.summary(IDS[3], function="データ取得", duration_ns=450_000),
    )
]  # fmt: skip

EXPECTED: dict[tuple[str, int], list[str]] = {
    ("all", 80): [
        "execution   function     started UTC         took  status       conns  err  drop",
        "────────────────────────────────────────────────────────────────────────────────",
        "4f2c9a10-0  checkout     11-22 07:00       2.00 s  ok               5    0     0",
        "4f2c9a10-5  checkout     11-22 07:00       2.00 s  timeout         12    3     0",
        "b7000000-0  a-function-  11-22 07:00  14 min 50 s  unfinished  10,000    0    13",
        "            with-quite-",
        "            a-long-name",
        "short       データ取得   11-22 07:00      0.45 ms  ok               0    0     0",
    ],
    ("all", 120): [
        "execution                             function          started UTC            took  status       conns  errors  dropped",
        "────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────",
        "4f2c9a10-0000-4000-8000-000000000001  checkout          11-22 07:00:00       2.00 s  ok               5       0        0",
        "4f2c9a10-5555-4000-8000-000000000002  checkout          11-22 07:00:00       2.00 s  timeout         12       3        0",
        "b7000000-0000-4000-8000-000000000003  a-function-with-  11-22 07:00:00  14 min 50 s  unfinished  10,000       0       13",
        "                                      quite-a-long-nam",
        "                                      e",
        "short                                 データ取得        11-22 07:00:00      0.45 ms  ok               0       0        0",
    ],
    ("one", 80): [
        "execution  function  started UTC    took  status  conns  err",
        "────────────────────────────────────────────────────────────",
        "4f2c9a10   checkout  11-22 07:00  2.00 s  ok          5    0",
    ],
}


@pytest.mark.parametrize(("case", "width"), sorted(EXPECTED))
def test_list(case: str, width: int) -> None:
    assert drawn(case, width) == EXPECTED[case, width]


def drawn(case: str, width: int) -> list[str]:
    """The table of one case."""
    shown = EXECUTIONS if case == "all" else EXECUTIONS[:1]
    return rendered(ExecutionTable(shown, IDS if case == "all" else IDS[2:]), width=width)


def test_no_column_is_cut() -> None:
    for width in range(80, 200):
        header = rendered(ExecutionTable(EXECUTIONS, IDS), width=width)[0]
        assert header.endswith(("  drop", "  dropped")), header
