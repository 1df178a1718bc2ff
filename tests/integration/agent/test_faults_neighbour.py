"""Others in the environment who make things up on the runtime API: refused, counted and told."""

from __future__ import annotations

import sys
import uuid

import pytest
from support_agent import HANDLERS, Echo, Function, Gate, invoke, ok
from support_faults import seen_by_the_caller, without_agent
from support_platform import Platform

# What a write has taken decides when the next one comes: tests wait for each.
AT_ONCE = {"LAMBDATRACE_FLUSH": "end"}
FORGED = "somebody other than the runtime uses the runtime API"


@pytest.mark.parametrize("what", ["flood", "answer", "next", "forge", "steal"])
def test_another_extension(function: Function, echo: Echo, what: str) -> None:
    own, its = echo.port(), echo.port()
    steps = {"what": "connect", "port": own}, {"what": "sleep", "seconds": 0.2}
    command = (sys.executable, str(HANDLERS / "neighbour.py"), what, str(its))
    with function.emulator(extensions={"neighbour": command}) as emulator:
        found = [invoke(emulator, *steps) for _ in range(2)]
    with without_agent(function, extensions={"neighbour": command}) as emulator:
        bare = [invoke(emulator, *steps) for _ in range(2)]
    assert [seen_by_the_caller(each) for each in found] == [
        seen_by_the_caller(each) for each in bare
    ]
    # It began before the probe was there, so nothing it says is heard: what is stored is the
    # function's own, whole, and nothing besides.
    for invocation in found:
        execution = function.read(invocation.request_id)
        assert execution.ports == {own: 1}
        # Where it answers first, the runtime's own answer is refused, and AWS's client ends then.
        assert execution.summary["status"] == ("crash" if what == "answer" else "ok")
        assert execution.summary["duration_ns"] > 0.2e9
    assert [each["execution_id"] for each in function.stored()] == [
        each.request_id for each in found
    ]
    assert function.agent_lines == []


def test_a_process_that_the_function_started(function: Function, echo: Echo) -> None:
    own, its, unknown = echo.port(), echo.port(), str(uuid.uuid4())
    with function.emulator() as emulator:
        before = ok(emulator, {"what": "connect", "port": own})
        forging = ok(
            emulator,
            {"what": "forge", "port": its, "payload": unknown},
            {"what": "sleep", "seconds": 0.2},
            {"what": "connect", "port": own},
        )
        after = ok(emulator, {"what": "connect", "port": own})
    assert function.find(unknown) is None
    assert [each["execution_id"] for each in function.stored()] == [before, forging, after]
    told = sum(function.read(each).summary["dropped"].get("forged", 0) for each in (forging, after))
    assert told >= 2
    (line,) = function.agent_lines
    assert FORGED in line
    # Whichever of its processes answers, it is the function's answer, and what comes behind it is
    # the next execution's: a runtime may be made of several. That more was claimed is told.
    ports = [function.read(request_id).ports for request_id in (before, forging, after)]
    assert ports[0] == {own: 1}
    assert sum(each[own] for each in ports) == 3
    assert all(function.read(each).summary["status"] == "ok" for each in (before, forging, after))


def test_another_child_of_the_platform(function: Function, echo: Echo) -> None:
    own, its, unknown = echo.port(), echo.port(), str(uuid.uuid4())
    with Gate() as gate, Platform(function, 1, AT_ONCE) as platform:
        ids = [platform.begin({"what": "connect", "port": own})]
        platform.answer(ids[0])
        function.read(ids[0])
        # Executions that nobody invoked, while nothing is under way.
        platform.neighbour("play", str(its), unknown, *(str(uuid.uuid4()) for _ in range(9)))
        ids.append(platform.begin({"what": "wait_for", "port": gate.port}))
        gate.reached()
        # One that is under way, and one that is over.
        platform.neighbour("play", str(its), ids[1], ids[0])
        gate.open()
        platform.answer(ids[1])
        ids.append(platform.begin({"what": "connect", "port": own}))
        platform.answer(ids[2])
        executions = [function.read(request_id) for request_id in ids]
        assert FORGED in "".join(platform.agent_lines)
    assert len(platform.agent_lines) == 1
    assert [execution.ports for execution in executions] == [{own: 1}, {gate.port: 1}, {own: 1}]
    assert all(execution.summary["status"] == "ok" for execution in executions)
    assert [each["execution_id"] for each in function.stored()] == ids
    told = [execution.summary["dropped"].get("forged", 0) for execution in executions]
    assert told[0] == 0
    # Of the first ten a few are still held when the last execution is written: the platform may
    # yet tell of them.
    assert sum(told) >= 6 + 2


def test_the_first_execution_is_claimed_by_two(function: Function, echo: Echo) -> None:
    its = echo.port()
    with Gate() as gate, Platform(function, 1, AT_ONCE) as platform:
        first = platform.begin({"what": "wait_for", "port": gate.port})
        gate.reached()
        platform.neighbour("play", str(its), first)
        gate.open()
        platform.answer(first)
        last = platform.begin()
        platform.answer(last)
        # Which of the two is the runtime nothing tells yet. Nobody waits, and it is said.
        told = [function.read(each).summary["dropped"].get("forged", 0) for each in (first, last)]
    assert sum(told) >= 1
    assert len(function.stored()) == 2
    assert FORGED in platform.agent_lines[0]


def test_what_somebody_made_up_is_not_what_the_platform_means(function: Function) -> None:
    """Who ends while he is at it looks as if he had crashed, and then the runtime really does."""
    made_up = str(uuid.uuid4())
    with Platform(function, 1, AT_ONCE) as platform:
        ids = [platform.begin()]
        platform.answer(ids[0])
        function.read(ids[0])
        platform.neighbour("play", "1", made_up)
        ids.append(platform.begin({"what": "segfault"}))
        assert function.read(ids[1]).summary["status"] == "crash"
        platform.shut_down("failure")
    assert [each["execution_id"] for each in function.stored()] == ids
