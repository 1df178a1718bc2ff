"""A function that is refused eBPF and has no wrapper: what can be seen by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support_agent import Echo, ok

if TYPE_CHECKING:
    from support_confined import ConfinedFunction


def test_executions_are_traced_with_nothing_but_what_proc_tells(
    bare: ConfinedFunction, echo: Echo
) -> None:
    port = echo.port()
    with bare.emulator() as emulator:
        first = ok(emulator, {"what": "use_kept", "port": port, "send": 1000})
        second = ok(
            emulator,
            {"what": "use_kept", "port": port, "send": 77},
            {"what": "spin", "seconds": 0.1},
            {"what": "sleep", "seconds": 0.1},
        )
    for request_id, sent in ((first, 1000), (second, 77)):
        execution = bare.read(request_id)
        summary = execution.summary
        assert summary["backend"] == "proc"
        assert "EPERM" in summary["backend_why"]
        assert "AWS_LAMBDA_EXEC_WRAPPER" in summary["backend_why"]
        assert (summary["status"], summary["edges"]) == ("ok", "looks")
        assert 0 < summary["tolerance_ns"] <= summary["duration_ns"]
        assert {"dns", "tls", "exchanges", "blocked"} <= set(summary["unavailable"])
        assert summary["dropped"] == {}
        record = execution.to(port)
        assert (record.bytes_out, record.bytes_in) == (sent, sent)
        assert sum(each or 0 for each in summary["partition"]) == summary["duration_ns"]
    assert summary["duration_ns"] >= 0.2e9
    assert summary["cpu"][0] >= 0.1e9
