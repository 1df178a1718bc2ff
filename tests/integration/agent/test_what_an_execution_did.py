"""Exchanges, time on a CPU, what waited and what ended: each with the execution it belongs to."""

from __future__ import annotations

import socket
import threading
from typing import Any

from support_agent import Echo, Function, invoke, ok, trace

from lambdatrace.model import BlockedKind, Part, Status, Trace

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


class Slow:
    """A server on a port of its own that echoes late. A context manager."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Slow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        peer, _ = self._server.accept()
        with peer:
            data = peer.recv(1_000)
            if not self._over.wait(self._delay_s):
                peer.sendall(data)
            self._over.wait()


def parts_of(found: Trace) -> dict[Part, int]:
    partition = found.execution.partition
    assert partition is not None
    return {part: partition.of(part) or 0 for part in Part}


def test_the_parts_of_its_time_sum_to_its_duration(function: Function, echo: Echo) -> None:
    port = echo.port()
    steps: list[dict[str, Any]] = [
        {"what": "sleep", "seconds": 0.12},
        {"what": "use_kept", "port": port, "send": 1_000},
        {"what": "spin", "seconds": 0.1},
        {"what": "sleep", "seconds": 0.15},
    ]
    with function.emulator() as emulator:
        ids = [ok(emulator, *steps), ok(emulator), ok(emulator, steps[0])]
    several, nothing, sleep = (trace(function, request_id) for request_id in ids)
    for found in (several, nothing, sleep):
        assert sum(parts_of(found).values()) == found.execution.duration_ns
        assert all(pause.started_ns >= 0 for pause in found.pauses)
        # The kernel summed up what it told one by one, too.
        told = sum(pause.duration_ns for pause in found.pauses if pause.part is Part.SLEEP)
        assert parts_of(found)[Part.SLEEP] >= told
    parts = parts_of(several)
    assert parts[Part.SLEEP] >= 0.27e9 * 0.9
    assert parts[Part.CPU] + parts[Part.STEAL] >= 0.1e9
    assert parts_of(nothing)[Part.SLEEP] == 0
    assert parts_of(sleep)[Part.SLEEP] >= 0.12e9 * 0.9
    (share,) = [each for each in sleep.execution.shares if each.part is Part.SLEEP]
    assert share.subject in ("clock_nanosleep", "nanosleep")


def test_whoever_ended_a_wait_has_its_time(function: Function) -> None:
    """A server that takes its time; the one that answers at once has no part in it."""
    slow, quick = Slow(0.2), Slow(0.0)
    with slow, quick, function.emulator() as emulator:
        steps = [{"what": "use_kept", "port": each.port, "send": 10} for each in (quick, slow)]
        found = trace(function, ok(emulator, *steps))
    assert parts_of(found)[Part.WAIT] >= 0.2e9 * 0.9
    shares = {each.subject: each.ns for each in found.execution.shares if each.part is Part.WAIT}
    assert shares[f"127.0.0.1:{slow.port}"] >= 0.2e9 * 0.9
    assert shares.get(f"127.0.0.1:{quick.port}", 0) < 0.1e9
    (longest,) = [each for each in found.pauses if each.duration_ns >= 0.15e9]
    (connection,) = [each for each in found.connections if each.port == slow.port]
    assert (longest.part, longest.connection_id) == (Part.WAIT, connection.id)


def test_what_is_still_waited_for_at_its_deadline_has_its_time(function: Function) -> None:
    silent = Slow(60.0)
    with silent, function.emulator(timeout_s=2) as emulator:
        step = {"what": "use_kept", "port": silent.port, "send": 10}
        invocation = invoke(emulator, step)
    found = trace(function, invocation.request_id)
    assert found.execution.status is Status.TIMEOUT
    assert parts_of(found)[Part.WAIT] >= 1.5e9
    assert sum(parts_of(found).values()) == found.execution.duration_ns
