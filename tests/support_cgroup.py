"""Cgroups that limit the memory, the CPU time or the writing of whoever is put into them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from support import require

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = Path("/sys/fs/cgroup")


class Limits:
    """A cgroup of one controller, of whichever version there is.

    Parameters
    ----------
    controller
        What a hierarchy of version 1 is called: memory, cpu, blkio.
    one, two
        File -> what is written to it, in version 1 and in version 2.
    """

    def __init__(self, controller: str, one: Mapping[str, str], two: Mapping[str, str]) -> None:
        is_one = (_ROOT / controller).is_dir()
        self.path = (_ROOT / controller if is_one else _ROOT) / (
            f"lambdatrace-test-{os.getpid()}-{os.urandom(2).hex()}"
        )
        self._controller = controller
        self._limits = one if is_one else two

    def __enter__(self) -> Limits:
        try:
            self.path.mkdir()
        except OSError as error:
            require(False, f"no {self._controller} cgroup can be made here: {error}")
        for file, text in self._limits.items():
            try:
                (self.path / file).write_text(text)
            except OSError as error:
                if "swap" in file or "memsw" in file:
                    continue  # a kernel without accounting of swap
                self.path.rmdir()
                require(False, f"a {self._controller} cgroup takes no limit here: {error}")
        return self

    def add(self, process_id: int) -> None:
        """Put a process into it."""
        (self.path / "cgroup.procs").write_text(str(process_id))

    def __exit__(self, *_: object) -> None:
        self.path.rmdir()


class Cgroup(Limits):
    """A memory limit, in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        one = {"memory.limit_in_bytes": str(limit), "memory.memsw.limit_in_bytes": str(limit)}
        super().__init__("memory", one, {"memory.max": str(limit), "memory.swap.max": "0"})

    def __enter__(self) -> Cgroup:
        super().__enter__()
        return self

    def kills(self) -> int:
        """How many processes the kernel has killed in here."""
        files = [self.path / "memory.oom_control", self.path / "memory.events"]
        for line in next(file for file in files if file.exists()).read_text().splitlines():
            name, number = line.split()
            if name == "oom_kill":
                return int(number)
        return 0


def cpu_quota(share: float, period_ms: int = 100) -> Limits:
    """So much of one CPU: what is left of each period when it is used up is waited for.

    Before whatever else wants the CPU, as far as weights can do that.
    """
    period = period_ms * 1000  # in us
    quota = round(share * period)
    one = {
        "cpu.cfs_period_us": str(period), "cpu.cfs_quota_us": str(quota), "cpu.shares": "262144",
    }  # fmt: skip
    return Limits("cpu", one, {"cpu.max": f"{quota} {period}", "cpu.weight": "10000"})


def slow_disk(folder: Path, bytes_a_second: int) -> Limits:
    """The disk that `folder` is on takes only so many bytes a second to be written."""
    device = folder.stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    place = Path("/sys/dev/block") / name
    require(place.exists(), f"{folder} is not on a disk")
    if (place / "partition").exists():
        name = (place.resolve().parent / "dev").read_text().strip()  # limits are whole disks'
    one = {"blkio.throttle.write_bps_device": f"{name} {bytes_a_second}"}
    return Limits("blkio", one, {"io.max": f"{name} wbps={bytes_a_second}"})
