"""Variables that make no sense: a line in the log for each, and the function goes on as ever."""

from __future__ import annotations

import os

import pytest
from support_agent import Function, ok

NAMES = (
    "LAMBDATRACE_LEVEL", "LAMBDATRACE_CAPTURE", "LAMBDATRACE_THRESHOLD_MS", "LAMBDATRACE_FLUSH",
    "LAMBDATRACE_KEEP", "LAMBDATRACE_SPOOL", "LAMBDATRACE_SPOOL_MB", "LAMBDATRACE_TTL_DAYS",
    "LAMBDATRACE_BACKEND", "LAMBDATRACE_EXTENSIONS",
)  # fmt: skip
VALUES = {
    "huge": "x" * 2000,
    "odd": "ünï\x1b[31m\N{GRINNING FACE}",
    "bytes": os.fsdecode(b"\xff\xfe"),
    "lines": "a\nb\r\nlambdatrace: c",
    "negative": "-1",
    "endless": "9" * 30,
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_that_make_no_sense(function: Function, kind: str) -> None:
    with function.emulator(dict.fromkeys(NAMES, VALUES[kind])) as emulator:
        ids = [ok(emulator), ok(emulator)]
    for request_id in ids:
        summary = function.read(request_id).summary
        assert (summary["status"], summary["dropped"]) == ("ok", {})
    lines = [line for _, line in function.log if "lambdatrace: " in line]
    # Nothing of a value begins a line of its own, or reaches a terminal as it is.
    assert lines == function.agent_lines
    assert all(line.isprintable() and len(line) < 520 for line in lines)
    # One each, which says what is done instead.
    assert sorted(
        name for line in lines for name in NAMES if f"{name}=" in line.replace(":", "=")
    ) == (sorted(NAMES))
    assert len(lines) == len(NAMES)
    assert all("taking" in line or "the groups are" in line for line in lines)


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_credentials_with_a_line_break(function: Function, name: str) -> None:
    function.store = "dynamodb://Traces?region=eu-west-1&endpoint=http://127.0.0.1:9"
    environ = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two", name: "dead-beef\n"}
    with function.emulator(environ) as emulator:
        ok(emulator)
        ok(emulator)
    # At the start, that it will be so; that it is so; and how many are missing.
    start, trouble, goodbye = function.agent_lines
    for line in (start, trouble, goodbye):
        assert f"{name}: not printable ASCII" in line
        assert "beef" not in line
    assert "2 executions are not in the store" in goodbye
