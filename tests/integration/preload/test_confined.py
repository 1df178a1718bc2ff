"""A stock Lambda function: no eBPF, the preloaded library instead, and the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support_agent import Echo, ok, trace

from lambdatrace.model import Part

if TYPE_CHECKING:
    from support_confined import ConfinedFunction


def test_an_execution_is_traced_without_any_privilege(
    confined: ConfinedFunction, echo: Echo
) -> None:
    port = echo.port()
    with confined.emulator() as emulator:
        first = ok(emulator, {"what": "connect", "port": port, "send": 1000})
        second = ok(
            emulator,
            {"what": "resolve", "payload": "localhost"},
            {"what": "connect", "port": port, "send": 77},
            {"what": "sleep", "seconds": 0.05},
        )
    for request_id, sent in ((first, 1000), (second, 77)):
        execution = confined.read(request_id)
        summary = execution.summary
        assert summary["backend"] == "preload"
        assert "EPERM" in summary["backend_why"]
        assert summary["edges"] == "kernel"
        assert summary["status"] == "ok"
        assert summary["dropped"] == {}
        record = execution.to(port)
        assert (record.bytes_out, record.bytes_in) == (sent, sent)
        assert record.started < record.established <= record.first_out < record.closed
        (exchange,) = [each for each in execution.exchanges if each.connection == record.id]
        assert (exchange.bytes_out, exchange.bytes_in) == (sent, sent)
    seen = trace(confined, second)
    assert [lookup.name for lookup in seen.namelookups] == ["localhost"]
    partition = seen.execution.partition
    assert partition is not None
    assert sum(partition.of(part) or 0 for part in Part) == seen.execution.duration_ns
    slept = partition.of(Part.SLEEP)
    assert slept is not None
    assert slept >= 0.04e9
    assert partition.of(Part.LOCK) is None
    assert "locks" in seen.execution.unavailable
