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
from lambdatrace.model import (
    AgentCost,
    CpuTime,
    DestinationFigures,
    Dropped,
    Ending,
    Level,
    Part,
    Protocol,
    Share,
    Status,
)

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


def test_what_the_agent_tells_of_itself_and_of_its_policy() -> None:
    told = {
        "cpu_ns": 1, "peak_bytes": 2, "after_ns": 3, "sent_bytes": 4, "write_units": 5,
        "flushes": 6, "retries": 7, "spooled": 8, "drained": 9,
    }  # fmt: skip
    execution = read_execution(
        traces.summary(agent=told, kept=False, keep="1/10", dropped={"executions": 2, "items": 4})
    )
    assert execution.agent == AgentCost(**told)
    assert (execution.kept, execution.keep) == (False, "1/10")
    # What got lost before it takes nothing from this one.
    assert execution.dropped.total == 6
    assert execution.dropped.is_whole
    assert not Dropped(items=1, gaps=1).is_whole


def test_an_older_agent_kept_everything_and_told_less() -> None:
    execution = read_execution(traces.summary())
    assert (execution.kept, execution.keep) == (True, "all")
    assert execution.agent == AgentCost(11_400_000, 18_300_000, *[None] * 7)


def test_what_the_machine_and_the_process_did() -> None:
    execution = read_execution(
        traces.summary(
            cpu=[4, 3, 2, 1], steal_ns=10_000_000, major_faults=7, ending=[0, 9, 1],
            folded={"exchanges": 12}, capture=["dns", "cpu", "processes"],
            unavailable={"blocked": "no sched_switch"}, unseen=["io_uring"],
        )
    )  # fmt: skip
    assert execution.cpu == CpuTime(cpu_ns=4, cpu_wall_ns=3, runqueue_ns=2, runqueue_wall_ns=1)
    assert (execution.steal_ns, execution.major_faults) == (10_000_000, 7)
    assert execution.ending == Ending(exit_code=None, signal="SIGKILL", out_of_memory=True)
    assert execution.folded == {"exchanges": 12}
    assert execution.capture == ("dns", "cpu", "processes")
    assert execution.unavailable == {"blocked": "no sched_switch"}
    assert execution.unseen == ("io_uring",)


def test_where_the_time_went() -> None:
    parts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, None, 11]
    shares = [["wait", "api.example:443", 3], ["file", "/tmp/x", 2]]
    execution = read_execution(traces.summary(partition=parts, shares=shares))
    assert execution.partition is not None
    assert [execution.partition.of(part) for part in Part] == parts
    assert execution.shares == (
        Share(Part.WAIT, "api.example:443", 3),
        Share(Part.FILE, "/tmp/x", 2),
    )
    older = read_execution(traces.summary())
    assert (older.partition, older.shares) == (None, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": [1] * 11},
        {"partition": [-1] * 12},
        {"partition": {}},
        {"shares": [["wait", "x"]]},
        {"shares": [["nothing", "x", 1]]},
        {"shares": [["wait", 1, 1]]},
    ],
)
def test_a_corrupt_partition_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptItemError):
        read_execution(traces.summary(**changes))


def test_what_is_not_known_is_none() -> None:
    execution = read_execution(
        traces.summary(cpu=None, steal_ns=None, major_faults=None, ending=None)
    )
    assert execution.cpu is None
    assert (execution.steal_ns, execution.major_faults) == (None, None)
    assert execution.ending is None


def test_without_its_group_the_signal_behind_an_ending_is_not_known() -> None:
    execution = read_execution(traces.summary(ending=[0, 0, 0], capture=["cpu"]))
    assert execution.ending is None


def test_only_who_failed_in_init_says_so() -> None:
    assert not read_execution(traces.summary()).in_init
    assert read_execution(traces.summary(in_init=True)).in_init
    with pytest.raises(CorruptItemError):
        read_execution(traces.summary(in_init=1))


def test_an_exit_code_is_one_only_without_a_signal() -> None:
    assert read_execution(traces.summary(ending=[3, 0, 0])).ending == Ending(3, None, False)
    assert read_execution(traces.summary(ending=[0, 0, 0])).ending == Ending(0, None, False)
    assert read_execution(traces.summary(ending=[3, 11, 0])).ending == Ending(
        None, "SIGSEGV", False
    )


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
        ("folded", []),
        ("folded", None),
        ("folded", {"blocked": -1}),
        ("folded", {"blocked": "12"}),
        ("capture", "dns"),
        ("capture", [1]),
        ("capture", {}),
        ("unavailable", ["cpu"]),
        ("unavailable", {"cpu": None}),
        ("unavailable", {"cpu": "x" * 200_000}),
        ("unseen", None),
        ("unseen", [[]]),
        ("cpu", 5),
        ("cpu", []),
        ("cpu", [1, 2, 3]),
        ("cpu", [1, 2, 3, 4, 5]),
        ("cpu", [1, 2, 3, -4]),
        ("cpu", [1, 2, 3, True]),
        ("cpu", {"cpu": 1}),
        ("steal_ns", -1),
        ("steal_ns", 1.5),
        ("major_faults", "few"),
        ("major_faults", 2**61),
        ("ending", [0]),
        ("ending", [0, 0, 0, 0]),
        ("ending", [None, 9, 0]),
        ("ending", [-1, 0, 0]),
        ("ending", "SIGKILL"),
        ("agent", {}),
        ("agent", []),
        ("agent", {"cpu_ns": 1, "peak_bytes": 2, "spooled": -1}),
        ("agent", {"cpu_ns": 1, "peak_bytes": 2, "after_ns": None}),
        ("kept", None),
        ("kept", 1),
        ("keep", None),
        ("keep", 5),
        ("dropped", {"executions": -1}),
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
