"""lambdatrace.open_store: executions for programs and notebooks."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import support_exports as exports
import support_traces as traces
from support_cli import NOW_NS, run

import lambdatrace
from lambdatrace.api import Traces
from lambdatrace.errors import NotFoundError, StoreError, UsageError
from lambdatrace.export.columns import columns
from lambdatrace.model import Status

ROOT = Path(lambdatrace.__file__).parents[1]
NOW = datetime.fromtimestamp(NOW_NS // 10**9, UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return exports.store(tmp_path / "store.db")


@pytest.fixture
def opened(url: str) -> Traces:
    return Traces(lambdatrace.open_store(url).store, lambda: NOW_NS)


def test_importing_it_loads_nothing_else() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import lambdatrace; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert [name for name in done.stdout.split() if name.startswith("lambdatrace")] == [
        "lambdatrace"
    ]
    with pytest.raises(AttributeError, match="nothing_like_it"):
        lambdatrace.nothing_like_it  # noqa: B018


def test_a_window(opened: Traces) -> None:
    found = opened.executions()
    assert len(found) == len(exports.kinds())
    assert found[0].started_at_ns > found[-1].started_at_ns
    assert [one.status for one in found[6:8]] == [Status.CRASH, Status.OK]
    for since in ("3m", timedelta(minutes=3), NOW - timedelta(minutes=3), "2026-11-22T07:57:00Z"):
        assert len(opened.executions(since)) == 3, since
    assert len(opened.executions("3m", NOW - timedelta(seconds=90))) == 2
    assert not opened.executions(function="none")
    assert found.unreadable == []


def test_moments_that_are_none(opened: Traces) -> None:
    for since in ("yesterday", datetime(2026, 1, 1)):
        with pytest.raises(UsageError):
            opened.executions(since)


def test_executions_as_a_frame(opened: Traces) -> None:
    frame = opened.executions().to_frame()
    assert list(frame) == ["execution_id", *list(columns("execution"))[2:]]
    assert str(frame["started_at"].dtype).endswith("UTC]")
    assert frame["started_at"].iloc[0] == pd.Timestamp(NOW_NS - 60 * 10**9, tz="UTC")
    assert frame["duration_ms"].sum() == 2_000.0 * len(frame)
    assert frame.loc[frame["status"] == "crash", "ending_signal"].tolist() == ["SIGKILL"]
    assert list(opened.executions(function="none").to_frame()) == list(frame)


def test_one_execution(opened: Traces, url: str) -> None:
    one = opened.execution("00000001")
    assert one.execution.xray is None
    assert len(one.trace.connections) == 6
    shown = run("show", "00000001", "--store", url, "-o", "json").stdout
    assert one.verdict.text in shown
    frame = one.to_frame()
    assert list(frame) == list(columns("connection"))[2:]
    assert frame["port"].tolist() == [each.port for each in one.trace.connections]
    assert one.to_frame("exchange")["wait_ms"].max() == 1158.0
    assert one.to_frame("syscall")["op"].tolist() == ["sendto"]
    with pytest.raises(UsageError):
        one.to_frame("something")
    with pytest.raises(NotFoundError):
        opened.execution("nothing like it")
    with pytest.raises(UsageError):
        opened.execution("0000")


def test_a_file(tmp_path: Path, url: str) -> None:
    file = tmp_path / "a.jsonl"
    assert run("export", "--store", url, "-o", str(file)).code == 0
    with lambdatrace.open_store(str(file)) as found:
        assert len(found.executions()) == len(exports.kinds())
        assert found.execution("@slowest").execution.function == "checkout"
    with pytest.raises(StoreError):
        lambdatrace.open_store(str(tmp_path / "none.jsonl"))
    with pytest.raises(UsageError):
        lambdatrace.open_store("http://x")


def test_the_store_of_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDATRACE_STORE", url)
    with lambdatrace.open_store() as found:
        assert len(found.executions("2026-11-22T00:00:00Z")) == len(exports.kinds())


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        # Of what is drawn: places and colours.
        assert {name for name, _ in attributes} <= {
            "x",
            "width",
            "height",
            "fill",
            "stroke",
            "role",
        }
        self.found.add(tag)


@pytest.mark.parametrize("name", exports.HOSTILE.values(), ids=exports.HOSTILE.keys())
def test_notebooks_show_names_as_text(tmp_path: Path, name: str) -> None:
    url = exports.store(tmp_path / "s.db", exports.everything(1, name, function=name))
    found = Traces(lambdatrace.open_store(url).store, lambda: NOW_NS)
    parser = _Elements()
    executions, one = found.executions(), found.execution("@latest")
    text = executions._repr_html_() + one._repr_html_()
    parser.feed(text)
    assert parser.found == {
        "table", "thead", "tbody", "tr", "th", "td", "div", "p", "b", "bdi", "svg", "rect", "title"
    }  # fmt: skip
    assert text.replace("\n", "").isprintable()
    assert (repr(executions) + repr(one)).isprintable()


def test_it_is_typed_and_described() -> None:
    assert (ROOT / "lambdatrace/py.typed").exists()
    page = (ROOT / "docs/api.md").read_text()
    for name in ("open_store", ".executions(", ".execution(", ".to_frame(", ".verdict", ".trace"):
        assert name in page


def test_retries_are_each_read_from_their_own_items(tmp_path: Path) -> None:
    first = traces.execution(traces.pipeline(), started_ns=NOW_NS - 10**9)
    second = traces.execution(started_ns=NOW_NS - 10**8)
    url = exports.store(tmp_path / "s.db", first, second)
    found = Traces(lambdatrace.open_store(url).store, lambda: NOW_NS)
    assert len(found.execution("4f2c9a10-0000-4000-8000-000000000001").trace.connections) == 0
    stored = found.stored("4f2c9a10-0000-4000-8000-000000000001", NOW_NS - 10**9)
    assert len(stored.trace.connections) == 5
