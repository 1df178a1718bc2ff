"""Two executions at the same time in two runtimes of one environment."""

from __future__ import annotations

from support_agent import Echo, Function, Gate
from support_platform import Platform


def test_two_at_once_are_kept_apart(function: Function, echo: Echo) -> None:
    ports = [echo.port() for _ in range(3)]
    with Gate() as first_gate, Gate() as second_gate, Platform(function, 2) as platform:
        gates, ids = (first_gate, second_gate), []
        for gate, port in zip(gates, ports, strict=False):
            ids.append(
                platform.begin(
                    {"what": "connect", "port": port, "send": port},
                    {"what": "wait_for", "port": gate.port},
                    {"what": "connect", "port": port, "send": port},
                )
            )
            gate.reached()
        # Both are under way. The one that began last ends first.
        for gate, request_id in zip(reversed(gates), reversed(ids), strict=True):
            gate.open()
            assert platform.answer(request_id)["id"] == request_id
        ids.append(platform.begin({"what": "connect", "port": ports[2]}))
        assert platform.answer(ids[2])["id"] == ids[2]
        executions = [function.read(request_id) for request_id in ids]
        assert platform.agent_lines == []
    expected = [
        {ports[0]: 2, first_gate.port: 1},
        {ports[1]: 2, second_gate.port: 1},
        {ports[2]: 1},
    ]
    assert [execution.ports for execution in executions] == expected
    for execution in executions:
        summary = execution.summary
        assert (summary["status"], summary["edges"], summary["dropped"]) == ("ok", "kernel", {})
    begun = [execution.summary["monotonic_ns"] for execution in executions]
    ended = [
        begin + execution.summary["duration_ns"]
        for begin, execution in zip(begun, executions, strict=True)
    ]
    assert begun[0] < begun[1] < ended[1] < ended[0]
    assert {record.branch for record in executions[0].connections}.isdisjoint(
        record.branch for record in executions[1].connections
    )
    assert len(function.stored()) == len(ids)
