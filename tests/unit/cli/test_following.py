"""`tail` and `list --follow`: what is new, when the store is away, and how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import support_traces as traces
from support_cli import NOW_NS, Result, run

from lambdatrace.errors import StoreError
from lambdatrace.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from lambdatrace.items import Item

S = 1_000_000_000


def execution(name: str, age_s: float, **changes: Any) -> list[Item]:
    started = NOW_NS - round(age_s * S)
    return traces.execution(execution_id=name, started_ns=started, **changes)


def followed(
    url: str, *arguments: str, steps: list[Callable[[], object]]
) -> tuple[Result, list[float]]:
    """Run until each step has been taken, one at each pause; then Ctrl-C. (result, pauses)."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > len(steps):
            raise KeyboardInterrupt
        steps[len(pauses) - 1]()

    return run(*arguments, "--store", url, sleep=sleep), pauses


def ids(result: Result) -> list[str]:
    return [json.loads(line)["execution_id"] for line in result.stdout.splitlines()]


def test_new_executions_come_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = traces.write(
        path, execution("old", 90), execution("older", 100), execution("oldest", 110)
    )
    result, pauses = followed(
        url, "tail", "-o", "jsonl", "--lines", "2",
        steps=[
            lambda: traces.write(path, execution("b", 5), execution("a", 6)),
            lambda: None,
            lambda: traces.write(path, execution("late", 100)),
        ],
    )  # fmt: skip
    assert ids(result) == ["older", "old", "a", "b", "late"]
    assert (result.code, result.stderr) == (130, "")
    assert pauses == [1.0] * 4


def test_it_begins_with_the_latest_of_the_day(tmp_path: Path) -> None:
    rows = (execution(f"h{hours}", hours * 3_600) for hours in (1, 2, 3, 30))
    url = traces.write(tmp_path / "store.db", *rows, execution("now", 1))
    nothing: list[Callable[[], object]] = [lambda: None] * 40
    result, _ = followed(url, "tail", "-o", "jsonl", "-n", "3", steps=nothing)
    assert ids(result) == ["h2", "h1", "now"]
    result, _ = followed(url, "tail", "-o", "jsonl", "-n", "9", steps=[])
    assert ids(result) == ["h3", "h2", "h1", "now"]


def test_what_began_long_ago_comes_as_well(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = traces.write(path, execution("now", 1))
    write: list[Callable[[], object]] = [lambda: traces.write(path, execution("long", 900))]
    result, _ = followed(url, "tail", "-o", "jsonl", steps=write + [lambda: None] * 29)
    assert ids(result) == ["now", "long"]


def test_a_filter_a_function_and_the_options_of_list(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = traces.write(
        path, execution("a", 3), execution("b", 2, status="error"),
        execution("c", 1, status="error", function="other"),
    )  # fmt: skip
    result, _ = followed(url, "tail", "-o", "jsonl", "--filter", "status=error", steps=[])
    assert ids(result) == ["b", "c"]
    arguments = ("list", "--follow", "-o", "jsonl", "--errors", "--function", "other")
    assert ids(followed(url, *arguments, steps=[])[0]) == ["c"]
    assert ids(followed(url, "list", "--follow", "-o", "jsonl", "-n", "1", steps=[])[0]) == ["c"]
    assert ids(followed(url, "tail", "-o", "jsonl", "-n", "0", steps=[])[0]) == []


def test_a_store_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    url = traces.write(path, execution("before", 9))
    real = SqliteStore.index
    away = False

    def index(self: SqliteStore, since_ns: int, until_ns: int) -> Iterator[Item]:
        if away:
            raise StoreError("it is away")
        return real(self, since_ns, until_ns)

    def leave() -> None:
        nonlocal away
        away = True

    def come_back() -> None:
        nonlocal away
        away = False
        traces.write(path, execution("after", 1))

    monkeypatch.setattr(SqliteStore, "index", index)
    nothing: Callable[[], object] = lambda: None  # noqa: E731
    result, pauses = followed(
        url, "tail", "-o", "jsonl", steps=[leave, *[nothing] * 7, come_back, nothing]
    )
    assert ids(result) == ["before", "after"]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 1, 1]
    lines = result.stderr.splitlines()
    assert lines[0] == "warning: it is away; trying again in 2 s"
    assert lines[-1] == "note: the store can be read again"
    assert result.code == 130


def test_a_store_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    result, pauses = followed(f"sqlite://{tmp_path}/none.db", "tail", steps=[])
    assert (result.code, pauses) == (1, [])
    assert "there is no store" in result.stderr


def test_a_row_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    bad = execution("bad", 2)
    for item in bad:
        item.body = b"{"
    url = traces.write(tmp_path / "store.db", bad, execution("good", 1))
    nothing: list[Callable[[], object]] = [lambda: None] * 3
    result, _ = followed(url, "tail", "-o", "jsonl", steps=nothing)
    assert ids(result) == ["good"]
    assert result.stderr.count("warning: ") == 1


def test_forms(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = traces.write(path, execution("one", 2))
    steps: list[Callable[[], object]] = [lambda: traces.write(path, execution("two", 1))]
    lines = followed(url, "tail", "-o", "csv", steps=steps)[0].stdout.splitlines()
    assert [line.split(",")[1] for line in lines] == ["execution_id", "one", "two"]
    lines = followed(url, "tail", steps=[])[0].stdout.splitlines()
    assert lines[0].split()[:3] == ["start", "UTC", "execution"]
    assert lines[1].split()[:2] == ["07:59:58", "one"]
    result, _ = followed(url, "tail", "-o", "json", steps=[])
    assert (result.code, "no end" in result.stderr) == (2, True)
    result, _ = followed(url, "list", "--follow", "--slowest", steps=[])
    assert result.code == 2


def test_ctrl_c(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(started_ns=time.time_ns()))
    main = [sys.executable, "-c", "from lambdatrace.cli.main import main; main()"]
    with subprocess.Popen(
        [*main, "tail", "--store", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"start UTC" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read() == b""


def test_a_narrow_terminal_shows_how_long_it_took(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", execution("4f2c9a10-1", 9, status="timeout"))

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    for width in (40, 50, 60, 70):
        result = run("tail", "--store", url, sleep=sleep, width=width)
        head, row = (line.split() for line in result.stdout.splitlines())
        assert head[-4:-1] == ["function", "took", "status"], width
        assert row[-5:-1] == ["checkout", "2.00", "s", "timeout"], width
