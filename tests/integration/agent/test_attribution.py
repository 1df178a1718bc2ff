"""Whose connection it is: five invocations with traffic of everyone else in between."""

from __future__ import annotations

import subprocess
import sys

import support_agent as agent
from support_agent import Echo, Function, ok

from lambdatrace import wire
from lambdatrace.analysis.trace import read_trace
from lambdatrace.store import open_store

KEEP_CONNECTING = "import sys, traffic; traffic.keep_connecting(int(sys.argv[1]))"


def test_five_invocations_among_background_traffic(function: Function, echo: Echo) -> None:
    own = [echo.port() for _ in range(5)]
    thread, process, other, unrelated = (echo.port() for _ in range(4))
    extension = ("env", f"PYTHONPATH={agent.HANDLERS}", sys.executable)
    stranger = subprocess.Popen(
        agent.python(KEEP_CONNECTING, str(unrelated)),
        cwd=agent.HANDLERS,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    ids = []
    try:
        with function.emulator(
            {"BACKGROUND_THREAD": str(thread), "BACKGROUND_PROCESS": str(process)},
            {"other": (*extension, str(agent.HANDLERS / "other_extension.py"), str(other))},
        ) as emulator:
            for port in own:
                ids.append(ok(emulator, {"what": "connect", "port": port}))
                # Of everybody, in the midst of things.
                echo.wait_for_more((thread, process, other, unrelated))
    finally:
        stranger.kill()
        stranger.wait()
    executions = [function.read(request_id) for request_id in ids]
    for execution, port in zip(executions, own, strict=True):
        summary = execution.summary
        assert (summary["status"], summary["edges"], summary["dropped"]) == ("ok", "kernel", {})
        assert {number: execution.ports[number] for number in own} == {
            number: int(number == port) for number in own
        }
        record = execution.to(port)
        assert summary["monotonic_ns"] <= record.started <= record.closed
        assert record.closed <= summary["monotonic_ns"] + summary["duration_ns"]
        assert not record.flags & (wire.CONNECTION_BEFORE | wire.CONNECTION_REUSED)
    records = [record for execution in executions for record in execution.connections]
    assert {record.port for record in records} == {*own, thread, process}
    # Told twice is only what was open at the end of one execution and ended in the next.
    closed = [record.id for record in records if not record.flags & wire.CONNECTION_OPEN]
    assert len(closed) == len(set(closed))
    # From the first to the last one known, each connection of the background is there once.
    for port in (thread, process):
        told = {record.id: record.local_port for record in by_start(records) if record.port == port}
        assert list(told.values()) == echo.accepted[port][: len(told)]
        assert len(told) >= 4 * 2


def by_start(records: list[wire.ConnectionRecord]) -> list[wire.ConnectionRecord]:
    return sorted(records, key=lambda record: record.started)


def test_what_a_handlers_child_does_is_the_executions(function: Function, echo: Echo) -> None:
    ports = [echo.port() for _ in range(2)]
    with function.emulator() as emulator:
        ids = [ok(emulator, {"what": "child", "port": port}) for port in ports]
    for request_id, port in zip(ids, ports, strict=True):
        assert function.read(request_id).ports == {port: 1}


def test_init_belongs_to_the_first_execution(function: Function, echo: Echo) -> None:
    init, port = [echo.port(), echo.port()], echo.port()
    with function.emulator({"PORTS_AT_INIT": " ".join(map(str, init))}) as emulator:
        ids = [ok(emulator, {"what": "connect", "port": port}) for _ in range(2)]
    first, second = (function.read(request_id) for request_id in ids)
    assert first.ports == {init[0]: 1, init[1]: 1, port: 1}
    for number in init:
        record = first.to(number)
        assert record.flags & wire.CONNECTION_BEFORE
        assert record.started < record.closed <= first.summary["monotonic_ns"]
    assert not first.to(port).flags & wire.CONNECTION_BEFORE
    assert second.ports == {port: 1}
    store = open_store(function.store)
    shown = {each.port: each for each in read_trace(store.get(ids[0])).connections}
    store.close()
    assert [shown[number].before for number in (*init, port)] == [True, True, False]
    assert [shown[number].started_ns < 0 for number in (*init, port)] == [True, True, False]
    assert (first.summary["cold_start"], second.summary["cold_start"]) == (True, False)


def test_a_kept_connection_gives_each_execution_its_own_bytes(
    function: Function, echo: Echo
) -> None:
    port, sizes = echo.port(), [100, 2_000, 0, 30_000]
    with function.emulator() as emulator:
        ids = [
            ok(emulator, {"what": "use_kept", "port": port, "send": size}) if size else ok(emulator)
            for size in sizes
        ]
    # Nor was anybody waited for in vain: the registered process would have said so.
    assert function.agent_lines == []
    executions = [function.read(request_id) for request_id in ids]
    assert executions[2].connections == []  # not touched, not told
    records = [executions[number].to(port) for number in (0, 1, 3)]
    assert [(record.bytes_out, record.bytes_in) for record in records] == [
        (size, size) for size in sizes if size
    ]
    assert len({record.id for record in records}) == 1
    assert [bool(record.flags & wire.CONNECTION_REUSED) for record in records] == [
        False,
        True,
        True,
    ]
    assert all(record.flags & wire.CONNECTION_OPEN for record in records)
    assert len(echo.accepted[port]) == 1


def test_a_handler_that_is_done_before_its_invoke_event_comes(function: Function) -> None:
    with function.emulator() as emulator:
        ids = [ok(emulator) for _ in range(30)]
    assert function.agent_lines == []
    summaries = [function.read(request_id).summary for request_id in ids]
    assert all(summary["dropped"] == {} for summary in summaries)
    assert [summary["execution_id"] for summary in function.stored()] == ids


def test_in_a_pid_namespace_of_its_own(function: Function, echo: Echo) -> None:
    port = echo.port()
    rie = function.folder / "rie"
    # As process 1 of a new namespace; the signal that stops the emulator is handed on.
    rie.write_text(f"""#!/bin/sh
unshare --pid --fork --mount-proc --kill-child {agent.find_rie()} "$@" &
trap 'pkill -TERM -P $!' TERM
wait $!
wait $!
""")
    rie.chmod(0o755)
    with function.emulator(rie_path=rie) as emulator:
        ids = [ok(emulator, {"what": "connect", "port": port}) for _ in range(2)]
        front, worker = function.processes()
        inside = {(agent.Path("/proc") / str(pid) / "ns/pid").readlink() for pid in (front, worker)}
    assert inside != {agent.Path("/proc/self/ns/pid").readlink()}
    for request_id in ids:
        execution = function.read(request_id)
        assert execution.ports == {port: 1}
        assert execution.summary["edges"] == "kernel"
