"""Lambda Managed Instances, under AWS's emulator in that mode: several executions at once.

The runtime is AWS's: a process that forks as many as may serve at once. The emulator refuses an
extension that registers for INVOKE, so nothing but the kernel tells of executions here.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from support_agent import HANDLERS, Echo, Function, Gate, eventually
from support_faults import status_of
from support_managed import RUNTIME, WRAPPED_RUNTIME, ManagedInstance
from support_platform import Platform

SPIN_S = 0.3
NEVER = {"LAMBDATRACE_FLUSH": "periodic:3600"}


@pytest.mark.parametrize("runtime", [RUNTIME, WRAPPED_RUNTIME], ids=["plain", "wrapped"])
def test_processes_of_one_launcher_are_kept_apart(
    function: Function, echo: Echo, runtime: str
) -> None:
    own, other = echo.port(), echo.port()
    with Gate() as gate, ManagedInstance(function, 3, runtime=runtime) as instance:
        waits = {"what": "wait_for", "port": gate.port}
        with instance.invoking({"what": "connect", "port": own}, waits) as answers:
            gate.reached()
            # One that begins later, does something else, and ends first.
            second, answer = instance.invoke(
                {"what": "connect", "port": other},
                {"what": "child", "port": other},
                {"what": "spin", "seconds": SPIN_S},
            )
            gate.open()
        assert answer["id"] == second
        ((first, answer),) = answers
        assert answer["id"] == first
        # It is written while the environment lives on: nobody has to call it again.
        executions = [function.read(request_id) for request_id in (first, second)]
        assert instance.agent_lines == []
    assert [execution.ports for execution in executions] == [
        {own: 1, gate.port: 1},
        {other: 2},  # what a process has started is its own
    ]
    for execution in executions:
        summary = execution.summary
        assert (summary["status"], summary["edges"], summary["dropped"]) == ("ok", "kernel", {})
        assert (summary["cold_start"], summary["unseen"]) == (True, [])
    cpu = [execution.summary["cpu"][0] / 1e9 for execution in executions]
    assert cpu[0] < SPIN_S <= cpu[1]
    begun = [execution.summary["monotonic_ns"] for execution in executions]
    ended = [
        begin + execution.summary["duration_ns"]
        for begin, execution in zip(begun, executions, strict=True)
    ]
    assert begun[0] < begun[1] < ended[1] < ended[0]
    assert len(function.stored()) == 2


def test_each_process_starts_cold_once(function: Function, echo: Echo) -> None:
    port = echo.port()
    environ = {"PORTS_AT_INIT": str(port)}
    with ManagedInstance(function, 1, environ) as instance:
        ids = [instance.invoke({"what": "connect", "port": port})[0] for _ in range(3)]
        executions = [function.read(request_id) for request_id in ids]
    assert [execution.summary["cold_start"] for execution in executions] == [True, False, False]
    assert [execution.ports[port] for execution in executions] == [2, 1, 1]


def test_what_waits_is_written_in_time_or_at_the_end(function: Function, echo: Echo) -> None:
    port = echo.port()
    with ManagedInstance(function, 1, {"LAMBDATRACE_FLUSH": "periodic:1"}) as instance:
        first, _ = instance.invoke({"what": "connect", "port": port})
        function.read(first)  # with nothing that happens meanwhile
    with ManagedInstance(function, 2, NEVER) as instance:
        ids = [instance.invoke({"what": "connect", "port": port})[0] for _ in range(5)]
        assert [function.find(request_id) for request_id in ids] == [None] * 5
    for request_id in ids:
        assert function.read(request_id).ports == {port: 1}


def is_at_rest(process_id: int) -> bool:
    """Whether a process sleeps, and goes on sleeping."""
    looks = []
    for _ in range(2):
        status = status_of(process_id)
        looks.append((status["State"].split()[0], status["voluntary_ctxt_switches"]))
        time.sleep(0.2)
    return looks[0][0] == "S" and looks[0] == looks[1]


def test_a_worker_that_dies_is_replaced_though_no_event_comes(
    function: Function, echo: Echo
) -> None:
    port = echo.port()
    with ManagedInstance(function, 2, NEVER) as instance:
        lost, _ = instance.invoke({"what": "connect", "port": port})
        worker = function.worker()
        eventually(lambda: is_at_rest(worker), "a worker that has taken it in")
        os.kill(worker, signal.SIGKILL)
        function.worker(other_than=worker)
        eventually(lambda: instance.agent_lines, "a line about it")
        found, answer = instance.invoke({"what": "connect", "port": port})
        assert answer["id"] == found
    assert function.find(lost) is None
    execution = function.read(found)
    assert execution.ports == {port: 1}
    assert execution.summary["dropped"] == {"gaps": 1, "executions": 1}
    (line,) = instance.agent_lines
    assert "the function is not affected" in line
    assert "executions that waited in it to be written: 1" in line


def test_a_process_that_crashes(function: Function, echo: Echo) -> None:
    port = echo.port()
    environ = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "3"}
    with ManagedInstance(function, 2, environ) as instance:
        instance.invoke({"what": "connect", "port": port}, {"what": "exit"})
        (crashed,) = eventually(function.stored, "the crash")
        # Its fellow serves on.
        found, answer = instance.invoke({"what": "connect", "port": port})
        assert answer["id"] == found
        execution = function.read(found)
    assert (crashed["status"], crashed["ending"]) == ("crash", [3, 0, 0])
    assert function.read(crashed["execution_id"]).ports == {port: 1}
    assert execution.ports == {port: 1}


def test_an_answer_that_comes_too_late(function: Function) -> None:
    """Its process serves on. (What AWS's emulator tells of a deadline here is 11 days off.)"""
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
    with Platform(function, 1, environ) as platform:
        late = platform.begin({"what": "sleep", "seconds": 0.6}, is_told=False, timeout_s=0.5)
        platform.answer(late)
        early = platform.begin(is_told=False)
        platform.answer(early)
    statuses = [function.read(each).summary["status"] for each in (late, early)]
    assert statuses == ["timeout", "ok"]


def test_executions_that_overlap_in_one_process(function: Function, echo: Echo) -> None:
    """Whose a connection is cannot be said then, and is not."""
    port = echo.port()
    runtime = f"{sys.executable} {HANDLERS}/threaded_runtime.py"
    with Gate() as gate, ManagedInstance(function, 2, runtime=runtime) as instance:
        alone, _ = instance.invoke({"what": "connect", "port": port})
        with instance.invoking({"what": "wait_for", "port": gate.port}) as answers:
            gate.reached()
            second, _ = instance.invoke({"what": "connect", "port": port})
            gate.open()
        first = answers[0][0]
        last, _ = instance.invoke({"what": "connect", "port": port})
        executions = [function.read(each) for each in (alone, first, second, last)]
        assert instance.agent_lines == []
    assert [execution.ports for execution in executions] == [{port: 1}, {}, {}, {port: 1}]
    unseen = [execution.summary["unseen"] for execution in executions]
    assert unseen == [[], ["overlap"], ["overlap"], []]
    assert executions[1].summary["cpu"] is None
    begun = [execution.summary["monotonic_ns"] for execution in executions]
    took = [execution.summary["duration_ns"] for execution in executions]
    ended = [begin + each for begin, each in zip(begun, took, strict=True)]
    assert begun[1] < begun[2] < ended[2] < ended[1] < begun[3]
    assert {execution.summary["status"] for execution in executions} == {"ok"}
