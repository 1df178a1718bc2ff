"""DynamoDB has a bad minute: the function answers as ever, every execution is stored once.

Four functions, each with its own kind of trouble, run side by side, because most of that minute is
waiting.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import support_agent as agent
from faulty_proxy import (
    FaultyProxy,
    cuts_after,
    cuts_before,
    cuts_in_the_middle,
    is_slow,
    leaves_half,
    passes,
    refuses,
)
from support_agent import Echo, Function, invoke
from support_faults import spooled, through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from faulty_proxy import Exchange, Fault

    from lambdatrace.emulator import Emulator

    Trouble = Callable[[], AbstractContextManager[None]]

DOWN_S, THROTTLED_S, SLOW_S = 60.0, 20.0, 20.0
LATENCY_S = 5.0
PACE_S = 0.25
# The agent asks a store that is down once a minute at least (breaker.py).
BACK_S = 90.0
# What writing may take (serving.py): an answer that waited for the store would be as late.
BUDGET_MS = 2_000.0
THROTTLED = refuses("ProvisionedThroughputExceededException")
AT_ONCE = {"LAMBDATRACE_FLUSH": "end"}
EXECUTIONS = 1_000
# So many requests in a row meet a fault at most: with the pauses in between, they and what they
# take stay far below the budget.
IN_A_ROW = 3
FAULTS = (
    cuts_before,
    cuts_after,
    cuts_in_the_middle,
    leaves_half,
    THROTTLED,
    refuses("InternalServerError", 500),
    is_slow(0.1),
)


class Day:
    """A function on a day on which its store is in trouble for a while."""

    def __init__(self, function: Function, ports: list[int]) -> None:
        self.function = function
        self.ids: list[str] = []
        self.during: list[str] = []  # of those, while there was trouble
        self.answered_ms: list[float] = []  # those
        self.asked = 0  # requests that the store got meanwhile
        self.spooled = 0  # executions on disk when it ended
        self.has_recovered = False  # by itself, while the function was still called
        self._ports = ports

    def call(self, emulator: Emulator) -> float:
        """One execution with a connection; returns the runtime's milliseconds."""
        invocation = invoke(emulator, {"what": "connect", "port": self._port(len(self.ids))})
        # What its caller sees without the agent.
        assert (invocation.status, invocation.error) == (200, None), invocation
        assert invocation.request_id.encode() in invocation.body
        self.ids.append(invocation.request_id)
        return invocation.duration_ms

    def spend(
        self, environ: dict[str, str], proxy: FaultyProxy, trouble: Trouble, seconds: float
    ) -> None:
        """Call it before, during and after so many seconds of trouble."""
        with self.function.emulator(environ) as emulator:
            for _ in range(3):
                self.call(emulator)
            with trouble():
                asked, end = proxy.requests, time.monotonic() + seconds
                while time.monotonic() < end:
                    self.answered_ms.append(self.call(emulator))
                    time.sleep(PACE_S)
                self.during = self.ids[3:]
                self.asked, self.spooled = proxy.requests - asked, len(spooled(self.function))
            end = time.monotonic() + BACK_S
            while time.monotonic() < end and not self.has_recovered:
                self.call(emulator)
                self.has_recovered = not spooled(self.function)
                time.sleep(PACE_S)

    def hurry(self, environ: dict[str, str], executions: int) -> None:
        """Call it so many times, one right after the other."""
        with self.function.emulator(environ) as emulator:
            for _ in range(executions):
                self.call(emulator)

    def stored(self) -> list[dict[str, Any]]:
        """The summaries in the order of invocation: each there once, as itself, and whole."""
        summaries = self.function.stored()
        found = {summary["execution_id"]: summary for summary in summaries}
        assert len(summaries) == len(found) == len(self.ids)
        told = [found[request_id] for request_id in self.ids]
        assert {(each["status"], each["edges"]) for each in told} == {("ok", "kernel")}
        assert [each["dropped"] for each in told if each["dropped"]] == []
        # Its own connection and nobody else's.
        assert [[(row[2], row[4]) for row in each["destinations"]] for each in told] == [
            [(self._port(number), 1)] for number in range(len(told))
        ]
        starts = [each["started_ns"] for each in told]
        assert starts == sorted(starts)
        # What the summary's own item and its chunks say, as far as it is worth the time.
        for number in (0, len(told) // 2, len(told) - 1):
            assert self.function.read(self.ids[number]).ports == {self._port(number): 1}
        assert spooled(self.function) == []
        return told

    def _port(self, number: int) -> int:
        return self._ports[number % len(self._ports)]


@contextlib.contextmanager
def treated(proxy: FaultyProxy, fault: Fault) -> Iterator[None]:
    """Every request meets this fault until the block ends."""
    proxy._then = fault
    try:
        yield
    finally:
        proxy._then = passes


class Moody:
    """A store of which no more than a few answers in a row are what they should be."""

    def __init__(self) -> None:
        self._random = random.Random(4)
        self._in_a_row = 0
        self.met = 0

    def __call__(self, exchange: Exchange) -> None:
        fault = passes
        if self._in_a_row < IN_A_ROW and self._random.random() < 0.4:
            fault = self._random.choice(FAULTS)
        self._in_a_row = 0 if fault is passes else self._in_a_row + 1
        self.met += fault is not passes
        fault(exchange)


@pytest.fixture(scope="module")
def days(
    dynamodb_local: str,
    module_aws_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Day]]:
    """All of them, when they are over."""
    agent.require_agent()
    found: dict[str, Day] = {}
    with contextlib.ExitStack() as held:
        echo = held.enter_context(Echo())
        pool = held.enter_context(ThreadPoolExecutor())
        running = []
        for name, seconds in (("down", DOWN_S), ("throttled", THROTTLED_S), ("slow", SLOW_S)):
            proxy = held.enter_context(FaultyProxy(dynamodb_local))
            troubles: dict[str, Trouble] = {
                "down": proxy.down,
                "throttled": partial(treated, proxy, THROTTLED),
                "slow": partial(treated, proxy, is_slow(LATENCY_S)),
            }
            function = Function(tmp_path_factory.mktemp(name))
            through(function, proxy, f"Bad-{name}")
            found[name] = Day(function, [echo.port() for _ in range(3)])
            environ = {**module_aws_environ, **AT_ONCE}
            running.append(pool.submit(found[name].spend, environ, proxy, troubles[name], seconds))
        proxy = held.enter_context(FaultyProxy(dynamodb_local))
        moods = proxy._then = Moody()
        function = Function(tmp_path_factory.mktemp("moody"))
        through(function, proxy, "Bad-moody")
        day = found["moody"] = Day(function, [echo.port() for _ in range(7)])
        running.append(pool.submit(day.hurry, {**module_aws_environ, **AT_ONCE}, EXECUTIONS))
        for each in running:
            each.result()
        proxy._then = passes
        assert moods.met > EXECUTIONS // 10
        yield found


@pytest.mark.parametrize("trouble", ["down", "throttled", "slow"])
def test_a_bad_minute(days: dict[str, Day], trouble: str) -> None:
    day = days[trouble]
    assert len(day.during) > 10
    assert statistics.median(day.answered_ms) < BUDGET_MS
    summaries = day.stored()
    # It came back while the function was called, not only at the end.
    assert day.has_recovered
    # All but the first two, which were given time, were spooled at once.
    assert day.spooled == len(day.during)
    costs = [summary["agent"] for summary in summaries]
    assert sum(cost["spooled"] for cost in costs) >= day.spooled
    assert sum(cost["drained"] for cost in costs) > 0
    # Nobody asked it for each of them.
    assert day.asked < len(day.during)
    told, recovered = day.function.agent_lines
    assert "the store does not take executions" in told
    assert "the store takes executions again" in recovered


def test_a_thousand_executions_while_the_store_has_moods(days: dict[str, Day]) -> None:
    day = days["moody"]
    summaries = day.stored()
    assert len(summaries) == EXECUTIONS
    assert sum(summary["agent"]["retries"] for summary in summaries) > EXECUTIONS // 20
    assert [summary["cold_start"] for summary in summaries] == [True] + [False] * (EXECUTIONS - 1)
