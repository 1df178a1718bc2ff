"""How a function ends, or never begins: its caller sees what it sees without the agent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from support import require
from support_agent import Echo, Function, Gate, invoke, ok, trace, unanswering
from support_cgroup import Cgroup
from support_endings import LONG_NS, asleep, late
from support_faults import seen_by_the_caller, without_agent
from support_platform import Platform

from lambdatrace.model import BlockedKind, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INIT_FAILED = "the function's init failed"


@pytest.mark.parametrize("what", ["raise", "stop", "exit", "segfault"])
def test_in_the_handler(function: Function, what: str) -> None:
    with function.emulator() as emulator:
        ok(emulator)
        failed = invoke(emulator, {"what": what})
    with without_agent(function) as emulator:
        ok(emulator)
        assert seen_by_the_caller(invoke(emulator, {"what": what})) == seen_by_the_caller(failed)
    found = trace(function, failed.request_id).execution
    assert found.dropped.total == 0
    if what == "raise":
        assert (found.status, found.ending) == (Status.ERROR, None)
        return
    assert found.ending is not None
    # AWS's runtime client makes an answer of sys.exit() before it ends.
    assert found.status in (Status.CRASH, Status.ERROR)
    expected = {"stop": (1, None), "exit": (3, None), "segfault": (None, "SIGSEGV")}
    assert (found.ending.exit_code, found.ending.signal) == expected[what]
    assert not found.ending.out_of_memory


@pytest.mark.parametrize("what", ["raise", "stop", "exit", "segfault"])
def test_in_init(function: Function, what: str) -> None:
    environ = {"AT_INIT": json.dumps({"what": what})}
    with function.emulator(environ) as emulator:
        failed = [invoke(emulator) for _ in range(2)]
    with without_agent(function, environ=environ) as emulator:
        bare = [invoke(emulator) for _ in range(2)]
    # Of what the reply leaves out, the emulator's log tells more or less: it is not compared.
    assert [each.status for each in failed] == [each.status for each in bare]
    assert all(each.error for each in failed)
    # The platform never told an extension of these invocations: nothing is made up for them.
    assert [each for each in failed if function.find(each.request_id)] == []
    # But in the log there is a line for each environment.
    expected = {"raise": "exit code 1", "stop": "exit code 1", "exit": "exit code 3",
                "segfault": f"signal {signal.SIGSEGV}"}  # fmt: skip
    assert len(function.agent_lines) == len(failed)
    for line in function.agent_lines:
        assert INIT_FAILED in line
        assert f"ended with {expected[what]}," in line
        assert "the platform gave no request id" in line


@pytest.mark.parametrize("is_told_first", [True, False])
@pytest.mark.parametrize("what", ["raise", "exit", "segfault"])
def test_in_the_init_of_an_execution_that_was_told_of(
    function: Function, echo: Echo, what: str, is_told_first: bool
) -> None:
    """AWS's emulator never tells of one. Where a platform does, it did not go well."""
    port = echo.port()
    environ = {"AT_INIT": json.dumps({"what": what}), "PORTS_AT_INIT": str(port)}
    with Platform(function, 0, environ) as platform:
        if is_told_first:
            request_id = platform.begin()
        platform.start_runtime().wait(20)
        if not is_told_first:
            request_id = platform.begin()
        platform.shut_down("failure")
    found = trace(function, request_id)
    execution = found.execution
    assert execution.status is (Status.ERROR if what == "raise" else Status.CRASH)
    assert (execution.in_init, execution.cold_start) == (True, True)
    ending = {"raise": (1, None), "exit": (3, None), "segfault": (None, "SIGSEGV")}[what]
    assert execution.ending is not None
    assert (execution.ending.exit_code, execution.ending.signal) == ending
    # What init did is there.
    assert [each.port for each in found.connections] == [port]
    assert execution.dropped.total == 0
    assert len(function.stored()) == 1
    assert platform.agent_lines == []


@pytest.mark.parametrize("reason", ["failure", "ReleaseFail", "spindown"])
def test_a_crash_that_overtakes_its_invocation(function: Function, reason: str) -> None:
    """AWS's emulator mostly tells of it; once in 50 times SHUTDOWN stands in its place."""
    with Platform(function, 0) as platform:
        runtime = platform.start_runtime()
        request_id = platform.begin({"what": "segfault"}, is_told=False)
        assert runtime.wait(20) == -signal.SIGSEGV
        platform.shut_down(reason)
    if reason != "spindown":
        found = trace(function, request_id).execution
        assert (found.status, found.cold_start, found.dropped.total) == (Status.CRASH, True, 0)
        assert found.ending is not None
        assert found.ending.signal == "SIGSEGV"
        assert platform.agent_lines == []
    else:
        # Nothing of the platform's speaks for it.
        assert function.find(request_id) is None
        assert len(platform.agent_lines) == 1


def test_an_environment_that_was_never_used_says_nothing(function: Function) -> None:
    with Platform(function, 1) as platform:
        pass
    assert platform.agent_lines == []
    with Platform(
        function, 0, {"AT_INIT": json.dumps({"what": "sleep", "seconds": 20})}
    ) as platform:
        runtime = platform.start_runtime()
        runtime.terminate()
        runtime.wait()
    assert platform.agent_lines == []


def test_out_of_memory(function: Function) -> None:
    with Cgroup(64 << 20) as cgroup:
        steps = (
            {"what": "join", "path": str(cgroup.path)},
            {"what": "use_memory", "times": 200},
        )
        with function.emulator() as emulator:
            ok(emulator)
            killed = invoke(emulator, *steps)
            after = ok(emulator)
        kills = cgroup.kills()
        with without_agent(function) as emulator:
            ok(emulator)
            bare = invoke(emulator, *steps)
    require(kills, "this kernel does not count what it kills for want of memory")
    assert seen_by_the_caller(killed) == seen_by_the_caller(bare)
    found = trace(function, killed.request_id).execution
    assert found.status is Status.CRASH
    assert found.ending is not None
    assert (found.ending.signal, found.ending.out_of_memory) == ("SIGKILL", True)
    assert trace(function, after).execution.ending is None


@contextlib.contextmanager
def silent_resolver(folder: Path) -> Iterator[Path]:
    """A resolv.conf whose one server takes every question and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        address = f"127.53.{os.getpid() % 250}.{1 + os.getpid() // 250 % 250}"
        server.bind((address, 53))
        path = folder / "resolv.conf"
        path.write_text(f"nameserver {address}\n")
        yield path


def test_a_timeout_asleep(function: Function) -> None:
    for version in late(function, {"what": "sleep", "seconds": 5}):
        assert asleep(version, BlockedKind.SLEEP) > LONG_NS
        assert version.execution.cpu.cpu_ns < LONG_NS


def test_a_timeout_in_a_read_and_a_thread_asleep(function: Function) -> None:
    steps = (
        {"what": "sleep_in_a_thread", "seconds": 5},
        {"what": "open_pipe", "path": f"{function.folder}/pipe"},
    )
    for version in late(function, *steps):
        assert asleep(version, BlockedKind.SLEEP) > LONG_NS
        assert asleep(version, BlockedKind.FILE) > LONG_NS


def test_a_timeout_on_the_cpu(function: Function) -> None:
    for version in late(function, {"what": "spin", "seconds": 5}):
        used, wanted = version.execution.cpu.cpu_ns, version.execution.cpu.runqueue_ns
        assert used + wanted > LONG_NS
        assert version.execution.cpu.cpu_wall_ns <= version.execution.duration_ns + 5_000_000
        assert version.blocked == ()


def test_a_timeout_connecting(function: Function) -> None:
    with unanswering() as port:
        for version in late(function, {"what": "connect", "port": port}):
            (connection,) = version.connections
            assert connection.port == port
            assert connection.outcome in (Outcome.CONNECTING, Outcome.ABANDONED)
            assert connection.connect_ns is None
            assert connection.duration_ns > LONG_NS
            # That a thread waits for it is told by the connection.
            assert version.blocked == ()


def test_a_timeout_receiving(function: Function) -> None:
    with Gate() as gate:
        for version in late(function, {"what": "wait_for", "port": gate.port}):
            (connection,) = version.connections
            assert (connection.port, connection.bytes_in) == (gate.port, 0)
            assert connection.connect_ns is not None
            assert connection.duration_ns > LONG_NS


def test_a_timeout_resolving(function: Function) -> None:
    step = {"what": "resolve", "payload": "api.partner.example"}
    with silent_resolver(function.folder) as resolver:
        for version in late(function, step, resolv_conf=resolver):
            (lookup,) = version.namelookups
            assert (lookup.name, lookup.type) == ("api.partner.example", "A")
            assert (lookup.duration_ns, lookup.answer) == (None, None)
            assert len(version.connections) == 1
            # What it waits in says so, too: the resolver polls its socket.
            assert asleep(version, BlockedKind.POLL) > LONG_NS
