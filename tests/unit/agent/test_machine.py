"""What the machine tells of itself, from files as the kernel writes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lambdatrace.agent.machine import Machine, stolen

if TYPE_CHECKING:
    from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
STAT = """cpu  {user} 34 2290 22625563 6290 127 456 {steal} 0 0
cpu0 1132 34 1441 11311718 3675 127 438 999999 0 0
intr 114930548 113199788 3 0 5 263 0 4
ctxt 1990473
"""
VMSTAT = "nr_free_pages 301187\npgfault 9283741\npgmajfault {faults}\npgrefill 0\n"


def write(folder: Path, steal: int, faults: int, user: int = 2255) -> None:
    (folder / "stat").write_text(STAT.format(steal=steal, user=user))
    (folder / "vmstat").write_text(VMSTAT.format(faults=faults))


def test_what_happened_since_the_look_before(tmp_path: Path) -> None:
    write(tmp_path, 300, 17)
    machine = Machine(str(tmp_path))
    assert machine.since() == (0, 0, 0)
    write(tmp_path, 304, 19, user=2260)
    assert machine.since() == (4 * TICK_NS, 5 * TICK_NS, 2)
    assert machine.since() == (0, 0, 0)


def test_a_peek_does_not_move_on(tmp_path: Path) -> None:
    write(tmp_path, 300, 17)
    machine = Machine(str(tmp_path))
    write(tmp_path, 301, 18)
    assert machine.since(peek=True) == (TICK_NS, 0, 1)
    write(tmp_path, 302, 20)
    assert machine.since(peek=True) == (2 * TICK_NS, 0, 3)
    assert machine.since() == (2 * TICK_NS, 0, 3)


def test_a_counter_that_went_back_counts_nothing(tmp_path: Path) -> None:
    # The kernel's own words: steal may decrease (proc(5) says so of iowait, and hypervisors do).
    write(tmp_path, 300, 17)
    machine = Machine(str(tmp_path))
    write(tmp_path, 299, 3)
    assert machine.since() == (0, 0, 0)


@pytest.mark.parametrize("name", ["stat", "vmstat"])
def test_what_is_not_told_is_none_and_the_other_still_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, 300, 17)
    (tmp_path / name).unlink()
    machine = Machine(str(tmp_path))
    assert machine.since() == ((None, None, 0) if name == "stat" else (0, 0, None))
    # One look without it is not enough for a difference.
    write(tmp_path, 305, 18)
    assert machine.since() == ((None, None, 1) if name == "stat" else (5 * TICK_NS, 0, None))
    assert machine.since() == (0, 0, 0)


def test_an_old_line_without_steal(tmp_path: Path) -> None:
    write(tmp_path, 300, 17)
    (tmp_path / "stat").write_text("cpu  2255 34 2290 22625563 6290 127 456\n")
    (tmp_path / "vmstat").write_text("nr_free_pages 301187\n")
    assert Machine(str(tmp_path)).since() == (None, None, None)


def test_this_machine_tells(tmp_path: Path) -> None:
    machine = Machine()
    steal, busy, faults = machine.since()
    assert steal is not None
    assert steal >= 0
    assert busy is not None
    assert busy >= 0
    assert faults is not None
    assert faults >= 0


def test_the_host_takes_from_whoever_runs() -> None:
    # They ran a quarter of what ran, so a quarter of what was stolen was theirs.
    assert stolen(25, 40, 60) == 10
    # All that ran, stolen time included.
    assert stolen(100, 40, 60) == 40
    # Ticks are coarse: never more than there was.
    assert stolen(1000, 40, 60) == 40
    assert stolen(7_000_000, 0, 0) == 0
    assert stolen(7, None, None) is None
