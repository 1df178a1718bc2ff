"""`lambdatrace invoke`: what is typed, and how answers are shown; the emulator is a stand-in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import pytest
import support_traces as traces
from support_cli import run

import lambdatrace.emulator
from lambdatrace.emulator import Invocation
from lambdatrace.errors import EmulatorError

if TYPE_CHECKING:
    from pathlib import Path

OK = Invocation("id-1", 200, b'{"stored": 40}', 12.34, None)
FAILED = Invocation("id-2", 200, b"Task timed out after 3.00 seconds", 3_000.0, "Task timed out")
ENVIRON = {"HOME": "/home/me", "PATH": "/bin"}


class StandIn:
    """Answers with what it was given, and remembers what it was asked."""

    answers: list[Invocation]
    started: list[dict[str, Any]]
    events: list[bytes]

    def __init__(self, handler: str, task_root: Path, **options: Any) -> None:
        self.started.append({"handler": handler, "task_root": task_root, **options})

    def __enter__(self) -> Self:
        self.started[-1]["log"]("platform", "START")
        self.started[-1]["log"]("function", "a\xa0line \x1b[31m")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def invoke(self, event: bytes) -> Invocation:
        self.events.append(event)
        return self.answers[len(self.events) - 1]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    class Fresh(StandIn):
        answers = [OK, OK, FAILED]  # noqa: RUF012
        started = []  # noqa: RUF012
        events = []  # noqa: RUF012

    monkeypatch.setattr(lambdatrace.emulator, "Emulator", Fresh)
    return Fresh


def test_the_event_is_handed_over_as_often_as_asked(emulator: type[StandIn]) -> None:
    result = run("invoke", "app.handler", "--event", '{"a": 1}', "--repeat", "2", environ=ENVIRON)
    assert result.code == 0
    assert emulator.events == [b'{"a": 1}'] * 2


def test_an_event_from_a_file(emulator: type[StandIn], tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"from": "file"}')
    run("invoke", "app.handler", "--event", f"@{tmp_path}/event.json", environ=ENVIRON)
    assert emulator.events == [b'{"from": "file"}']


def test_the_agent_is_told_level_and_store(emulator: type[StandIn], tmp_path: Path) -> None:
    options = ("--level", "syscalls", "--timeout", "7", "--memory", "512", "--name", "orders")
    options += ("--capture", "dns,cpu", "--threshold", "20")
    run("invoke", "app.handler", "--folder", str(tmp_path), *options, environ=ENVIRON)
    (started,) = emulator.started
    assert (started["timeout_s"], started["memory_mb"]) == (7, 512)
    told = started["environ"]
    assert told["LAMBDATRACE_LEVEL"] == "syscalls"
    assert told["LAMBDATRACE_CAPTURE"] == "dns,cpu"
    assert told["LAMBDATRACE_THRESHOLD_MS"] == "20"
    assert told["LAMBDATRACE_STORE"].startswith("sqlite:///home/me/")
    assert told["AWS_LAMBDA_FUNCTION_NAME"] == "orders"
    assert told["PATH"] == "/bin"


def test_what_is_recorded_may_come_from_the_environment(
    emulator: type[StandIn], tmp_path: Path
) -> None:
    environ = {**ENVIRON, "LAMBDATRACE_CAPTURE": "none", "LAMBDATRACE_THRESHOLD_MS": "3"}
    run("invoke", "app.handler", "--folder", str(tmp_path), environ=environ)
    told = emulator.started[0]["environ"]
    assert (told["LAMBDATRACE_CAPTURE"], told["LAMBDATRACE_THRESHOLD_MS"]) == ("none", "3")


def test_the_function_is_named_after_its_folder(emulator: type[StandIn], tmp_path: Path) -> None:
    run("invoke", "app.handler", "--folder", str(tmp_path), environ=ENVIRON)
    assert emulator.started[0]["environ"]["AWS_LAMBDA_FUNCTION_NAME"] == tmp_path.name


def test_a_person_sees_responses_and_what_to_type_next(emulator: type[StandIn]) -> None:
    result = run("invoke", "app.handler", "--repeat", "3", environ=ENVIRON)
    assert result.code == 1  # one of them failed
    assert result.stdout.splitlines() == [
        "ok      id-1  12.3 ms",
        '        {"stored": 40}',
        "ok      id-1  12.3 ms",
        '        {"stored": 40}',
        "failed  id-2  3000.0 ms  Task timed out",
    ]
    assert result.stderr == "function | a line \\x1b[31m\nnote: next: lambdatrace show id-2\n"


def test_the_next_command_names_the_store_that_was_named(emulator: type[StandIn]) -> None:
    result = run("invoke", "app.handler", "--store", "sqlite:///my file.db", environ=ENVIRON)
    assert "lambdatrace show id-1 --store 'sqlite:///my file.db'" in result.stderr


def test_of_a_failed_init_nothing_is_promised(emulator: type[StandIn], tmp_path: Path) -> None:
    """Lambda tells extensions of an invocation after init only: there is no trace then."""
    emulator.answers = [FAILED]
    url = traces.write(tmp_path / "store.db", traces.execution([], []))
    result = run("invoke", "app.handler", "--store", url, environ=ENVIRON)
    assert "nothing was stored of id-2: unless a line above" in result.stderr
    assert "next:" not in result.stderr


def test_json_for_programs(emulator: type[StandIn]) -> None:
    result = run("invoke", "app.handler", "-r", "3", "--output", "json", environ=ENVIRON)
    first, _, third = json.loads(result.stdout)
    assert (first["request_id"], first["status"], first["duration_ms"]) == ("id-1", "ok", 12.34)
    assert first["response"] == {"stored": 40}
    assert first["error"] is None
    assert (third["status"], third["error"]) == ("failed", "Task timed out")
    assert third["response"] == "Task timed out after 3.00 seconds"
    assert "schema_version" in first


@pytest.mark.parametrize("body", [b"NaN", b"[1e999]", b"\xff\x1b[2J", b"[" * 10_000, b""])
@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_any_response_can_be_shown(emulator: type[StandIn], body: bytes, output: str) -> None:
    emulator.answers = [Invocation("id", 200, body, 1.0, None)]
    result = run("invoke", "app.handler", "--output", output, environ=ENVIRON)
    assert result.code == 0
    assert "\x1b" not in result.stdout
    if output in ("json", "jsonl"):
        json.loads(result.stdout, parse_constant=pytest.fail)


@pytest.mark.parametrize("event", ["{", "@/does/not/exist", "@/", ""])
def test_an_event_that_is_none(emulator: type[StandIn], event: str) -> None:
    result = run("invoke", "app.handler", "--event", event, environ=ENVIRON)
    assert result.code == 2
    assert result.stderr.startswith("error: --event")
    assert not emulator.started


def test_an_event_lambda_would_not_take(emulator: type[StandIn], tmp_path: Path) -> None:
    (tmp_path / "event").write_text(json.dumps("x" * 7_000_000))
    result = run("invoke", "app.handler", "--event", f"@{tmp_path}/event", environ=ENVIRON)
    assert result.code == 2
    assert "6 MiB" in result.stderr


def test_an_emulator_that_cannot_start(
    emulator: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: StandIn) -> StandIn:
        raise EmulatorError("it needs root", "become root")

    monkeypatch.setattr(emulator, "__enter__", refuse)
    result = run("invoke", "app.handler", environ=ENVIRON)
    assert (result.code, result.stderr) == (1, "error: it needs root\nhint: become root\n")
