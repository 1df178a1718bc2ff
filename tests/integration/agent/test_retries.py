"""Lambda tries a failed asynchronous invocation again, under its id, where it is still warm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support_agent import Gate, eventually
from support_managed import ManagedInstance
from support_platform import Platform

from lambdatrace import items
from lambdatrace.store import open_store

if TYPE_CHECKING:
    from support_agent import Echo, Function

# Much longer than anybody's patience here.
TIMEOUT_S = 120


def attempts(function: Function, request_id: str) -> list[dict[str, Any]]:
    """The summaries of one id, by start."""
    store = open_store(function.store)
    try:
        found = store.get(request_id)
    finally:
        store.close()
    return [items.read_summary(item) for item in found if item.kind == items.SUMMARY]


def test_each_attempt_is_an_execution(function: Function, echo: Echo) -> None:
    port = echo.port()
    connect = {"what": "connect", "port": port}
    with Platform(function, 1, {"LAMBDATRACE_FLUSH": "end"}) as platform, Gate() as gate:
        request_id = platform.begin(connect, {"what": "raise"}, timeout_s=TIMEOUT_S)
        platform.answer(request_id)
        eventually(lambda: platform.extension_waits, "the agent's `next`")
        platform.answers.clear()
        waits = {"what": "wait_for", "port": gate.port}
        platform.begin(connect, waits, request_id=request_id, timeout_s=TIMEOUT_S)
        gate.reached()
        gate.open()
        assert platform.answer(request_id)["id"] == request_id
        # Nobody who calls the function next waits for the agent.
        eventually(lambda: platform.extension_waits, "the agent's `next`")
    found = attempts(function, request_id)
    assert [each["status"] for each in found] == ["error", "ok"]
    assert [each["connections"] for each in found] == [1, 2]
    assert [each["dropped"] for each in found] == [{}, {}]
    assert platform.agent_lines == []


def test_also_where_no_event_tells_of_them(function: Function) -> None:
    with ManagedInstance(function, 2) as instance:
        request_id, body = instance.invoke({"what": "raise"})
        assert body["errorType"] == "ValueError"
        _, answer = instance.invoke(request_id=request_id)
        assert answer["id"] == request_id
    found = attempts(function, request_id)
    assert [each["status"] for each in found] == ["error", "ok"]
    assert [each["dropped"] for each in found] == [{}, {}]
    assert instance.agent_lines == []
