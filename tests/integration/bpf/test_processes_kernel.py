"""How processes end, as wait4() tells their parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
import support_probe as kernel
from support import require
from support_cgroup import Cgroup

from lambdatrace import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = kernel.PROGRAMS / "endings.py"


class Way(NamedTuple):
    """What programs/endings.py told of one process that it ended."""

    name: str
    process_id: int
    status: int  # as wait4() tells it
    before: int  # monotonic ns
    after: int


class Endings(NamedTuple):
    """What was told, and what the probe saw."""

    told: dict[str, Way]
    seen: dict[int, list[wire.EdgeRecord]]  # by process
    main: wire.EdgeRecord


@pytest.fixture(scope="module")
def endings() -> Endings:
    kernel.require_probe()
    with kernel.watching() as watch:
        ran = kernel.run([sys.executable, "-S", PROGRAM])
        seen: dict[int, list[wire.EdgeRecord]] = {}
        for edge in watch.ends():
            seen.setdefault(edge.tgid, []).append(edge)
        assert not any(watch.probe.lost())
    told = [Way(*row) for row in json.loads(ran.stdout)]
    [main] = [edge for edges in seen.values() for edge in edges if not edge.parent]
    return Endings({way.name: way for way in told}, seen, main)


def ending(status: int) -> tuple[int, int]:
    """(exit code, signal) of a wait status."""
    if os.WIFSIGNALED(status):
        return 0, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), 0


def seen_ending(edge: wire.EdgeRecord) -> tuple[int, int]:
    number = edge.flags & wire.ENDING_SIGNAL
    return (0 if number else edge.exit_code), number


WAYS = {
    "0": (0, 0),
    "3": (3, 0),
    "255": (255, 0),
    "256": (0, 0),
    "exec": (5, 0),
    "exec from a thread": (6, 0),
    "abort": (0, signal.SIGABRT),
    "segfault": (0, signal.SIGSEGV),
    "segfault in a thread": (0, signal.SIGSEGV),
    "SIGKILL": (0, signal.SIGKILL),
    "SIGTERM": (0, signal.SIGTERM),
    "SIGPIPE": (0, signal.SIGPIPE),
    "SIGRTMAX": (0, signal.SIGRTMAX),
    "SIGKILL from outside": (0, signal.SIGKILL),
    "SIGTERM from outside": (0, signal.SIGTERM),
    "handled": (7, 0),
    "handled before it is killed": (0, signal.SIGKILL),
    "ignored": (8, 0),
    "blocked": (0, signal.SIGTERM),
    "exit with threads": (4, 0),
    "exit of a thread": (9, 0),
    "SIGKILL with threads": (0, signal.SIGKILL),
    "SIGTERM with threads": (0, signal.SIGTERM),
    "abort with threads": (0, signal.SIGABRT),
    "main thread first": (11, 0),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_end_is_seen_once_and_as_the_parent_sees_it(
    endings: Endings, name: str
) -> None:
    way = endings.told[name]
    assert ending(way.status) == WAYS[name]  # the program does what it says
    [edge] = endings.seen[way.process_id]
    assert seen_ending(edge) == WAYS[name]
    assert not edge.flags & wire.ENDING_OUT_OF_MEMORY
    assert way.before <= edge.born < edge.time <= way.after
    assert (edge.parent, edge.branch) == (endings.main.tgid, endings.main.branch)
    program = endings.main.text.split(b"\0", 1)[0]
    assert edge.text.split(b"\0", 1)[0] == (b"sh" if name.startswith("exec") else program)


def test_nothing_else_was_seen_to_end(endings: Endings) -> None:
    assert set(endings.told) == set(WAYS)
    assert seen_ending(endings.main) == (0, 0)
    others = endings.seen.keys() - {way.process_id for way in endings.told.values()}
    # The program, and the shells that two of its processes have send them a signal.
    shells = others - {endings.main.tgid}
    assert {endings.seen[number][0].parent for number in shells} <= {
        endings.told[name].process_id for name in WAYS if name.endswith("from outside")
    }


def test_the_end_of_a_command_itself() -> None:
    with kernel.watching() as watch:
        for script in ("exit 3", "kill -9 $$", "kill -SEGV $$"):
            subprocess.run(["bash", "-c", script], check=False)
        found = [seen_ending(edge) for edge in watch.ends()]
        assert all(edge.parent == 0 for edge in watch.ends())
    assert found == [(3, 0), (0, 9), (0, 11)]


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with Cgroup(48 << 20) as made:
        yield made


GREEDY = """
import os, sys, time
if os.fork() == 0:
    with open(sys.argv[1] + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    kept = []
    for _ in range(200):
        kept.append(b"x" * (1 << 20))
    os._exit(0)
print(os.wait()[1])
"""


def test_a_process_without_memory_is_seen_to_end_by_that(cgroup: Cgroup) -> None:
    with kernel.watching() as watch:
        ran = kernel.run([sys.executable, "-S", "-c", GREEDY, cgroup.path])
        child, main = watch.ends()
    require(cgroup.kills(), "this kernel does not count what it kills for want of memory")
    assert ending(int(ran.stdout)) == (0, signal.SIGKILL)
    assert seen_ending(child) == (0, signal.SIGKILL)
    assert child.flags & wire.ENDING_OUT_OF_MEMORY
    assert not main.flags & wire.ENDING_OUT_OF_MEMORY
    assert main.tgid == child.parent
