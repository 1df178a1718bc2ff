"""A thousand executions: each told once, as itself, by an agent that does not grow."""

from __future__ import annotations

import statistics
from pathlib import Path

from support_agent import Echo, Function, ok
from support_faults import status_of

EXECUTIONS, FIRST_LOOK = 1_000, 200
# SQLite fills its cache of pages, 2 MB; bench/soak.py shows that it ends there.
GROWTH_BYTES = 3 << 20


def held(function: Function) -> list[tuple[int, int, int]]:
    """(threads, descriptors, bytes of private memory) of both processes of the agent."""
    found = []
    for process_id in function.processes():
        status = status_of(process_id)
        descriptors = len(list(Path(f"/proc/{process_id}/fd").iterdir()))
        found.append(
            (int(status["Threads"]), descriptors, int(status["RssAnon"].split()[0]) * 1024)
        )
    return found


def test_a_thousand_executions(function: Function, echo: Echo) -> None:
    ports = [echo.port() for _ in range(7)]
    ids = []
    with function.emulator() as emulator:
        for number in range(EXECUTIONS):
            ids.append(ok(emulator, {"what": "connect", "port": ports[number % len(ports)]}))
            if number + 1 == FIRST_LOOK:
                before = held(function)
        after = held(function)
    assert function.agent_lines == []
    stored = function.stored()
    assert [each["execution_id"] for each in stored] == ids
    assert all((each["status"], each["edges"]) == ("ok", "kernel") for each in stored)
    assert all(each["dropped"] == {} for each in stored)
    assert [each["cold_start"] for each in stored] == [True] + [False] * (EXECUTIONS - 1)
    # Its own connection and nobody else's.
    told = [[(row[2], row[4]) for row in each["destinations"]] for each in stored]
    assert told == [[(ports[number % len(ports)], 1)] for number in range(EXECUTIONS)]
    # What a few executions were like, whole.
    for number in (0, 1, FIRST_LOOK, EXECUTIONS - 1):
        assert function.read(ids[number]).ports == {ports[number % len(ports)]: 1}
    for (threads, descriptors, memory), later in zip(before, after, strict=True):
        assert later[:2] == (threads, descriptors)
        assert later[2] <= memory + GROWTH_BYTES, (before, after)
    assert statistics.median(each["duration_ns"] for each in stored) > 0
