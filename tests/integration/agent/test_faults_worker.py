"""A worker that is killed, hangs or runs out of memory, where test_worker.py does not do it."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from typing import TYPE_CHECKING

import pytest
import support_faults as faults
from support import require
from support_agent import Echo, Function, Gate, invoking, ok
from support_cgroup import Cgroup
from support_faults import SlowStore, stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Between "as ever" and "until the function's time-out", which is 20 s.
HANGS_S = 10.0
# Whatever the first write has taken: a second one that has to be earned comes seconds later.
AT_ONCE = {"LAMBDATRACE_FLUSH": "end"}


@pytest.fixture
def slow(dynamodb_local: str, aws_environ: dict[str, str]) -> Iterator[SlowStore]:
    """A table in front of which a write can be held."""
    assert aws_environ
    with SlowStore(dynamodb_local, f"Slow-{os.urandom(4).hex()}") as store:
        yield store


def test_killed_during_init(function: Function, echo: Echo) -> None:
    port = echo.port()
    with Gate() as gate:
        environ = {"AT_INIT": json.dumps({"what": "wait_for", "port": gate.port})}
        with (
            function.emulator(environ) as emulator,
            invoking(emulator, {"what": "connect", "port": port}) as answers,
        ):
            gate.reached()
            worker = function.worker()
            os.kill(worker, signal.SIGKILL)
            gate.open()
    assert answers[0].error is None
    execution = function.read(answers[0].request_id)
    assert execution.summary["status"] == "ok"
    assert execution.summary["dropped"] == {"gaps": 1}
    # Also what it did before there was a worker again: that was in the kernel.
    assert execution.ports == {gate.port: 1, port: 1}
    assert len(function.agent_lines) == 1
    assert "signal 9" in function.agent_lines[0]


@pytest.mark.parametrize("once_done", [False, True])
def test_killed_during_its_write(
    function: Function, echo: Echo, slow: SlowStore, aws_environ: dict[str, str], once_done: bool
) -> None:
    function.store, port = slow.url, echo.port()
    with function.emulator({**aws_environ, **AT_ONCE}) as emulator:
        before = ok(emulator, {"what": "connect", "port": port})
        slow.hold_next(once_done=once_done)
        with stopwatch() as took:
            with invoking(emulator, {"what": "connect", "port": port}) as answers:
                slow.wait_until_held()
                os.kill(function.worker(), signal.SIGKILL)
            after = ok(emulator, {"what": "connect", "port": port})
    # Nobody waits for a response that is long out.
    assert took[0] < HANGS_S
    (during,) = answers
    assert during.error is None
    assert json.loads(during.body)["id"] == during.request_id
    # Once, whether the first write had been done or not: read() fails for two summaries.
    execution = function.read(during.request_id)
    assert execution.summary["status"] == "ok"
    assert execution.summary["edges"] == "kernel"
    assert execution.summary["dropped"] == {"gaps": 1}
    assert 0 < execution.summary["duration_ns"] < HANGS_S * 1e9
    for request_id in (before, after):
        execution = function.read(request_id)
        assert execution.ports == {port: 1}
        assert (execution.summary["status"], execution.summary["dropped"]) == ("ok", {})
    assert [each["execution_id"] for each in function.stored()] == [
        before, during.request_id, after,
    ]  # fmt: skip
    assert len(function.agent_lines) == 1


def test_stopped_during_its_write(
    function: Function, slow: SlowStore, aws_environ: dict[str, str]
) -> None:
    function.store = slow.url
    with function.emulator({**aws_environ, **AT_ONCE}) as emulator:
        ok(emulator)
        slow.hold_next(once_done=False)
        with stopwatch() as took:
            with invoking(emulator) as answers:
                slow.wait_until_held()
                os.kill(function.worker(), signal.SIGSTOP)
            after = ok(emulator)
    assert took[0] < HANGS_S
    assert answers[0].error is None
    assert function.read(after).summary["dropped"] == {"gaps": 1}
    (line,) = function.agent_lines
    assert answers[0].request_id in line


def test_what_a_gap_left_unknown_is_no_figure(function: Function) -> None:
    with function.emulator() as emulator:
        busy = ok(emulator, {"what": "spin", "seconds": 0.3})
        function.read(busy)
        os.kill(function.worker(), signal.SIGKILL)
        between, last = ok(emulator), ok(emulator)
    # Not what its runtime had used since it began.
    assert function.read(between).summary["cpu"] is None or (
        function.read(between).summary["cpu"][0] < 0.3e9
    )
    assert function.read(last).summary["cpu"][0] < 0.3e9


def test_out_of_memory(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator({"LAMBDATRACE_LEVEL": "syscalls"}) as emulator, Gate() as gate:
        before = ok(emulator)
        steps = (
            {"what": "wait_for", "port": gate.port},
            {"what": "connect", "port": port, "times": 3000},
        )
        with stopwatch() as took, invoking(emulator, *steps) as answers:
            gate.reached()
            worker = function.worker()
            # Not RLIMIT_AS: of its address space most is reserved, and would do for a while.
            room = faults.data_bytes(worker)
            resource.prlimit(worker, resource.RLIMIT_DATA, (room, room))
            gate.open()
        after = ok(emulator, {"what": "connect", "port": port})
        assert function.worker() != worker
    assert took[0] < HANGS_S
    assert answers[0].error is None
    assert function.read(before).summary["status"] == "ok"
    # Of the one that it could not hold: that there was one, and that something is missing.
    summary = function.read(answers[0].request_id).summary
    assert summary["dropped"]["gaps"] == 1
    assert summary["status"] in ("ok", "unfinished")
    assert function.read(after).ports == {port: 1}
    assert function.read(after).summary["dropped"] == {}
    assert any("MemoryError" in line for line in function.agent_lines), function.agent_lines
    assert any("the function is not affected" in line for line in function.agent_lines)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGTSTP", "SIGRTMIN"])
def test_a_function_that_signals_everybody(function: Function, name: str) -> None:
    """As `kill -TERM -1` does. Of what it can reach, only the agent is looked at."""
    with function.emulator() as emulator:
        before = ok(emulator)
        front, worker = function.processes()
        for process_id in (front, worker):
            os.kill(process_id, getattr(signal, name))
        with invoking(emulator, {"what": "sleep", "seconds": 0.2}) as answers:
            for process_id in (front, worker):
                os.kill(process_id, getattr(signal, name))
        assert function.processes() == (front, worker)
        after = ok(emulator)
    assert answers[0].error is None
    for request_id in (before, answers[0].request_id, after):
        summary = function.read(request_id).summary
        assert (summary["status"], summary["dropped"]) == ("ok", {})
    assert function.agent_lines == []


def test_killed_for_want_of_memory(function: Function, echo: Echo) -> None:
    port = echo.port()
    with Cgroup(1 << 20) as cgroup:
        with function.emulator() as emulator, Gate() as gate:
            ok(emulator)
            steps = (
                {"what": "wait_for", "port": gate.port},
                {"what": "connect", "port": port, "times": 1500},
            )
            with stopwatch() as took, invoking(emulator, *steps) as answers:
                gate.reached()
                cgroup.add(function.worker())
                gate.open()
            after = ok(emulator, {"what": "connect", "port": port})
        time.sleep(0.05)
        kills = cgroup.kills()
    require(kills, "this kernel does not count what it kills for want of memory")
    assert took[0] < HANGS_S
    assert answers[0].error is None
    assert function.read(answers[0].request_id).summary["dropped"]["gaps"] >= 1
    assert function.read(after).ports == {port: 1}
    assert "signal 9" in function.agent_lines[0]
