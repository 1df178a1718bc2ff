"""An answer that has begun is not the end of an execution: it may be streamed for seconds."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support_agent import HANDLERS, Gate, invoke, invoking, ok
from support_faults import seen_by_the_caller, without_agent

from lambdatrace import wire

if TYPE_CHECKING:
    from support_agent import Echo, Function

RUNTIME = {"runtime": (sys.executable, str(HANDLERS / "streaming_runtime.py")), "timeout_s": 2}
SLEEP_S = 0.3


@pytest.fixture(params=[True, False], ids=["streamed", "whole"])
def streams(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_what_comes_meanwhile_is_its_own(function: Function, echo: Echo, streams: bool) -> None:
    port = echo.port()
    steps = {"what": "sleep", "seconds": SLEEP_S}, {"what": "connect", "port": port}
    with function.emulator(**RUNTIME) as emulator:
        ids = [ok(emulator), ok(emulator, *steps, streams=streams), ok(emulator)]
    found = [function.read(request_id) for request_id in ids]
    assert [each.ports for each in found] == [{}, {port: 1}, {}]
    assert [each.summary["status"] for each in found] == ["ok"] * 3
    assert [each.summary["duration_ns"] > SLEEP_S * 1e9 for each in found] == [False, True, False]
    assert [each.summary["dropped"] for each in found] == [{}] * 3
    assert function.agent_lines == []


@pytest.mark.parametrize(
    ("step", "status", "ending"),
    [
        ({"what": "exit"}, "crash", [3, 0, 0]),
        ({"what": "segfault"}, "crash", [0, 11, 0]),
        ({"what": "sleep", "seconds": 60}, "timeout", None),
    ],
    ids=lambda value: value["what"] if isinstance(value, dict) else "",
)
def test_what_goes_wrong_meanwhile(
    function: Function, streams: bool, step: dict[str, Any], status: str, ending: list[int] | None
) -> None:
    with function.emulator(**RUNTIME) as emulator:
        ok(emulator)
        failed = invoke(emulator, step, streams=streams)
        after = ok(emulator)
    with without_agent(function, **RUNTIME) as emulator:
        ok(emulator)
        bare = invoke(emulator, step, streams=streams)
    assert seen_by_the_caller(failed) == seen_by_the_caller(bare)
    assert failed.error
    summary = function.read(failed.request_id).summary
    assert (summary["status"], summary["dropped"]) == (status, {})
    assert ending is None or summary["ending"] == ending
    assert function.read(after).summary["status"] == "ok"


@pytest.mark.parametrize(
    ("step", "status"),
    [({"what": "exit"}, "error"), ({"what": "sleep", "seconds": 60}, "timeout")],
    ids=lambda value: value["what"] if isinstance(value, dict) else "",
)
def test_what_comes_after_an_error(
    function: Function, echo: Echo, step: dict[str, Any], status: str
) -> None:
    """As most runtimes end after an exception that nobody caught."""
    port = echo.port()
    steps = {"what": "use_kept", "port": port}, step
    with function.emulator(**RUNTIME) as emulator:
        ok(emulator)
        failed = invoke(emulator, *steps, fails=True)
        after = ok(emulator)
    with without_agent(function, **RUNTIME) as emulator:
        ok(emulator)
        bare = invoke(emulator, *steps, fails=True)
    assert seen_by_the_caller(failed) == seen_by_the_caller(bare)
    assert failed.error
    execution = function.read(failed.request_id)
    assert (execution.summary["status"], execution.summary["dropped"]) == (status, {})
    # Its end closed it, and the kernel tells of that last.
    assert execution.to(port).flags & wire.CONNECTION_OPEN
    assert function.read(after).ports == {}


def test_its_worker_dies_meanwhile(function: Function, streams: bool) -> None:
    """Nobody saw how it began to answer; that the runtime asks for the next one is seen."""
    options = {**RUNTIME, "timeout_s": 120}
    with function.emulator(**options) as emulator, Gate() as gate:
        before = ok(emulator)
        steps = {"what": "sleep", "seconds": SLEEP_S}, {"what": "wait_for", "port": gate.port}
        with invoking(emulator, *steps, streams=streams) as answers:
            gate.reached()
            os.kill(function.worker(), signal.SIGKILL)
            gate.open()
        # Not held up until its deadline.
        after = ok(emulator)
    (during,) = answers
    assert during.error is None
    found = [function.read(each).summary for each in (before, during.request_id, after)]
    assert [each["dropped"] for each in found] == [{}, {"gaps": 1}, {}]
    assert [each["status"] for each in found] in (["ok", "unfinished", "ok"], ["ok"] * 3)
