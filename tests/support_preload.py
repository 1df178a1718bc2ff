"""The preloaded library outside Lambda: programs under it, and what it has recorded of them."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from support_probe import Watch, environment

from lambdatrace.capture import CAPTURE
from lambdatrace.preload.backend import Preload
from lambdatrace.preload.build import library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIBRARY = library(platform.machine())


class PreloadWatch(Watch):
    """A mapping, and everything that has been recorded in it so far."""

    def __init__(self, sensor: Preload, path: str) -> None:
        super().__init__(sensor)  # type: ignore[arg-type]  # the parts that are used are alike
        self.sensor = sensor
        self.path = path

    def environ(self, **more: str) -> dict[str, str]:
        """What has a program write into it."""
        own = {"LD_PRELOAD": str(LIBRARY), "LAMBDATRACE_PRELOAD_MAP": self.path}
        return environment(**{**own, **more})

    def run(
        self, *command: str | Path, timeout: float = 60, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """A program under the library; it must succeed."""
        ran = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self.environ(**more),
        )
        assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr}{ran.stdout}"
        return ran


@contextlib.contextmanager
def preloading(folder: Path | None = None, **options: Any) -> Iterator[PreloadWatch]:
    """A new mapping, in `folder`; Preload.create's options."""
    with tempfile.TemporaryDirectory(prefix="lambdatrace-test-", dir=folder) as own:
        path = os.path.join(own, "map")  # noqa: PTH118  # a string is what is passed on
        known = {"capture": frozenset(CAPTURE), "threshold_ns": 1_000_000, **options}
        sensor = Preload.create(path, **known)
        try:
            yield PreloadWatch(sensor, path)
        finally:
            sensor.close()
