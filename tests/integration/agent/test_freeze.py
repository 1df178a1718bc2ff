"""Frozen between two executions: clocks part, and a connection that is kept dies meanwhile."""

from __future__ import annotations

import socket
import struct

import pytest
from support_agent import Function, trace
from support_platform import Platform

from lambdatrace.analysis.summary import read_execution
from lambdatrace.items import read_summary
from lambdatrace.model import Xray
from lambdatrace.store import open_store

FROZEN_S = 3_600
# Close at once, and let the kernel send a reset (socket(7), SO_LINGER).
RESET = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("dies", ["ended", "reset"])
def test_a_frozen_environment(function: Function, dies: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Platform(function, 1) as platform:
        port = server.getsockname()[1]
        begun = [platform.now()]
        ids = [platform.begin({"what": "use_kept", "port": port})]
        peer, _ = server.accept()
        peer.sendall(peer.recv(1))
        platform.answer(ids[0])
        with platform.frozen(FROZEN_S):
            if dies == "reset":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.close()
        begun.append(platform.now())
        ids.append(platform.begin({"what": "use_dead", "port": port}))
        platform.answer(ids[1])
        traces = [trace(function, request_id) for request_id in ids]
        ended = platform.now()
        assert platform.agent_lines == []
    starts = [each.execution.started_at_ns / 1e9 for each in traces]
    # Within a second of the wall clock, though the clock of the records has hardly gone on.
    assert begun[0] - 1 < starts[0] < begun[0] + 60
    assert begun[1] - 1 < starts[1] < ended
    assert starts[1] - starts[0] > FROZEN_S - 1
    for each in traces:
        assert (each.execution.status, each.missing_chunks) == ("ok", 0)
    xray = Xray("5bef4de7ad49b0e87f6ef6c87fc2e700", "9a9197af755a6419", is_sampled=True)
    rows = open_store(function.store).index(0, int(ended * 1e9))
    assert [read_execution(read_summary(row)).xray for row in rows] == [xray, xray]
    (first,), (second,) = (each.connections for each in traces)
    assert (first.stale, first.reused, first.closed_by) == (False, False, None)
    assert (second.id, second.stale, second.closed_by) == (first.id, True, "peer")
    # Reset, it has ended before the execution began.
    assert (second.reused, second.before) == (dies == "ended", dies == "reset")
