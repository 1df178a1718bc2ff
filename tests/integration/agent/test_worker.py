"""A worker that dies, hangs or cannot work: the function answers, the next execution is traced."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import support_agent as agent
from support import in_a_calm_moment
from support_agent import Echo, Function, Gate, invoke, invoking, ok

from lambdatrace import wire
from lambdatrace.emulator import agent_command

# Kills the first child of its parent, long before that can have loaded anything.
KILLER = """
import os, signal
parent = os.getppid()
others = []
while not others:
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        others = [int(pid) for pid in file.read().split() if int(pid) != os.getpid()]
os.kill(others[0], signal.SIGKILL)
"""
UNHARMED = "the function is not affected"


def is_complete(function: Function, request_id: str, port: int) -> bool:
    """Whether an execution was traced from edge to edge, with just the one connection."""
    execution = function.read(request_id)
    assert execution.ports == {port: 1}
    assert execution.summary["edges"] == "kernel"
    assert execution.summary["status"] == "ok"
    return not execution.summary["dropped"]


@pytest.mark.parametrize("times", [1, 2])
def test_killed_in_mid_invocation(function: Function, echo: Echo, times: int) -> None:
    port = echo.port()
    with function.emulator() as emulator, Gate() as gate:
        before = ok(emulator, {"what": "connect", "port": port})
        steps = {"what": "wait_for", "port": gate.port}, {"what": "connect", "port": port}
        with invoking(emulator, *steps) as answers:
            gate.reached()
            worker = function.worker()
            for _ in range(times):
                os.kill(worker, signal.SIGKILL)
                worker = function.worker(other_than=worker)
            gate.open()
        after = [ok(emulator, {"what": "connect", "port": port}) for _ in range(2)]
        assert function.worker() == worker
    (during,) = answers
    assert during.error is None
    assert is_complete(function, before, port)
    assert all(is_complete(function, request_id, port) for request_id in after)
    # What was in the kernel when the worker died is still told.
    execution = function.read(during.request_id)
    assert execution.ports == {port: 1, gate.port: 1}
    assert execution.summary["status"] == "ok"
    assert execution.summary["dropped"] == {"gaps": 1}
    assert len(function.agent_lines) == times
    assert all("signal 9" in line and UNHARMED in line for line in function.agent_lines)


def test_killed_between_invocations(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator() as emulator:
        ids = [ok(emulator, {"what": "connect", "port": port})]
        function.read(ids[0])
        os.kill(function.worker(), signal.SIGKILL)
        ids += [ok(emulator, {"what": "connect", "port": port}) for _ in range(2)]
    assert is_complete(function, ids[0], port)
    assert not is_complete(function, ids[1], port)
    assert function.read(ids[1]).summary["dropped"] == {"gaps": 1}
    assert is_complete(function, ids[2], port)
    (line,) = function.agent_lines
    assert UNHARMED in line


def test_a_kept_connection_is_not_told_again_after_a_death(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator() as emulator:
        first = ok(emulator, {"what": "use_kept", "port": port, "send": 1000})
        function.read(first)
        os.kill(function.worker(), signal.SIGKILL)
        between = ok(emulator)
        last = ok(emulator, {"what": "use_kept", "port": port, "send": 10})
    assert function.read(first).to(port).bytes_out == 1000
    assert function.read(between).connections == []
    record = function.read(last).to(port)
    assert (record.bytes_out, record.bytes_in) == (10, 10)
    assert record.flags & wire.CONNECTION_REUSED


def test_workers_that_never_finish_an_execution_are_given_up(function: Function) -> None:
    with function.emulator() as emulator, Gate() as gate:
        with invoking(emulator, {"what": "wait_for", "port": gate.port}) as answers:
            gate.reached()
            worker = 0
            for _ in range(3):
                worker = function.worker(other_than=worker)
                os.kill(worker, signal.SIGKILL)
            agent.eventually(
                lambda: any("no longer traced" in line for line in function.agent_lines),
                "the agent giving up",
            )
            gate.open()
        assert answers[0].error is None
        assert function.processes()[1] == 0
        untraced = ok(emulator)
    assert function.find(untraced) is None


def test_a_worker_that_hangs_is_replaced(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator(timeout_s=2) as emulator:
        ok(emulator)
        hung = function.worker()
        os.kill(hung, signal.SIGSTOP)
        # The registered process waits as long as a trace may take, and not until it is a timeout.
        silent = ok(emulator, {"what": "connect", "port": port})
        after = ok(emulator, {"what": "connect", "port": port})
        assert function.worker() != hung
        last = ok(emulator, {"what": "connect", "port": port})
    # It all stayed in the kernel.
    execution = function.read(silent)
    assert execution.ports == {port: 1}
    assert execution.summary["dropped"] == {"gaps": 1}
    assert is_complete(function, after, port)
    assert is_complete(function, last, port)
    (line,) = function.agent_lines
    assert silent in line


@in_a_calm_moment  # the killer, a process like others, may come too late
def test_killed_before_it_was_ready(function: Function, echo: Echo) -> None:
    port = echo.port()
    function.log.clear()
    killer = function.folder / "killer.py"
    killer.write_text(KILLER)
    command = ("sh", "-c", f'{sys.executable} -I -S {killer} & exec "$@"', "sh", *agent_command())
    with function.emulator(extensions={"lambdatrace": command}) as emulator:
        request_id = ok(emulator, {"what": "connect", "port": port})
    assert is_complete(function, request_id, port)
    (line,) = function.agent_lines
    assert "before it was ready (signal 9)" in line


def test_without_privileges(function: Function) -> None:
    command = ("setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", *agent_command())
    only = {"LAMBDATRACE_BACKEND": "ebpf"}
    with function.emulator(only, extensions={"lambdatrace": command}) as emulator:
        ids = [ok(emulator) for _ in range(2)]
        assert function.processes()[0]
        assert function.processes()[1] == 0
    assert all(function.find(request_id) is None for request_id in ids)
    (line,) = function.agent_lines
    assert "this environment is not traced" in line
    assert "CAP_BPF" in line


def test_a_deadline_is_kept_when_the_worker_is_replaced_too_late(function: Function) -> None:
    with function.emulator(timeout_s=1) as emulator, Gate() as gate:
        ok(emulator)
        with invoking(emulator, {"what": "wait_for", "port": gate.port}) as answers:
            gate.reached()
            os.kill(function.worker(), signal.SIGKILL)
        assert answers[0].error == "Task timed out after 1.00 seconds"
        after = invoke(emulator)
    assert after.error is None
    execution = function.read(answers[0].request_id)
    assert execution.summary["status"] == "timeout"
    assert execution.summary["dropped"] == {"gaps": 1}
