"""When executions are written, which events are kept, and what becomes of both on bad days."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from faulty_proxy import (
    FaultyProxy,
    cuts_after,
    cuts_before,
    is_slow,
    leaves_half,
    passes,
    refuses,
)
from support_agent import Echo, Function, Gate, eventually, invoke, invoking, ok
from support_faults import spooled, through

from lambdatrace import items
from lambdatrace.agent.summary import cpu_of
from lambdatrace.analysis.trace import read_trace
from lambdatrace.store import open_store

SELDOM = {"LAMBDATRACE_FLUSH": "periodic:3600"}


def summaries(function: Function, ids: list[str]) -> list[dict[str, Any]]:
    """In this order, and there is no other one in the store."""
    found = [function.read(request_id).summary for request_id in ids]
    assert sorted(each["execution_id"] for each in function.stored()) == sorted(ids)
    return found


# When


def test_what_waits_is_written_at_the_end(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator(SELDOM) as emulator:
        ids = [ok(emulator, {"what": "connect", "port": port}) for _ in range(5)]
        assert all(function.find(request_id) is None for request_id in ids)
    found = summaries(function, ids)
    assert [summary["status"] for summary in found] == ["ok"] * 5
    assert all(summary["dropped"] == {} for summary in found)
    assert all(function.read(request_id).ports == {port: 1} for request_id in ids)
    # Nothing had been written when the last of them was packed.
    assert [summary["agent"]["flushes"] for summary in found] == [0] * 5
    assert all(summary["agent"]["after_ns"] > 0 for summary in found[1:])
    assert function.agent_lines == []


def test_what_failed_is_written_at_once_with_all_that_waits(function: Function) -> None:
    with function.emulator(SELDOM) as emulator:
        waiting = ok(emulator)
        failed = invoke(emulator, {"what": "raise"})
        assert function.find(failed.request_id) is not None
        assert function.find(waiting) is not None
        later = ok(emulator)
        assert function.find(later) is None
    found = summaries(function, [waiting, failed.request_id, later])
    assert [summary["status"] for summary in found] == ["ok", "error", "ok"]


def test_what_is_known_before_a_deadline_is_written_at_once(function: Function) -> None:
    with function.emulator(SELDOM, timeout_s=2) as emulator, Gate() as gate:
        waiting = ok(emulator)
        with invoking(emulator, {"what": "wait_for", "port": gate.port}) as answers:
            gate.reached()
            state = eventually(function.stored, "what is known before the deadline")
        assert [summary["status"] for summary in state] == ["unfinished"]
    assert "timed out" in (answers[0].error or "")
    found = summaries(function, [waiting, answers[0].request_id])
    assert [summary["status"] for summary in found] == ["ok", "timeout"]


def test_where_nothing_is_frozen_nothing_waits_for_ever(function: Function) -> None:
    with function.emulator({"LAMBDATRACE_FLUSH": "periodic:1"}) as emulator:
        ids = [ok(emulator), ok(emulator)]
        summaries(function, ids)  # waits for it
        assert function.agent_lines == []


def test_by_default_many_executions_cost_fewer_writes(
    function: Function, table: str, aws_environ: dict[str, str]
) -> None:
    function.store = table
    with function.emulator(aws_environ) as emulator:
        # Few enough for the two seconds of SHUTDOWN, also where this machine is busy.
        ids = [ok(emulator) for _ in range(25)]
    found = summaries(function, ids)
    assert all(summary["dropped"] == {} for summary in found)
    flushes = sum(summary["agent"]["flushes"] for summary in found)
    assert 1 <= flushes < 25
    assert sum(summary["agent"]["write_units"] for summary in found) > 0
    assert sum(summary["agent"]["sent_bytes"] for summary in found) > 0


def test_summaries_tell_all_that_the_agent_has_used(function: Function) -> None:
    """Both of its processes, from their start on."""

    def used() -> int:
        return sum(cpu_of(process_id) for process_id in function.processes())

    with function.emulator({"LAMBDATRACE_FLUSH": "end"}) as emulator:
        ids = [ok(emulator) for _ in range(5)]
        least = used()
        ids.append(ok(emulator))
        most = used()
    told = sum(function.read(request_id).summary["agent"]["cpu_ns"] for request_id in ids)
    assert 0 < least <= told <= most


def test_a_worker_that_dies_takes_what_waits_and_the_next_summary_says_so(
    function: Function,
) -> None:
    with function.emulator(SELDOM) as emulator:
        lost = [ok(emulator) for _ in range(3)]
        os.kill(function.worker(), signal.SIGKILL)
        told = ok(emulator)
    assert all(function.find(request_id) is None for request_id in lost)
    (summary,) = summaries(function, [told])
    assert summary["dropped"] == {"gaps": 1, "executions": 3}
    (line,) = function.agent_lines
    assert line.endswith("executions that waited in it to be written: 3")


def test_what_was_lost_is_told_once(function: Function) -> None:
    """Though what tells of it is not written as an invocation ends, but a second later."""
    with function.emulator({"LAMBDATRACE_FLUSH": "periodic:1"}) as emulator:
        ids = []
        for _ in range(3):
            ids += [ok(emulator) for _ in range(3)]
            os.kill(function.worker(), signal.SIGKILL)
            ids.append(ok(emulator))
            function.read(ids[-1])
    found = function.stored()
    assert {each["execution_id"] for each in found} <= set(ids)
    lost = len(ids) - len(found)
    assert lost > 0
    assert sum(each["dropped"].get("executions", 0) for each in found) == lost


# What is kept


def test_only_the_events_of_failures_are_kept(function: Function, echo: Echo) -> None:
    port = echo.port()
    connect = {"what": "connect", "port": port}
    environ = {"LAMBDATRACE_KEEP": "errors", "LAMBDATRACE_LEVEL": "syscalls"}
    with function.emulator(environ) as emulator:
        good = ok(emulator, connect)
        failed = invoke(emulator, connect, {"what": "raise"}).request_id
        after = ok(emulator, connect)
    for request_id in (good, after):
        execution = function.read(request_id)
        assert (execution.summary["kept"], execution.summary["keep"]) == (False, "errors")
        assert (execution.summary["connections"], execution.connections) == (1, [])
        assert execution.syscalls == []
        assert [row[2] for row in execution.summary["destinations"]] == [port]
        store = open_store(function.store)
        trace = read_trace(store.get(request_id))
        store.close()
        assert (trace.missing_chunks, trace.execution.kept) == (0, False)
    execution = function.read(failed)
    assert execution.summary["kept"]
    assert execution.ports == {port: 1}
    assert execution.syscalls
    assert execution.summary["dropped"] == {}


def test_slow_keeps_everything_at_first(function: Function, echo: Echo) -> None:
    port = echo.port()
    with function.emulator({"LAMBDATRACE_KEEP": "slow"}) as emulator:
        ids = [ok(emulator, {"what": "connect", "port": port}) for _ in range(21)]
        slow = ok(emulator, {"what": "sleep", "seconds": 1.5}, {"what": "connect", "port": port})
    assert all(function.read(request_id).summary["kept"] for request_id in ids[:20])
    assert function.read(slow).summary["kept"]
    assert function.read(slow).ports == {port: 1}


def test_what_makes_no_sense_is_told_once(function: Function) -> None:
    environ = {"LAMBDATRACE_KEEP": "some", "LAMBDATRACE_FLUSH": "never", "LAMBDATRACE_SPOOL": "x"}
    with function.emulator(environ) as emulator:
        ok(emulator)
        os.kill(function.worker(), signal.SIGKILL)
        ok(emulator)
    said = [line for line in function.agent_lines if "LAMBDATRACE_" in line]
    assert len(said) == len(environ)


# Bad days

FAULTS = {
    "unreachable": cuts_before,
    "throttled": refuses("ThrottlingException"),
    "broken": refuses("InternalServerError", 500),
    "forbidden": refuses("AccessDeniedException"),
    "expired": refuses("ExpiredTokenException"),
    "no such table": refuses("ResourceNotFoundException"),
    "slow": is_slow(5.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_day_costs_no_execution(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str], fault: str
) -> None:
    with FaultyProxy(dynamodb_local) as proxy:
        through(function, proxy, f"BadDay{sorted(FAULTS).index(fault)}")
        environ = {**aws_environ, "LAMBDATRACE_FLUSH": "end"}
        with function.emulator(environ) as emulator:
            ids = [ok(emulator)]
            proxy._then = FAULTS[fault]
            ids += [ok(emulator) for _ in range(12)]
            asked = proxy.requests
            assert len(spooled(function)) == 12
            proxy._then = passes
        found = summaries(function, ids)
        assert all(summary["dropped"] == {} for summary in found)
        assert spooled(function) == []
        # After two failures it was not asked for each.
        assert asked < 40
    trouble, recovered = function.agent_lines
    assert "the store does not take executions" in trouble
    assert "again" in recovered


def test_a_region_that_is_none(function: Function, aws_environ: dict[str, str]) -> None:
    function.store = "dynamodb://Traces?region=nowhere-1"
    without_endpoint = {name: "" for name in aws_environ if "ENDPOINT" in name}
    environ = {**aws_environ, **without_endpoint, "LAMBDATRACE_FLUSH": "end"}
    with function.emulator(environ) as emulator:
        for _ in range(3):
            ok(emulator)
        assert len(spooled(function)) == 3
    trouble, lost = function.agent_lines
    assert "no address for dynamodb.nowhere-1.amazonaws.com" in trouble
    assert "is nowhere-1 the right region" in trouble
    assert "3 executions are not in the store" in lost


def test_executions_spooled_by_a_worker_that_died_are_found(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    with FaultyProxy(dynamodb_local, then=refuses("AccessDeniedException")) as proxy:
        through(function, proxy, "FoundAgain")
        with function.emulator({**aws_environ, "LAMBDATRACE_FLUSH": "end"}) as emulator:
            ids = [ok(emulator) for _ in range(3)]
            os.kill(function.worker(), signal.SIGKILL)
            proxy._then = passes
            ids.append(ok(emulator))
        found = summaries(function, ids)
    assert found[-1]["dropped"] == {"gaps": 1}
    assert spooled(function) == []


def test_with_a_spool_of_no_size_they_wait_in_memory(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    environ = {**aws_environ, "LAMBDATRACE_FLUSH": "end", "LAMBDATRACE_SPOOL_MB": "0"}
    with FaultyProxy(dynamodb_local, then=refuses("AccessDeniedException")) as proxy:
        through(function, proxy, "Full")
        with function.emulator(environ) as emulator:
            ids = [ok(emulator) for _ in range(3)]
            assert spooled(function) == []
            proxy._then = passes
        assert all(summary["dropped"] == {} for summary in summaries(function, ids))


def test_a_spool_on_a_full_disk(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    (function.folder / "spool").symlink_to("/dev/full")
    with FaultyProxy(dynamodb_local, then=refuses("AccessDeniedException")) as proxy:
        through(function, proxy, "DiskFull")
        with function.emulator({**aws_environ, "LAMBDATRACE_FLUSH": "end"}) as emulator:
            ids = [ok(emulator) for _ in range(5)]
            proxy._then = passes
        assert all(summary["dropped"] == {} for summary in summaries(function, ids))
    assert len([line for line in function.agent_lines if "the spool cannot be used" in line]) == 1


def test_an_end_without_a_store_says_how_many_are_not_in_it(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    with FaultyProxy(dynamodb_local, then=refuses("AccessDeniedException")) as proxy:
        through(function, proxy, "Never")
        with function.emulator(aws_environ) as emulator:
            for _ in range(4):
                ok(emulator)
    assert "4 executions are not in the store" in function.agent_lines[-1]
    assert "dynamodb:BatchWriteItem on the table Never" in function.agent_lines[-1]


def test_an_earlier_state_from_the_spool_never_replaces_the_end(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    """Spooled before its deadline; what became of it then goes straight to the store."""
    with FaultyProxy(dynamodb_local) as proxy:
        through(function, proxy, "States")
        with function.emulator(aws_environ, timeout_s=2) as emulator:
            before = ok(emulator)
            proxy._then = refuses("AccessDeniedException")
            with (
                Gate() as gate,
                invoking(emulator, {"what": "wait_for", "port": gate.port}) as late,
            ):
                gate.reached()
                eventually(lambda: spooled(function), "a state in the spool")
                proxy._then = passes
            after = ok(emulator)
        ids = [before, late[0].request_id, after]
        found = summaries(function, ids)
        assert [summary["status"] for summary in found] == ["ok", "timeout", "ok"]
        store = open_store(function.store)
        rows = [items.read_summary(row)["status"] for row in store.index(
            time.time_ns() - items.HOUR_NS, time.time_ns())]  # fmt: skip
        store.close()
        assert sorted(rows) == ["ok", "ok", "timeout"]
    assert spooled(function) == []


def test_many_executions_and_a_store_that_comes_and_goes(
    function: Function, dynamodb_local: str, aws_environ: dict[str, str]
) -> None:
    """Each is stored once, as it was, whichever way it took."""
    faults = [passes, cuts_before, refuses("ThrottlingException"), leaves_half, passes, cuts_after]
    with FaultyProxy(dynamodb_local) as proxy:
        through(function, proxy, "ComesAndGoes")
        ids = []
        with function.emulator(aws_environ) as emulator:
            for number in range(150):
                proxy._then = faults[number // 5 % len(faults)]
                ids.append(ok(emulator))
            proxy._then = passes
        found = summaries(function, ids)
    assert [summary["status"] for summary in found] == ["ok"] * len(ids)
    assert all(summary["dropped"] == {} for summary in found)
    starts = [summary["started_ns"] for summary in found]
    assert starts == sorted(starts)
    assert spooled(function) == []
    assert len(function.agent_lines) <= len(faults)
