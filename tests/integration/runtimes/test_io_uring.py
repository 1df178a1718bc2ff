"""What goes through io_uring is no syscall and cannot be seen; what is beside it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import require
from support_room import PLAIN, PORTS, Room

NOT_THERE = 77  # exit code
SOURCE = Path(__file__).parent / "programs" / "io_uring.c"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    require(shutil.which("cc"), "there is no C compiler")
    made = tmp_path / "io_uring"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", made, SOURCE], check=True)
    tried = subprocess.run([made, "--try"], capture_output=True, text=True, check=False)
    require(
        tried.returncode != NOT_THERE,
        f"this kernel lets nobody use io_uring (kernel.io_uring_disabled?): {tried.stderr}",
    )
    return made


def test_a_connection_through_io_uring(room: Room, program: Path) -> None:
    visit = room.visit(program, PLAIN, str(PORTS[PLAIN]))

    assert visit.trace["execution"]["unseen"] == ["io_uring"]
    seen, unseen = visit.accepted
    assert [len(each.requests) for each in (seen, unseen)] == [1, 1]
    assert visit.connections.keys() == {seen.client_port, unseen.client_port}
    beside = visit.connections[seen.client_port]
    assert (beside["bytes_out"], beside["bytes_in"]) == (seen.bytes_in, seen.bytes_out)
    # The state machine tells of it, no syscall does: it has no descriptor.
    through = visit.connections[unseen.client_port]
    assert (through["host"], through["fd"]) == (PLAIN, -1)
    assert through["connect_ms"] > 0
    assert (through["bytes_out"], through["bytes_in"], through["sends"]) == (None, None, None)
