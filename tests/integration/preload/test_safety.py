"""What a program does must be none of the library's business: it goes on as without it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import require
from support_preload import preloading
from support_servers import Servers

from lambdatrace import wire
from lambdatrace.errors import ProbeError
from lambdatrace.preload import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_preload import PreloadWatch

SOURCE = Path(__file__).parent / "programs/safety.c"
SOMEBODY = 994


def compiled(folder: Path, *options: str) -> Path:
    require(shutil.which("cc"), "there is no C compiler")
    program = folder / f"safety{''.join(options)}"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Werror", "-pthread", *options, "-o", program, SOURCE], check=True
    )
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("safety"))


@pytest.fixture
def port() -> Iterator[int]:
    with Servers() as servers:
        yield servers.sink()


def _take_one_by_one(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, contextlib.suppress(ConnectionResetError):
            connection.recv(1)


@pytest.fixture
def quick_port() -> Iterator[int]:
    """Of a server for thousands of connections, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_take_one_by_one, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def watch() -> Iterator[PreloadWatch]:
    with preloading(scale=4) as watch:
        yield watch


def sizes(watch: PreloadWatch) -> list[int]:
    """What went out over each connection, bytes, by start."""
    return [record.bytes_out for record in watch.connections()]


def nothing_is_lost(watch: PreloadWatch) -> None:
    assert not any(watch.lost().values())


def test_errno_is_as_without_it(program: Path, watch: PreloadWatch, port: int) -> None:
    watch.run(program, "errno", str(port))
    assert sizes(watch) == [10]
    nothing_is_lost(watch)


def test_a_request_and_its_answer_are_an_exchange(program: Path, watch: PreloadWatch) -> None:
    with Servers() as servers:
        watch.run(program, "answered", str(servers.echo()))
    assert [(each.bytes_out, each.bytes_in) for each in watch.exchanges()] == [(5, 5)]
    nothing_is_lost(watch)


def test_a_child_that_shares_its_memory_closes_nothing_of_its_parent(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    watch.run(program, "vfork", str(port))
    assert sizes(watch) == [100]


def test_a_child_that_libc_knows_nothing_of_is_not_taken_for_its_parent(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    watch.run(program, "clone", str(port))
    assert sorted(sizes(watch)) == [1, 5]
    first, second = watch.connections()
    assert first.tgid != second.tgid
    assert first.branch == second.branch


def test_handlers_of_signals_may_send_at_any_moment(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    watch.run(program, "signals", str(port))
    (spoken, sent) = sizes(watch)
    # What a handler sends while the library itself is at work is not counted.
    assert sent == 20_000
    assert spoken > 0
    nothing_is_lost(watch)


def test_a_program_may_close_everything(program: Path, watch: PreloadWatch, port: int) -> None:
    watch.run(program, "closes_all", str(port))
    assert sizes(watch) == [3, 4]
    assert [edge.exit_code for edge in watch.ends()] == [0]


def test_threads_lose_nothing(program: Path, watch: PreloadWatch, port: int) -> None:
    watch.run(program, "threads", str(port))
    assert sizes(watch) == [5] * 400
    assert len({record.id for record in watch.connections()}) == 400
    nothing_is_lost(watch)


def test_forks_of_several_threads_lose_nothing(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    watch.run(program, "forks", str(port))
    assert sizes(watch) == [5] * 40
    ends = watch.ends()
    assert len(ends) == 41
    assert len({edge.branch for edge in ends}) == 1
    (parent,) = [edge for edge in ends if not edge.parent]
    assert {edge.parent for edge in ends if edge.parent} == {parent.tgid}
    nothing_is_lost(watch)


def test_what_was_open_when_its_process_was_killed_is_told(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    ran = subprocess.run([program, "killed", str(port)], env=watch.environ(), check=False)
    assert ran.returncode == -signal.SIGKILL
    (end,) = watch.ends()
    assert end.flags & wire.ENDING_UNKNOWN
    ((record, _, is_open),) = watch.sensor.followed_connections()
    assert (record.bytes_out, is_open) == (3, False)
    assert list(watch.sensor.followed_connections()) == []


def test_a_program_goes_on_with_what_the_one_before_it_had_open(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    watch.run(program, "exec", str(port))
    assert sizes(watch) == [8, 0]
    assert [edge.exit_code for edge in watch.ends()] == [0]


def test_a_full_ring_is_counted_and_nobody_waits_for_it(program: Path, quick_port: int) -> None:
    with preloading() as watch:
        ran = subprocess.run([program, "many", str(quick_port)], env=watch.environ(), check=True)
        assert ran.returncode == 0
        room = watch.sensor.events.waiting // layout.EVENT_STRIDE
        found, lost = len(sizes(watch)), watch.lost()["events"]
    # The end of the process is an event as well.
    assert found + lost in (4000, 4001)
    assert lost > 1000
    assert found <= room


def test_what_has_no_libc_of_its_own_at_run_time_is_not_seen(
    tmp_path: Path, watch: PreloadWatch, port: int
) -> None:
    watch.run(compiled(tmp_path, "-static"), "one", str(port))
    assert sizes(watch) == []
    assert watch.ends() == []
    assert "static programs" in watch.sensor.unavailable


def test_a_program_with_another_user_s_rights_does_not_load_it(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    require(os.geteuid() == 0, "a program of another user needs root")
    theirs = Path(watch.path).with_name("theirs")
    theirs.parent.chmod(0o755)
    shutil.copyfile(program, theirs)
    os.chown(theirs, SOMEBODY, SOMEBODY)
    theirs.chmod(0o4755)
    watch.run("setpriv", "--reuid", "993", "--clear-groups", theirs, "one", str(port))
    assert sizes(watch) == []


def damaged(path: str) -> None:
    with Path(path).open("r+b") as file:
        file.write(b"\0")


def cut_short(path: str) -> None:
    os.truncate(path, layout.MAP_HEADER_BYTES)


def opened_up(path: str) -> None:
    Path(path).chmod(0o644)


def given_away(path: str) -> None:
    os.chown(path, SOMEBODY, SOMEBODY)


def linked(path: str) -> None:
    Path(path).rename(f"{path}.real")
    Path(path).symlink_to(f"{path}.real")


@pytest.mark.parametrize("spoil", [damaged, cut_short, opened_up, given_away, linked])
def test_a_mapping_that_cannot_be_the_agent_s_is_left_alone(
    program: Path, port: int, spoil: object
) -> None:
    assert callable(spoil)
    with preloading() as watch:
        before = bytes(watch.sensor._bytes[:: layout.MAP_HEADER_BYTES])
        spoil(watch.path)
        if spoil is cut_short:
            # Nobody may read what is gone any more, the agent neither.
            ran = subprocess.run([program, "one", str(port)], env=watch.environ(), check=False)
            os.truncate(watch.path, watch.sensor._header.bytes)
            assert ran.returncode == 0
        else:
            watch.run(program, "one", str(port))
            after = bytes(watch.sensor._bytes[:: layout.MAP_HEADER_BYTES])
            assert after[1:] == before[1:]


@contextlib.contextmanager
def disk_of(folder: Path, size: int) -> Iterator[Path]:
    """A file system in `folder` with room for `size` bytes."""
    require(os.geteuid() == 0, "mounting a file system needs root")
    options = f"size={size},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_where_there_is_no_room_for_a_mapping_nothing_is_left(tmp_path: Path) -> None:
    with disk_of(tmp_path, 1 << 16) as folder:
        with pytest.raises(ProbeError, match="No space left on device"), preloading(folder=folder):
            pass
        assert [*folder.rglob("*")] == []


def test_a_disk_that_is_full_by_then_kills_nobody(
    program: Path, tmp_path: Path, quick_port: int
) -> None:
    """A page of a mapping for which there is no room ends whoever touches it with SIGBUS."""
    with disk_of(tmp_path, 4 << 20) as folder, preloading(folder=folder) as watch:
        with contextlib.suppress(OSError), (folder / "rest").open("wb", 0) as rest:
            while rest.write(bytes(4096)):
                pass
        ran = subprocess.run([program, "many", str(quick_port)], env=watch.environ(), check=False)
        assert ran.returncode == 0
        assert sizes(watch)


def test_without_a_mapping_there_is_nothing_but_the_program(
    program: Path, watch: PreloadWatch, port: int
) -> None:
    for path in ("", "/nonexistent/map", "/dev/null", "x" * 5000):
        watch.run(program, "errno", str(port), LAMBDATRACE_PRELOAD_MAP=path)
    assert sizes(watch) == []


def test_python_ends_as_it_would(watch: PreloadWatch) -> None:
    code = "import sys, atexit; atexit.register(print, 'last'); sys.exit(7)"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=watch.environ(), capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, b"last\n", b"")
    assert [edge.exit_code for edge in watch.ends()] == [7]
