"""A runtime, or a platform, of another make: what the probe looks for is not where it looks.

The agent then knows less. It never waits for what it has not seen: nobody calls a function whose
extension does not ask for the next event.
"""

from __future__ import annotations

import sys

import pytest
from support_agent import HANDLERS, Function, eventually, ok
from support_platform import Platform

# Much longer than anybody's patience here.
TIMEOUT_S = 120
AWS = "8f507cfc-3bb1-4a9d-8e2c-2f6a1c0d7e55"


def test_a_runtime_that_reads_a_byte_at_a_time(function: Function) -> None:
    command = (sys.executable, str(HANDLERS / "piecewise_runtime.py"))
    with function.emulator(runtime=command, timeout_s=TIMEOUT_S) as emulator:
        # The second one is not taken before the agent has let go of the first.
        ids = [ok(emulator) for _ in range(3)]
    for request_id in ids:
        summary = function.read(request_id).summary
        # That it was given one was not seen; that it answered was.
        assert (summary["status"], summary["edges"]) == ("ok", "extension")
        assert summary["duration_ns"] > 0
        assert summary["dropped"] == {}
    assert function.agent_lines == []


@pytest.mark.parametrize(
    ("request_id", "status"),
    [
        (AWS.upper(), "ok"),
        ("a" * 36, "ok"),
        # AWS's have 36 characters; where an answer names another kind, it is not recognised.
        ("1", "unfinished"),
        (AWS[:-1], "unfinished"),
        (f"{AWS}-and-more", "unfinished"),
    ],
)
def test_a_request_id_of_another_form(function: Function, request_id: str, status: str) -> None:
    with Platform(function, 1) as platform:
        begun = platform.begin(request_id=request_id, timeout_s=TIMEOUT_S)
        assert begun == request_id
        assert platform.answer(request_id)["id"] == request_id
        eventually(lambda: platform.extension_waits, "the agent's `next`")
        after = platform.begin()
        platform.answer(after)
        found = [function.read(each).summary for each in (request_id, after)]
    assert [(each["status"], each["edges"]) for each in found] == [
        (status, "kernel"), ("ok", "kernel"),
    ]  # fmt: skip
    assert [each["dropped"] for each in found] == [{}, {}]
    assert len(function.stored()) == len(found)
    assert platform.agent_lines == []
