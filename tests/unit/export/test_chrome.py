"""Chrome's Trace Event Format, by the rules of its description and those that Perfetto has.

Perfetto's own trace processor is a binary that its package fetches when it runs, and cannot be
had here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import support_exports as exports
import support_traces as traces
from support_cli import NOW_NS, run
from support_forms import assert_nested, checked

if TYPE_CHECKING:
    from pathlib import Path


def exported(tmp_path: Path, *executions: Any) -> list[dict[str, Any]]:
    """The events, checked."""
    url = exports.store(tmp_path / "store.db", *executions)
    path = tmp_path / "a.json"
    result = run("export", "--store", url, "--format", "chrome", "-o", str(path))
    assert (result.code, result.stderr) == (0, "")
    document = json.loads(path.read_text("ascii"))
    assert document.keys() == {"displayTimeUnit", "traceEvents"}
    assert document["displayTimeUnit"] in ("ms", "ns")
    return checked(document["traceEvents"])


def test_everything_is_on_its_track(tmp_path: Path) -> None:
    events = exported(tmp_path, exports.everything(1))
    tracks = {each["tid"]: each["args"]["name"] for each in events if each["name"] == "thread_name"}
    assert sorted(tracks.values()) == [
        "connection 1 10.0.0.2:53",
        "connection 2 api.partner.example:443",
        "connection 3 [2001:db8::17]:8443",
        "connection 4 10.0.0.9:8000",
        "connection 5 192.0.2.1:5432",
        "connection 6 10.0.0.7:443",
        "execution",
        "namelookups 1",
        "namelookups 2",
        "other extensions",
        "processes",
        "thread 100 of process 100 python3",
    ]
    spans = [
        (tracks[each["tid"]], each["name"], each["ts"], each["dur"])
        for each in events
        if each["ph"] == "X"
    ]
    start = (NOW_NS - 120 * 10**9) // 1_000
    partner = "connection 2 api.partner.example:443"
    for wanted in (
        ("execution", "checkout", 0, 2_000_000),
        ("execution", "wait api.partner.example:443", 90_000, 1_110_000),
        ("namelookups 1", "api.partner.example A", 3_000, 22_000),
        (partner, "api.partner.example:443", 27_000, 1_285_000),
        (partner, "connect", 27_000, 51_000),
        (partner, "send", 80_000, 2_000),
        (partner, "wait", 82_000, 1_158_000),
        (partner, "transfer", 1_240_000, 70_000),
        ("thread 100 of process 100 python3", "sendto", 4_000, 10),
    ):
        name, what, at, took = wanted
        assert (name, what, start + at, took) in spans


def test_every_kind_of_execution(tmp_path: Path) -> None:
    events = exported(tmp_path)
    names = [each["args"]["name"] for each in events if each["name"] == "process_name"]
    assert len(names) == len(exports.kinds())
    assert f"checkout {exports.kinds()['failed'][0].execution_id} crash" in names
    assert sum(each["cat"] == "syscall" for each in events) == 9 + 1


def test_nothing_is_a_file_as_well(tmp_path: Path) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    result = run("export", "--store", url, "--format", "chrome", "--function", "none")
    assert json.loads(result.stdout) == {"displayTimeUnit": "ms", "traceEvents": []}


def test_what_lies_across_is_cut_short(tmp_path: Path) -> None:
    events = exported(
        tmp_path,
        traces.execution(
            blocked=[
                traces.blocked("flock", started=0, ended=10),
                traces.blocked("openat", started=5, ended=20),
                traces.blocked("read", started=12, ended=15),
                traces.blocked("fsync", started=5, ended=30, tid=101),
            ],
            started_ns=NOW_NS - 10**9,
        ),
    )
    found = {each["name"]: each for each in events if each["cat"] == "blocked"}
    assert found["openat"]["dur"] == 5_000
    assert found["openat"]["args"]["duration_ms"] == 15.0
    assert found["fsync"]["dur"] == 25_000


def test_why_it_took_so_long_stands_with_one_that_was_named(tmp_path: Path) -> None:
    url = exports.store(tmp_path / "store.db")
    events = json.loads(run("export", "00000001", "--store", url, "--format", "chrome").stdout)
    told = [each["args"]["verdict"] for each in events["traceEvents"] if "verdict" in each["args"]]
    assert len(told) == 1
    assert "went into waiting for api.partner.example:443" in told[0]


@pytest.mark.parametrize(
    "spans", [[(0, 10), (5, 15)], [(0, 10), (0, 5), (4, 6)]], ids=["across", "within"]
)
def test_the_check_finds_what_is_not_nested(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(AssertionError):
        assert_nested(spans)
