"""What a worker does with executions that end. Whole workers are in tests/integration/agent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from support_records import event, make

from lambdatrace import wire
from lambdatrace.agent.attribution import Attribution
from lambdatrace.agent.serving import Serving

if TYPE_CHECKING:
    from lambdatrace.agent.attribution import Cut

A = "11111111-aaaa-4aaa-8aaa-000000000001"
B = "11111111-aaaa-4aaa-8aaa-000000000002"
CRASHES, ANSWERS = 100, 200


def edge(what: int, time: int, branch: int, text: bytes = b"") -> bytes:
    record = make(
        wire.EdgeRecord, kind=wire.KIND_EDGE, edge=what, time=time, tgid=branch, branch=branch,
        text=text,
    )  # fmt: skip
    return event(record)


def start(time: int, branch: int, request_id: str) -> bytes:
    return edge(wire.EDGE_START, time, branch, b"request-id: " + request_id.encode())


def test_who_ends_while_another_ends_is_not_overlooked() -> None:
    slices = [
        start(1, CRASHES, A) + start(2, ANSWERS, B) + edge(wire.EDGE_PROCESS_EXIT, 3, CRASHES),
        # While the kernel closes the sockets of the one that crashed.
        edge(wire.EDGE_RESPONSE, 4, ANSWERS, B.encode()),
    ]
    finished: list[Cut] = []
    serving: Any = Serving.__new__(Serving)
    serving._managed = True
    serving._invocation = None
    serving._deadline_ns = 0
    serving._resumes = False
    serving._settings = SimpleNamespace(extensions=False)
    serving._attribution = Attribution()
    serving._recorder = SimpleNamespace(drain=lambda: slices.pop(0))
    serving._finish = finished.append
    serving._handle_events()
    assert [(cut.request_id, cut.status) for cut in finished] == [(A, "crash"), (B, "ok")]
