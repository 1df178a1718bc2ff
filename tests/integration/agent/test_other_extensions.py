"""Other extensions in the environment: none of the function's, and shown as theirs on request."""

from __future__ import annotations

import sys

from support_agent import HANDLERS, Echo, Function, eventually, ok, trace

ON_REQUEST = {"LAMBDATRACE_EXTENSIONS": "1"}


def test_on_request_their_connections_are_told_apart(function: Function, echo: Echo) -> None:
    own, other = echo.port(), echo.port()
    command = (sys.executable, str(HANDLERS / "other_extension.py"), str(other))
    steps = {"what": "connect", "port": own}, {"what": "sleep", "seconds": 0.2}
    with function.emulator(ON_REQUEST, {"other": command}) as emulator:
        ids = []
        for _ in range(2):
            ids.append(ok(emulator, *steps))
            echo.wait_for_more([other])
        traces = [trace(function, request_id) for request_id in ids]
        executions = [function.read(request_id) for request_id in ids]
    for found, execution in zip(traces, executions, strict=True):
        # In no list and no figure of the function's.
        assert execution.ports == {own: 1}
        assert execution.summary["connections"] == 1
        assert execution.summary["unavailable"] == {}
        assert found.elsewhere
        for each in found.elsewhere:
            assert (each.port, each.address, each.host) == (other, "127.0.0.1", None)
            assert each.process_name.startswith("python")
            assert each.started_ns < found.execution.duration_ns
            assert each.duration_ns is None or (each.bytes_out, each.bytes_in) == (1, 1)
        # Waking it up, and its CPU time, are not the function's either.
        assert execution.summary["cpu"][0] < execution.summary["duration_ns"]
    # As in the index, where destinations are counted.
    rows = [each["destinations"] for each in function.stored()]
    assert [[row[2] for row in each] for each in rows] == [[own], [own]]
    # None is told twice.
    (first, second) = ({each.started_ns for each in found.elsewhere} for found in traces)
    origins = [execution.summary["monotonic_ns"] for execution in executions]
    assert not {each + origins[0] for each in first} & {each + origins[1] for each in second}
    assert function.agent_lines == []


def test_by_default_nothing_of_them_is_recorded(function: Function, echo: Echo) -> None:
    own, other = echo.port(), echo.port()
    command = (sys.executable, str(HANDLERS / "other_extension.py"), str(other))
    with function.emulator(extensions={"other": command}) as emulator:
        found = ok(emulator, {"what": "connect", "port": own})
        eventually(lambda: echo.accepted[other], "what the other extension does")
        assert trace(function, found).elsewhere == ()
    assert function.read(found).ports == {own: 1}
