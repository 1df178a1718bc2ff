"""The agent's disk is full, too small or read-only: real file systems, in the function's own room.

They are mounted in the mount namespace that an emulated function has to itself, just before its
agent begins, and end with it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty_proxy import FaultyProxy, passes, refuses
from support_agent import Function, eventually, ok
from support_faults import through

from lambdatrace.emulator import agent_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.emulator import Emulator

FORBIDDEN = refuses("AccessDeniedException")
AT_ONCE = {"LAMBDATRACE_FLUSH": "end"}
UNUSABLE = "the spool cannot be used"
DISK_KB, LARGE_DISK_KB = 40, 4_000
# More than what fits onto the first and into the agent's memory (200, outbox.py) together.
MANY = 240


@pytest.fixture
def store(
    function: Function,
    dynamodb_local: str,
    aws_environ: dict[str, str],
    request: pytest.FixtureRequest,
) -> Iterator[FaultyProxy]:
    """A table that the function's role may not write to, until it `passes`."""
    assert aws_environ
    with FaultyProxy(dynamodb_local, then=FORBIDDEN) as proxy:
        through(function, proxy, f"Disk-{request.node.name}")
        yield proxy


def after(mounting: str, function: Function, environ: dict[str, str]) -> Emulator:
    """The function, whose agent begins after `mounting`, a line for the shell."""
    command = ("/bin/sh", "-c", f'set -e; {mounting}; exec "$@"', "agent", *agent_command())
    return function.emulator({**AT_ONCE, **environ}, {"lambdatrace": command})


def on_a_disk(
    function: Function, environ: dict[str, str], *, is_full: bool, size_kb: int = DISK_KB
) -> Emulator:
    """The function with a disk of its own at FOLDER/disk, and its spool on it."""
    disk = function.folder / "disk"
    disk.mkdir()
    mounting = f"mount -t tmpfs -o size={size_kb}k,mode=700 lambdatrace-test {disk}"
    if is_full:
        # dd fails when there is no room for more.
        mounting += f"; ! dd if=/dev/zero of={disk}/others bs=4k 2>/dev/null"
    return after(mounting, function, {"LAMBDATRACE_SPOOL": f"{disk}/spool", **environ})


def inside(function: Function, path: Path) -> Path:
    """A path as the function's agent sees it."""
    return Path(f"/proc/{function.processes()[0]}/root{path}")


def all_stored(function: Function, ids: list[str]) -> None:
    """Each once, with nothing missing."""
    found = function.stored()
    assert [summary["execution_id"] for summary in found] == ids
    assert [summary["dropped"] for summary in found if summary["dropped"]] == []


def unusable(function: Function) -> str:
    """The one line that says so."""
    (line,) = [line for line in function.agent_lines if UNUSABLE in line]
    return line


def test_full_until_somebody_makes_room(
    function: Function, store: FaultyProxy, aws_environ: dict[str, str]
) -> None:
    disk = function.folder / "disk"
    with on_a_disk(function, aws_environ, is_full=True) as emulator:
        ids = [ok(emulator) for _ in range(5)]
        spool = inside(function, disk / "spool")
        assert list(spool.glob("*")) == []
        inside(function, disk / "others").unlink()
        ids.append(ok(emulator))
        # With it what had to wait in memory.
        assert len(list(spool.glob("*"))) == len(ids)
        store._then = passes
    assert "No space left on device" in unusable(function)
    all_stored(function, ids)


def test_full_until_the_end(
    function: Function, store: FaultyProxy, aws_environ: dict[str, str]
) -> None:
    with on_a_disk(function, aws_environ, is_full=True) as emulator:
        ids = [ok(emulator) for _ in range(5)]
        store._then = passes
    assert "No space left on device" in unusable(function)
    all_stored(function, ids)


def test_too_small_for_all_of_them(
    function: Function, store: FaultyProxy, aws_environ: dict[str, str]
) -> None:
    with on_a_disk(function, aws_environ, is_full=False) as emulator:
        ids = [ok(emulator) for _ in range(MANY)]
        on_disk = len(list(inside(function, function.folder / "disk/spool").glob("*")))
        # It was used for as long as there was room, and there was not for all.
        assert 0 < on_disk < MANY
        store._then = passes

        def is_back() -> bool:
            ids.append(ok(emulator))
            return bool(function.stored())

        eventually(is_back, "something in the store")
        ids.append(ok(emulator))
    assert "No space left on device" in unusable(function)
    found = {summary["execution_id"]: summary for summary in function.stored()}
    assert len(found) == len(function.stored())
    lost = [request_id for request_id in ids if request_id not in found]
    assert lost
    # Counted, and told by those that came later.
    assert sum(each["dropped"].get("executions", 0) for each in found.values()) == len(lost)
    assert {name for each in found.values() for name in each["dropped"]} == {"executions", "items"}
    assert found.keys() == set(ids) - set(lost)
    assert any("executions are given up" in line for line in function.agent_lines)


def test_a_read_only_tmp(
    function: Function, store: FaultyProxy, aws_environ: dict[str, str]
) -> None:
    mounting = "mount --bind /tmp /tmp; mount -o remount,bind,ro /tmp"
    environ = {**aws_environ, "LAMBDATRACE_SPOOL": "/tmp/lambdatrace-spool"}
    with after(mounting, function, environ) as emulator:
        ids = [ok(emulator) for _ in range(5)]
        store._then = passes
    assert "Read-only file system" in unusable(function)
    all_stored(function, ids)


def test_a_store_on_a_full_disk(function: Function) -> None:
    """A local file instead of DynamoDB; the spool is elsewhere."""
    disk = function.folder / "disk"
    function.store = f"sqlite://{disk}/store.db"
    environ = {"LAMBDATRACE_SPOOL": f"{function.folder}/spool"}
    with on_a_disk(function, environ, is_full=True, size_kb=LARGE_DISK_KB) as emulator:
        ids = [ok(emulator) for _ in range(5)]
        assert len(list((function.folder / "spool").glob("*"))) == len(ids)
        inside(function, disk / "others").unlink()

        def is_drained() -> bool:
            ids.append(ok(emulator))
            return not list((function.folder / "spool").glob("*"))

        # The breaker lets it ask again after a moment.
        eventually(is_drained, "an empty spool")
        # SQLite follows the link in /proc to where there is no such file.
        for name in ("store.db", "store.db-wal"):
            shutil.copy(inside(function, disk / name), function.folder)
    function.store = f"sqlite://{function.folder}/store.db"
    all_stored(function, ids)
    assert any("full" in line for line in function.agent_lines)
