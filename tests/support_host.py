"""Tests of times on a machine that is a guest: what its host spoilt is tried again, and told.

A test that failed while the host kept a good part of the CPUs to itself has compared clocks that
stood still in between. Where the host stole little, or nothing, a failure is a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from lambdatrace.agent.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    Look = tuple[int | None, int | None, int | None]

# Of the time that the CPUs were wanted for. A calm host steals a hundredth of it now and then.
SPOILT = 0.03
ATTEMPTS = 3  # of one test
MOST = 12  # attempts more than tests, of a whole run: on such a host CI has to end in time as well


def stolen_share(machine: Machine) -> float:
    """What the host stole since the look before, of all the time that the CPUs were wanted for."""
    steal, busy, _ = machine.since()
    return (steal or 0) / max(1, (steal or 0) + (busy or 0))


class Patience:
    """A plugin of pytest; `machine` makes what tells of stolen time."""

    def __init__(self, machine: Callable[[], Machine] = Machine) -> None:
        self._machine = machine
        self._again: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test; again, as if it had not been, if the host was in its way."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for attempt in range(1, ATTEMPTS + 1):
            machine = self._machine()
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            share = stolen_share(machine)
            # What fails in setup fails with a fixture that others share, and that stays as it is.
            failed = any(each.failed and each.when != "setup" for each in reports)
            if not failed or share < SPOILT or attempt == ATTEMPTS or len(self._again) == MOST:
                break
            self._again.append(f"{item.nodeid}: the host had {share:.0%} of the CPUs' time")
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what had to be tried again: nothing of it is a secret."""
        if self._again:
            terminalreporter.section("tried again")
            for line in self._again:
                terminalreporter.write_line(line)
