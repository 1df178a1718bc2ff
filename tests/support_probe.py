"""The probe on the running kernel: loading it, running commands under it, and networks to try."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import require

from lambdatrace import wire
from lambdatrace.agent.attribution import exchange_record
from lambdatrace.bpf.loader import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(__file__).parent / "integration" / "bpf" / "programs"
CLI = (
    sys.executable,
    "-P",
    "-c",
    "from lambdatrace.cli.main import main; raise SystemExit(main())",
)
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def require_probe() -> None:
    """Go on only where the kernel takes the probe."""
    require(os.geteuid() == 0, "eBPF needs root")


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the package on the path of every interpreter."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def lambdatrace(
    *arguments: str | Path, timeout: float = 60, **more: str
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [*CLI, *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def trace(
    folder: Path, command: Sequence[str | Path], level: str = "flows", timeout: float = 60
) -> dict[str, Any]:
    """`lambdatrace run` a command and `lambdatrace show` it as JSON; the command must succeed."""
    store = f"sqlite://{folder / 'store.db'}"
    ran = lambdatrace("run", "--level", level, "--store", store, "--", *command, timeout=timeout)
    assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr}{ran.stdout}"
    shown = lambdatrace("show", "@latest", "--store", store, "--output", "json", timeout=timeout)
    assert shown.returncode == 0, shown.stderr
    document: dict[str, Any] = json.loads(shown.stdout)
    return document


class Watch:
    """A probe that follows what this process starts, and everything it has recorded so far."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.edges: list[wire.EdgeRecord] = []
        self.texts: list[wire.TextRecord] = []
        self.blocked: list[wire.BlockedRecord] = []
        self.pauses: list[wire.PauseRecord] = []
        self.syscalls: list[wire.SyscallRecord] = []
        self._exchanges: list[wire.ExchangeRecord] = []  # those that are complete
        self._ended: list[wire.ConnectionRecord] = []

    def drain(self) -> None:
        """Take what waits in both rings."""
        size = wire.EVENT_BYTES
        events = self.probe.events.drain()
        assert len(events) % size == 0
        kept = {
            wire.KIND_EDGE: (wire.EdgeRecord, self.edges),
            wire.KIND_DNS: (wire.TextRecord, self.texts),
            wire.KIND_TLS: (wire.TextRecord, self.texts),
            wire.KIND_BLOCKED: (wire.BlockedRecord, self.blocked),
            wire.KIND_PAUSE: (wire.PauseRecord, self.pauses),
            wire.KIND_EXCHANGE: (wire.ExchangeRecord, self._exchanges),
        }
        for offset in range(0, len(events), size):
            if events[offset] == wire.KIND_CONNECTION:
                exchange = wire.Exchange.unpack(events, offset + wire.ConnectionRecord.SIZE)
                self._end(wire.ConnectionRecord.unpack(events, offset), exchange)
                continue
            record, into = kept[events[offset]]
            into.append(record.unpack(events, offset))  # type: ignore[attr-defined]
            assert not any(events[offset + record.SIZE : offset + size])
        self.syscalls += wire.SyscallRecord.iter_unpack(self.probe.syscalls.drain())

    def _end(self, record: wire.ConnectionRecord, exchange: wire.Exchange) -> None:
        self._ended.append(record)
        told = exchange_record(record, exchange)
        if told is not None:
            self._exchanges.append(told)

    def branches(self) -> set[int]:
        """The numbers of all branches there have been, except for the very oldest."""
        size = self.probe._value_sizes["branches"]
        keys = [key for key, _ in self.probe._entries("branches", 4, size)]
        return {int.from_bytes(key, "little") for key in keys}

    def connections(self) -> list[wire.ConnectionRecord]:
        """Every connection seen since the probe was loaded, ended or not, by start."""
        return self._all()[0]

    def exchanges(self) -> list[wire.ExchangeRecord]:
        """Every exchange seen since then, of open connections the latest one, too; by start."""
        return self._all()[1]

    def _all(self) -> tuple[list[wire.ConnectionRecord], list[wire.ExchangeRecord]]:
        self.drain()
        connections, exchanges = [], []
        for record, exchange, is_open in self.probe.followed_connections():
            if not is_open:
                self._end(record, exchange)
                continue
            connections.append(record)
            told = exchange_record(record, exchange)
            exchanges += [told] if told is not None else []
        return (
            sorted([*self._ended, *connections], key=lambda record: record.started),
            sorted(
                [*self._exchanges, *exchanges], key=lambda each: each.first_out or each.first_in
            ),
        )

    def ends(self) -> list[wire.EdgeRecord]:
        """The processes that ended, in the order of their ends."""
        self.drain()
        return [edge for edge in self.edges if edge.edge == wire.EDGE_PROCESS_EXIT]

    def ports(self) -> list[int]:
        """The destination port of every connection seen, sorted."""
        return sorted(record.port for record in self.connections())

    def lost(self) -> dict[str, int]:
        """What the kernel could not keep."""
        return dict(zip(wire.COUNTERS, self.probe.lost(), strict=True))


@contextlib.contextmanager
def watching(**options: Any) -> Iterator[Watch]:
    """Load a probe that follows every child of this process; Probe.load's options."""
    probe = Probe.load(**{"root": os.getpid(), **options})
    try:
        yield Watch(probe)
    finally:
        probe.close()


def run(
    command: Sequence[str | Path], timeout: float = 60, **more: str
) -> subprocess.CompletedProcess[str]:
    """A child of this process; it must succeed."""
    ran = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(**more),
    )
    assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr}{ran.stdout}"
    return ran


def compiled(name: str, folder: Path) -> Path:
    """One of the C programs, compiled into `folder`."""
    require(shutil.which("cc"), "there is no C compiler")
    program = folder / Path(name).stem
    command = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, PROGRAMS / name]
    subprocess.run(command, check=True)
    return program


class Network:
    """A network namespace with nothing but loopback, for as long as the context lasts."""

    def __init__(self) -> None:
        self.name = f"lt-{os.getpid()}-{os.urandom(3).hex()}"
        self.path = Path("/run/netns") / self.name

    def __enter__(self) -> Network:
        require(shutil.which("ip"), "iproute2 is not installed")
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def ip(self, *arguments: str) -> None:
        """`ip` in here."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def command(self, *command: str | Path) -> list[str]:
        """A command line that runs `command` in here."""
        return ["nsenter", f"--net={self.path}", *map(str, command)]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread in here: sockets made now belong to this namespace for good."""
        with Path("/proc/thread-self/ns/net").open() as home, self.path.open() as here:
            _setns(here.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())


def _setns(fd: int) -> None:
    if _LIBC.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def copy_for_everyone() -> Iterator[Path]:
    """A folder with the package and the programs that unprivileged users can read.

    Neither the repository nor pytest's tmp_path need be.
    """
    with tempfile.TemporaryDirectory(prefix="lambdatrace-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "lambdatrace", folder / "lambdatrace", ignore=without)
        shutil.copytree(PROGRAMS, folder / "programs", ignore=without)
        subprocess.run(["chmod", "-R", "go+rX", folder], check=True)
        yield folder
