"""A function that keeps everybody busy, and a worker that gets no CPU meanwhile: no room for edges.

Nobody is held up for that until the deadline.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from support_agent import HANDLERS, eventually
from support_platform import Platform

if TYPE_CHECKING:
    from support_agent import Echo, Function

# Much longer than anybody's patience here.
TIMEOUT_S = 120
# More than the ring takes.
MANY = 5000
AWS = (sys.executable, "-m", "awslambdaric", "app.handler")
# It answers before it does anything.
STREAMING = (sys.executable, str(HANDLERS / "streaming_runtime.py"))


@pytest.mark.parametrize(("runtime", "status"), [(AWS, "unfinished"), (STREAMING, "ok")])
def test_no_room_to_tell_of_the_end(
    function: Function, echo: Echo, runtime: tuple[str, ...], status: str
) -> None:
    port = echo.port()
    with Platform(function, 1, {"LAMBDATRACE_FLUSH": "end"}, runtime=runtime) as platform:
        platform.answer(platform.begin())
        eventually(lambda: platform.extension_waits, "the agent's `next`")
        worker = function.worker()
        os.kill(worker, signal.SIGSTOP)
        busy = platform.begin({"what": "connect", "port": port, "times": MANY}, timeout_s=TIMEOUT_S)
        eventually(lambda: len(echo.accepted[port]) == MANY, "the last connection")
        platform.await_runtimes()
        os.kill(worker, signal.SIGCONT)
        eventually(lambda: platform.extension_waits, "the agent's `next`")
        after = platform.begin(timeout_s=TIMEOUT_S)
        platform.answer(after)
        summary = function.read(busy).summary
        assert summary["status"] == status
        assert summary["dropped"]["events"] > 0
        assert function.read(after).summary["status"] == "ok"
