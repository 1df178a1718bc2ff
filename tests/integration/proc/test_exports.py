"""Executions that were only looked at, in every form they are exported in: null where not known."""

from __future__ import annotations

import csv
import json
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
import support_looks as looks
from support_agent import Echo, Gate, invoke, invoking, ok, trace, unanswering
from support_confined import confined_function
from support_probe import lambdatrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD_S = 0.5
UNKNOWN_IN_HAR = -1


class Recorded:
    """Real executions by `proc`, and where they are stored."""

    def __init__(self, store: str, folder: Path, kept: int, gone: int, asked: int) -> None:
        self.store = store
        self.folder = folder
        self.kept, self.gone, self.asked = kept, gone, asked  # ports

    def exported(self, form: str) -> Path:
        """All of them in a file."""
        file = self.folder / f"all.{form}"
        done = lambdatrace("export", "--store", self.store, "--format", form, "-o", file)
        assert (done.returncode, done.stderr) == (0, "")
        return file


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    """A connection that stays open, one that is gone at a look, one never taken, and none."""
    with (
        confined_function("") as function,
        Echo() as echo,
        unanswering() as port,
        Gate() as gate,
        tempfile.TemporaryDirectory() as folder,
    ):
        kept = echo.port()
        with function.emulator(timeout_s=3, memory_mb=1769) as emulator:
            ok(emulator, {"what": "use_kept", "port": kept, "send": 100})
            steps = {"what": "wait_for", "port": gate.port}, {"what": "sleep", "seconds": HELD_S}
            with invoking(emulator, *steps) as answers:
                gate.reached()
                time.sleep(HELD_S)
                gate.open()
            invoke(emulator, {"what": "connect", "port": port})
            last = ok(emulator, {"what": "sleep", "seconds": 0})
        assert answers[0].error is None
        assert trace(function, last).execution.backend == "proc"
        yield Recorded(function.store, Path(folder), kept, gate.port, port)


def checked(rows: list[dict[str, Any]], recorded: Recorded) -> None:
    """Rows of a table, or lines, of all four executions."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["record"], []).append(row)
    executions, connections = by_kind["execution"], by_kind["connection"]
    assert by_kind.keys() - {"header", "end", "item"} == {"execution", "connection"}
    wrong = [each for row in executions for each in looks.of_execution(row)]
    wrong += [each for row in connections for each in looks.of_connection(row)]
    assert not wrong
    executions.sort(key=lambda row: str(row["started_at"]))
    assert [row["status"] for row in executions] == ["ok", "ok", "timeout", "ok"]
    assert executions[-1]["connection_count"] is None
    outcomes = {row["port"]: row["outcome"] for row in connections}
    assert outcomes[recorded.gone] == "gone"
    assert outcomes[recorded.asked] == "connecting"
    assert recorded.kept in outcomes


def test_json_lines(recorded: Recorded) -> None:
    rows = list(map(json.loads, recorded.exported("jsonl").read_text().splitlines()))
    checked(rows, recorded)
    for row in rows:
        if row["record"] == "execution" and row["partition"] is not None:
            parts = {name.removesuffix("_ms"): ms for name, ms in row["partition"].items()}
            assert not list(looks.of_parts(parts))


def test_parquet(recorded: Recorded) -> None:
    rows = pyarrow.parquet.read_table(recorded.exported("parquet")).to_pylist()
    for row in rows:
        if row["record"] == "execution":
            row["unavailable"] = json.loads(row["unavailable"])
    checked(with_parts(rows), recorded)


def test_csv(recorded: Recorded) -> None:
    read: dict[str, Callable[[str], Any]] = {
        "unavailable": json.loads,
        "capture": str.split,
        "sampled": lambda text: text == "true",
    }
    numbers = {"port", "error_count", "connection_count", "bytes_out", "bytes_in", "retransmits"}
    with recorded.exported("csv").open(newline="") as file:
        rows = [
            {
                name: None if text == "" else read.get(name, int if name in numbers else str)(text)
                for name, text in row.items()
            }
            for row in csv.DictReader(file)
        ]
    checked(with_parts(rows), recorded)


def with_parts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the columns of parts where all of them are unknown: it came too late."""
    for row in rows:
        parts = [name for name in row if name.startswith("partition_")]
        assert parts
        if all(row[name] is None for name in parts):
            for name in parts:
                del row[name]
    assert any(row.get("partition_cpu_ms") is not None for row in rows)
    return rows


def test_html(recorded: Recorded) -> None:
    text = recorded.exported("html").read_text()
    assert "did not use the network" not in text
    assert "no connections were seen" in text
    assert "unavailable: dns, connect, tls, wait, transfer, file, sleep, lock" in text
    shown = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert re.search(r"\bgone\b", shown)


def test_chrome(recorded: Recorded) -> None:
    events = json.loads(recorded.exported("chrome").read_text())["traceEvents"]
    spans = [each for each in events if each["ph"] == "X"]
    kinds = {each["cat"] for each in spans}
    assert {"execution", "connection"} <= kinds <= {"execution", "connection", "connect", "wait"}
    for span in spans:
        if span["cat"] == "connection":
            row = dict.fromkeys(looks.UNSEEN_OF_CONNECTIONS + looks.OF_GONE) | span["args"]
            assert not list(looks.of_connection(row))
        elif span["cat"] == "execution":
            assert not {"error_count"} & span["args"].keys()
            assert span["args"].get("connection_count") != 0


def test_otlp(recorded: Recorded) -> None:
    lines = json.loads(recorded.exported("otlp").read_text())
    spans = [
        (span, {each["key"]: each["value"] for each in span["attributes"]})
        for resource in lines["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    connections = [(span, facts) for span, facts in spans if "lambdatrace.outcome" in facts]
    assert len(connections) >= 3
    for span, facts in connections:
        assert facts["lambdatrace.sampled"] == {"boolValue": True}
        unseen = {"stale", "requests"}
        assert not {f"lambdatrace.{name}" for name in unseen} & facts.keys()
        assert not {"thread.id", "tls.established"} & facts.keys()
        outcome = facts["lambdatrace.outcome"]["stringValue"]
        assert bool(span["status"]) == (outcome == "connecting")
        if outcome == "gone":
            counts = [facts.get(f"lambdatrace.{name}") for name in looks.OF_GONE]
            assert {"intValue": "0"} not in counts
    for _, facts in spans:
        if "faas.invocation_id" in facts:
            told = {name.removeprefix("lambdatrace.partition.") for name in facts}
            assert not told & {f"{part}_ms" for part in looks.UNSEEN_PARTS}


def test_har(recorded: Recorded) -> None:
    log = json.loads(recorded.exported("har").read_text())["log"]
    assert len(log["pages"]) == 4
    urls = [(each, each["request"]["url"]) for each in log["entries"]]
    entries = {int(url.strip("/").rpartition(":")[2]): each for each, url in urls}
    for entry in log["entries"]:
        timings = entry["timings"]
        for name in ("blocked", "dns", "ssl", "send", "receive"):
            assert timings[name] == UNKNOWN_IN_HAR
    gone, asked = entries[recorded.gone], entries[recorded.asked]
    assert gone["response"]["statusText"] == "gone"
    assert gone["time"] == UNKNOWN_IN_HAR
    assert gone["timings"]["wait"] == UNKNOWN_IN_HAR
    assert {gone[side]["_transferSize"] for side in ("request", "response")} == {UNKNOWN_IN_HAR}
    assert asked["timings"]["connect"] == asked["time"] > 0
