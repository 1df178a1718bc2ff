"""The execution environment of one emulated function: a private /opt, and who lives in it.

A mount namespace of its own keeps the machine's /opt untouched and lets any number of emulators
run side by side. It also tells which processes belong to the function, however they were started.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.errors import EmulatorError
from lambdatrace.layer.contents import START
from lambdatrace.layer.unpacked import unpacked_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ENTER = Path(__file__).with_name("enter.sh")
_EXECUTABLE = 0o755
AGENT = "lambdatrace"  # as which it registers
# Files that the agent and a preloaded library share in an environment (agent/choice.py). In a real
# one they end with it; here /tmp is the machine's.
MAP_PREFIX = "/tmp/lambdatrace-preload-"  # noqa: S108  # removed here, never opened
_MAP_SUFFIXES = ("", ".wake")
_KILL_S = 2.0


def agent_command(opt: Path = Path("/opt")) -> tuple[str, ...]:
    """What starts the agent inside a room; elsewhere `opt` is where the layer was unpacked."""
    return (f"{opt}/{START}",)


def check_machine() -> None:
    """Raise EmulatorError, in words, when this machine cannot give a private /opt."""
    if os.geteuid() != 0:
        raise EmulatorError(
            "invoking a function under the emulator needs root: it mounts a private /opt",
            "run it as root, for example with sudo -E env PATH=$PATH lambdatrace invoke …",
        )
    missing = [name for name in ("unshare", "setpriv", "mount") if shutil.which(name) is None]
    if missing:
        raise EmulatorError(
            f"{', '.join(missing)} cannot be found", "on Debian: apt-get install util-linux mount"
        )


class Room:
    """The files of one execution environment, and the way in.

    `output` is a named pipe for what the function prints, apart from the platform's log. An
    extension called lambdatrace brings the layer into /opt; where its command is `agent_command()`
    it is the layer's own file.
    """

    def __init__(
        self, extensions: Mapping[str, Sequence[str]], resolv_conf: Path | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lambdatrace-"))
        self.output = self.folder / "output"
        os.mkfifo(self.output)
        (self.folder / "opt").mkdir()
        scripts = self.folder / "extensions"
        scripts.mkdir()
        if AGENT in extensions:
            (self.folder / "layer").symlink_to(unpacked_layer())
        for name, command in extensions.items():
            if name == AGENT and tuple(command) == agent_command():
                continue
            script = scripts / name
            script.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
            script.chmod(_EXECUTABLE)
        if resolv_conf is not None:
            shutil.copyfile(resolv_conf, self.folder / "resolv.conf")

    def command(self, inner: Sequence[str]) -> list[str]:
        """`inner` as a command that runs inside, and is told to end when this process dies."""
        return [
            *("setpriv", "--pdeathsig", "TERM"),
            *("unshare", "--mount", "--propagation", "private"),
            *("/bin/sh", str(_ENTER), str(self.folder)),
            *inner,
        ]

    def remove(self) -> None:
        """Remove the files. The processes inside must have ended."""
        # A plain rmdir, and first: if the machine's /opt were still mounted there, this fails
        # instead of emptying it.
        (self.folder / "opt").rmdir()
        shutil.rmtree(self.folder)


def remove_mapping(runtime_api_port: int) -> None:
    """Remove what an agent that was killed has left in /tmp, whoever it was."""
    for suffix in _MAP_SUFFIXES:
        Path(f"{MAP_PREFIX}{runtime_api_port}{suffix}").unlink(missing_ok=True)


def namespace_of(process_id: int) -> str:
    """The name of a process's mount namespace; empty when it has ended."""
    try:
        return str(Path(f"/proc/{process_id}/ns/mnt").readlink())
    except OSError:
        return ""


def hold_namespace(process_id: int) -> int | None:
    """A descriptor that keeps a process's mount namespace; None when it has ended.

    Without one the kernel gives the namespace's number to another as soon as it is empty.
    """
    try:
        return os.open(f"/proc/{process_id}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def end_all(namespace: str) -> None:
    """Kill every process in a mount namespace that is not ours, and wait for them to be gone.

    The emulator ends what it started itself; this finds what the function left behind.
    """
    if not namespace or namespace == namespace_of(os.getpid()):
        return
    deadline = time.monotonic() + _KILL_S
    while (inside := _processes_in(namespace)) and time.monotonic() < deadline:
        for process_id in inside:
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def _processes_in(namespace: str) -> list[int]:
    # A zombie has no namespace any more, so it is not waited for.
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and namespace_of(int(entry.name)) == namespace
    ]
