"""Exchanges, time on a CPU, what waited and what ended: each with the execution it belongs to."""

from __future__ import annotations

from typing import Any

from support_agent import Echo, Function, invoke, ok, trace

from lambdatrace.model import BlockedKind

SLACK_NS = 5_000_000  # what a busy machine may add


def test_each_request_on_a_kept_connection_is_told_once(function: Function, echo: Echo) -> None:
    port = echo.port()
    sizes = [10, 200, 3000]
    with function.emulator() as emulator:
        ids = [ok(emulator, {"what": "use_kept", "port": port, "send": size}) for size in sizes]
        idle = ok(emulator)
    for number, (request_id, size) in enumerate(zip(ids, sizes, strict=True)):
        found = trace(function, request_id)
        (connection,) = [each for each in found.connections if each.port == port]
        assert connection.reused == (number > 0)
        (exchange,) = found.exchanges
        assert exchange.connection_id == connection.id
        assert (exchange.bytes_out, exchange.bytes_in) == (size, size)
        assert exchange.wait_ns is not None
        assert 0 <= exchange.started_ns < found.execution.duration_ns
        assert connection.exchanges == 1
    assert trace(function, idle).exchanges == ()


def test_several_requests_in_one_execution(function: Function, echo: Echo) -> None:
    """The last of them is still the connection's latest when the execution ends."""
    port = echo.port()
    with function.emulator() as emulator:
        several = [{"what": "use_kept", "port": port, "send": size} for size in (1, 2, 3)]
        first = ok(emulator, *several)
        second = ok(emulator, {"what": "use_kept", "port": port, "send": 4})
    assert [each.bytes_out for each in trace(function, first).exchanges] == [1, 2, 3]
    assert [each.bytes_out for each in trace(function, second).exchanges] == [4]


def test_cpu_time_is_the_executions_own(function: Function) -> None:
    spent_s = [0.25, 0.0, 0.1]
    with function.emulator() as emulator:
        ids = [ok(emulator, {"what": "spin", "seconds": seconds}) for seconds in spent_s]
    for request_id, seconds in zip(ids, spent_s, strict=True):
        execution = trace(function, request_id).execution
        assert execution.cpu is not None
        assert execution.cpu.cpu_ns >= seconds * 1e9, execution.dropped
        assert execution.cpu.cpu_wall_ns <= execution.duration_ns + SLACK_NS
        away = execution.duration_ns - execution.cpu.cpu_wall_ns - execution.cpu.runqueue_wall_ns
        # All it did was spin; the rest is the runtime's own waiting for its API.
        assert away < 0.05e9


def test_what_waited_belongs_to_its_execution(function: Function) -> None:
    with function.emulator() as emulator:
        asleep = ok(emulator, {"what": "sleep", "seconds": 0.08})
        awake = ok(emulator)
    (sleep,) = [each for each in trace(function, asleep).blocked if each.kind is BlockedKind.SLEEP]
    assert 0.08e9 <= sleep.blocked_ns < 0.08e9 + 10 * SLACK_NS
    assert sleep.started_ns >= 0
    # Waiting for the next invocation is no execution's.
    assert not trace(function, awake).blocked


def test_how_a_function_ended_is_told(function: Function) -> None:
    expected: dict[str, dict[str, Any]] = {
        "exit": {"exit_code": 3, "signal": None},
        "segfault": {"exit_code": None, "signal": "SIGSEGV"},
    }
    for step, how in expected.items():
        with function.emulator() as emulator:
            invocation = invoke(emulator, {"what": step})
            assert invocation.error is not None
        found = trace(function, invocation.request_id)
        assert found.execution.ending is not None
        assert found.execution.ending.exit_code == how["exit_code"]
        assert found.execution.ending.signal == how["signal"]
        assert found.execution.ending.out_of_memory is False


def test_a_child_that_ended_is_told_and_the_runtime_goes_on(function: Function, echo: Echo) -> None:
    with function.emulator() as emulator:
        request_id = ok(emulator, {"what": "child", "port": echo.port()})
    found = trace(function, request_id)
    assert found.execution.ending is None
    assert [each.ending.exit_code for each in found.processes] == [0]
    (child,) = found.processes
    assert child.name.startswith("python")
    assert 0 < child.started_ns < found.execution.duration_ns


def test_groups_that_are_off_leave_nothing_and_say_so(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator({"LAMBDATRACE_CAPTURE": "processes"}) as emulator:
        request_id = ok(
            emulator,
            {"what": "use_kept", "port": port},
            {"what": "use_kept", "port": port},
            {"what": "sleep", "seconds": 0.05},
            {"what": "child", "port": port},
        )
    found = trace(function, request_id)
    assert found.execution.capture == ("processes",)
    assert found.execution.cpu is None
    assert found.blocked == ()
    assert len(found.processes) == 1
    assert [each.port for each in found.connections] == [port, port]
