"""The worker: everything of the agent that can fail. A child of the registered process (front.py).

It opens a sensor (or adopts the one a worker before it opened), says so, and only then imports and
prepares the rest: registration, and with it the function's own start, waits for no more than
that. Messages (channel.py):
    to the worker   {"event": "INVOKE", "request_id", "deadline_ms", "at_ns", "tracing"},
                    {"event": "SHUTDOWN", "reason", "deadline_ms"}
    from it         {"ready": true, "layout"} + descriptors, {"ready": false, "why"},
                    {"ended": {"request_id", "branch", "started", "ended", "status", "offset"}}
                    before an execution is written, {"done": request id, "sees_runtime": bool,
                    "waiting"}, {"waiting"}: how many executions only the worker's memory holds
"""

from __future__ import annotations

import time

from lambdatrace.agent import choice
from lambdatrace.agent.log import log
from lambdatrace.errors import LambdatraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.agent.channel import Channel
    from lambdatrace.agent.settings import Settings

PREPARE_BUDGET_S = 2.0  # during init, for the store's first connection


def main(
    channel: Channel,
    settings: Settings,
    root: int,
    adopted: tuple[list[int], dict[str, Any]] | None,
    invocation: dict[str, Any] | None,
    lost_executions: int = 0,
) -> None:
    """What the worker process does, from its fork to its end. Raises channel.Closed.

    `lost_executions` waited to be written in the memory of a worker that died.
    """
    refused: list[dict[str, Any]] = []
    try:
        if adopted is None:
            sensor = choice.open_sensor(settings, root, refused)
        else:
            sensor = choice.adopt(*adopted)
    except LambdatraceError as error:
        channel.send({"ready": False, "why": f"{error.message}; {error.hint}"})
        return
    handover = sensor.handover()
    channel.send({"ready": True, "layout": handover.layout}, handover.descriptors)

    from lambdatrace.agent.serving import Serving
    from lambdatrace.agent.writer import open_writer

    try:
        writer = open_writer(settings.store, settings.environ)
    except LambdatraceError as error:
        log(f"this environment is not traced: {error.message}; {error.hint}")
        _answer_only(channel)
        return
    serving = Serving(channel, settings, sensor, writer, refused if adopted is None else None)
    by_reason: dict[str, list[str]] = {}
    for group, reason in sensor.unavailable.items():
        by_reason.setdefault(reason, []).append(group)
    for reason, groups in by_reason.items():
        log(f"{', '.join(groups)} cannot be seen here: {reason}")
    if adopted is not None:
        serving.resume(invocation, lost_executions)
    elif not settings.is_snapshot:  # credentials are not to be older than what is made of it
        try:
            writer.prepare(time.monotonic() + PREPARE_BUDGET_S)
        except LambdatraceError as error:
            log(f"{error.message}; {error.hint}")
    serving.serve()
    sensor.leave()


def _answer_only(channel: Channel) -> None:
    """There is nowhere to write to: hold nobody up until SHUTDOWN."""
    while (received := channel.receive()) is not None:
        message = received[0]
        if message["event"] == "SHUTDOWN":
            return
        channel.send({"done": message["request_id"], "sees_runtime": False, "waiting": 0})
