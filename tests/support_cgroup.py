"""Cgroups that limit the memory of whoever is put into them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from support import require


class Cgroup:
    """A memory limit for whoever is put into it; of either version."""

    def __init__(self, limit: int) -> None:
        name = f"lambdatrace-test-{os.getpid()}"
        self.limit = limit
        self.path = Path("/sys/fs/cgroup") / name
        self._files = "memory.max", "memory.swap.max", "memory.events"
        if Path("/sys/fs/cgroup/memory").is_dir():
            self.path = Path("/sys/fs/cgroup/memory") / name
            self._files = (
                "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control",
            )  # fmt: skip

    def __enter__(self) -> Cgroup:
        limit, swap, _ = self._files
        try:
            self.path.mkdir()
        except OSError as error:
            require(False, f"no memory cgroup can be made here: {error}")
        try:
            (self.path / limit).write_text(str(self.limit))
        except OSError as error:
            self.path.rmdir()
            require(False, f"a memory cgroup takes no limit here: {error}")
        with contextlib.suppress(OSError):  # a kernel without accounting of swap
            (self.path / swap).write_text("0" if "max" in swap else str(self.limit))
        return self

    def add(self, process_id: int) -> None:
        """Put a process into it."""
        (self.path / "cgroup.procs").write_text(str(process_id))

    def kills(self) -> int:
        """How many processes the kernel has killed in here."""
        for line in (self.path / self._files[2]).read_text().splitlines():
            name, number = line.split()
            if name == "oom_kill":
                return int(number)
        return 0

    def __exit__(self, *_: object) -> None:
        self.path.rmdir()
