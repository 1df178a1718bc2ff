"""How a stock function ends where nobody tells its agent how: timeouts, crashes, a lost worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from support_agent import HANDLERS, Echo, Gate, eventually, invoke, invoking, ok, trace, unanswering
from support_endings import LONG_NS, late
from support_faults import seen_by_the_caller, without_agent

from lambdatrace import wire
from lambdatrace.model import Outcome, Part, Status

if TYPE_CHECKING:
    from support_confined import ConfinedFunction

    from lambdatrace.model import Connection, Trace


def only_connection(found: Trace) -> Connection:
    """The one of an execution, whose wait is most of its time."""
    assert found.execution.backend == "preload"
    (connection,) = found.connections
    assert connection.duration_ns > LONG_NS
    return connection


def part(found: Trace, which: Part) -> int:
    """How long an execution has spent in a part, ns."""
    assert found.execution.partition is not None
    return found.execution.partition.of(which) or 0


def test_a_timeout_in_a_receive(confined: ConfinedFunction) -> None:
    """Of a request that nobody answers: the kernel has taken the connection, no program has."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for found in late(confined, {"what": "connect", "port": port, "send": 300}):
            connection = only_connection(found)
            assert (connection.port, connection.outcome) == (port, Outcome.OPEN)
            assert (connection.bytes_out, connection.bytes_in) == (300, 0)
            assert connection.connect_ns is not None
            (exchange,) = found.exchanges
            assert (exchange.bytes_out, exchange.wait_ns) == (300, None)
            assert part(found, Part.WAIT) > LONG_NS


def test_what_it_does_while_it_answers(confined: ConfinedFunction, echo: Echo) -> None:
    port = echo.port()
    runtime = (sys.executable, str(HANDLERS / "streaming_runtime.py"))
    steps = (
        {"what": "sleep", "seconds": 0.4},
        {"what": "spin", "seconds": 0.4},
        {"what": "connect", "port": port},
    )
    with confined.emulator(runtime=runtime) as emulator:
        ok(emulator)
        request_id = ok(emulator, *steps, streams=True)
    found = trace(confined, request_id)
    assert found.execution.backend == "preload"
    assert found.execution.status is Status.OK
    assert [each.port for each in found.connections] == [port]
    assert part(found, Part.SLEEP) > LONG_NS
    assert part(found, Part.CPU) + part(found, Part.RUNQUEUE) > LONG_NS


def test_a_timeout_in_a_connect(confined: ConfinedFunction) -> None:
    with unanswering() as port:
        for found in late(confined, {"what": "connect", "port": port}):
            connection = only_connection(found)
            assert (connection.port, connection.outcome) == (port, Outcome.CONNECTING)
            assert connection.connect_ns is None
            assert part(found, Part.CONNECT) > LONG_NS


@pytest.mark.parametrize("what", ["segfault", "exit", "kill"])
def test_a_crash(confined: ConfinedFunction, echo: Echo, what: str) -> None:
    closed, left_open = echo.port(), echo.port()
    steps = (
        {"what": "connect", "port": closed, "send": 20},
        {"what": "use_kept", "port": left_open, "send": 1000},
        {"what": what},
    )
    with confined.emulator() as emulator:
        failed = invoke(emulator, *steps)
    with without_agent(confined) as emulator:
        bare = invoke(emulator, *steps)
    assert seen_by_the_caller(failed) == seen_by_the_caller(bare)
    found = trace(confined, failed.request_id)
    execution = found.execution
    assert (execution.status, execution.backend) == (Status.CRASH, "preload")
    assert execution.dropped.total == 0
    if what == "exit":
        assert execution.ending is not None
        assert (execution.ending.exit_code, execution.ending.signal) == (3, None)
    else:  # who is killed tells nobody how
        assert execution.ending is None
    # What the CPU was to one that is gone is not known: it is never 0.
    partition = execution.partition
    assert partition is not None
    assert sum(partition.of(each) or 0 for each in Part) == execution.duration_ns
    assert execution.cpu is None or execution.cpu.cpu_ns > 0
    assert (partition.cpu_ns is None) == (execution.cpu is None)
    by_port = {each.port: each for each in found.connections}
    assert (by_port[closed].bytes_out, by_port[closed].bytes_in) == (20, 20)
    assert (by_port[left_open].bytes_out, by_port[left_open].bytes_in) == (1000, 1000)
    assert by_port[closed].outcome is Outcome.OK


def test_a_worker_that_is_killed_is_replaced(confined: ConfinedFunction, echo: Echo) -> None:
    """The mapping goes on: what the library wrote while nobody read it is told by the next one."""
    port, kept = echo.port(), echo.port()
    with confined.emulator() as emulator, Gate() as gate:
        before = ok(emulator, {"what": "use_kept", "port": kept, "send": 1000})
        confined.read(before)
        steps = (
            # What was open when the agent had heard of the execution may have been told.
            {"what": "sleep", "seconds": 0.1},
            {"what": "wait_for", "port": gate.port},
            {"what": "connect", "port": port, "send": 70},
        )
        with invoking(emulator, *steps) as answers:
            gate.reached()
            worker = confined.worker()
            os.kill(worker, signal.SIGKILL)
            confined.worker(other_than=worker)
            gate.open()
        after = ok(emulator, {"what": "use_kept", "port": kept, "send": 5})
    (during,) = answers
    assert during.error is None
    execution = confined.read(during.request_id)
    assert execution.summary["backend"] == "preload"
    assert execution.summary["status"] == "ok"
    assert execution.summary["dropped"] == {"gaps": 1}
    assert execution.ports == {gate.port: 1, port: 1}
    assert (execution.to(port).bytes_out, execution.to(port).bytes_in) == (70, 70)
    for request_id, sent in ((before, 1000), (after, 5)):
        whole = confined.read(request_id)
        assert (whole.summary["status"], whole.summary["edges"]) == ("ok", "kernel")
        assert whole.summary["dropped"] == {}
        assert (whole.to(kept).bytes_out, whole.to(kept).bytes_in) == (sent, sent)
    assert confined.read(after).to(kept).flags & wire.CONNECTION_REUSED
    (line,) = [line for line in confined.agent_lines if "signal 9" in line]
    assert "the function is not affected" in line


def test_a_function_without_a_descriptor_left_is_let_go_on(confined: ConfinedFunction) -> None:
    """The library needs one to say that the response is out."""
    with confined.emulator(timeout_s=120) as emulator:
        with invoking(emulator, {"what": "use_descriptors"}) as answers:
            # Not only at its deadline.
            eventually(lambda: answers, "the environment's next event")
        after = ok(emulator)
    for request_id in (answers[0].request_id, after):
        summary = confined.read(request_id).summary
        assert (summary["status"], summary["backend"]) == ("ok", "preload")
        assert summary["dropped"] == {}
