"""Summaries: valid ones are read, everything else is refused in words."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.summary import read_execution
from lambdatrace.errors import CorruptItemError
from lambdatrace.model import AgentCost, DestinationFigures, Dropped, Level, Protocol, Status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_a_valid_summary() -> None:
    execution = read_execution(
        traces.summary(
            dropped={"events": 2, "gaps": 1},
            destinations=[traces.destination(host="api.internal", connect=[7, 5])],
        )
    )
    assert execution.status is Status.OK
    assert execution.level is Level.FLOWS
    assert execution.dropped == Dropped(events=2, gaps=1)
    assert execution.dropped.total == 3
    assert execution.agent == AgentCost(cpu_ns=11_400_000, peak_bytes=18_300_000)
    assert execution.destinations == (
        DestinationFigures(
            "api.internal", "10.0.0.7", 443, Protocol.TCP, 1, 0, 100, 2_000, 10_000_000,
            (5_000_000, 7_000_000),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("execution_id", 7),
        ("function", None),
        ("function", "x" * 200_000),
        ("started_ns", "now"),
        ("started_ns", 10**30),
        ("duration_ns", -1),
        ("duration_ns", True),
        ("duration_ns", 1.5),
        ("status", "fine"),
        ("status", []),
        ("cold_start", 1),
        ("level", {}),
        ("memory_mb", -1),
        ("exit_code", "0"),
        ("dropped", []),
        ("dropped", {"cats": 1}),
        ("dropped", {"events": -1}),
        ("agent", {}),
        ("agent", []),
        ("destinations", None),
        ("destinations", [7]),
        ("destinations", [[None, "10.0.0.7", 443, "tcp"]]),
        ("destinations", [traces.destination(port=65_536)]),
        ("destinations", [traces.destination(protocol="sctp")]),
    ],
)
def test_a_wrong_value_is_corrupt(name: str, value: Any) -> None:
    with pytest.raises(CorruptItemError, match=r"summary of .* is corrupt") as caught:
        read_execution(traces.summary(**{name: value}))
    assert caught.value.hint


@pytest.mark.parametrize("name", sorted(traces.summary().keys() - {"destinations_left_out"}))
def test_a_missing_value_is_corrupt(name: str) -> None:
    summary = traces.summary()
    del summary[name]
    if name in ("monotonic_ns", "chunks"):  # only `show` needs these two
        read_execution(summary)
        return
    with pytest.raises(CorruptItemError):
        read_execution(summary)


@given(st.dictionaries(st.sampled_from(sorted(traces.summary())), JSON))
def test_any_json_is_read_or_corrupt(changes: dict[str, Any]) -> None:
    with contextlib.suppress(CorruptItemError):
        read_execution({**traces.summary(), **changes})
