"""The files of an execution environment, and what must never be killed or removed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from lambdatrace.emulator import environment
from lambdatrace.errors import EmulatorError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_room_holds_an_executable_for_each_extension(tmp_path: Path) -> None:
    room = environment.Room({"lambdatrace": ("echo", "it's $HOME", "b")})
    script = room.folder / "extensions/lambdatrace"
    try:
        assert subprocess.check_output([script], text=True) == "it's $HOME b\n"
    finally:
        room.remove()
    assert not room.folder.exists()


def test_a_room_with_something_mounted_in_it_is_not_emptied() -> None:
    room = environment.Room({})
    kept = room.folder / "opt/kept"
    kept.touch()
    with pytest.raises(OSError, match="not empty"):
        room.remove()
    kept.unlink()
    room.remove()


def test_the_own_namespace_is_never_swept() -> None:
    environment.end_all(environment.namespace_of(os.getpid()))
    environment.end_all("")


def test_a_process_that_has_ended_has_no_namespace() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert environment.namespace_of(process.pid) == ""


def test_without_root_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EmulatorError, match="needs root"):
        environment.check_machine()


def test_without_unshare_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmulatorError, match="unshare, setpriv, mount cannot be found"):
        environment.check_machine()


def test_an_agent_of_its_own_is_the_layers_file_unless_it_is_started_otherwise() -> None:
    command = environment.agent_command()
    for extensions, written in (
        ({"lambdatrace": command}, []),
        ({"lambdatrace": ("env", *command)}, ["lambdatrace"]),
    ):
        room = environment.Room(extensions)
        try:
            assert [path.name for path in (room.folder / "extensions").iterdir()] == written
            assert (room.folder / "layer/extensions/lambdatrace").is_file()
            assert (room.folder / "layer" / command[0].removeprefix("/opt/")).is_file()
        finally:
            room.remove()
