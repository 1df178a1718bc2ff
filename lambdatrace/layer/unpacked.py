"""The layer of this machine, built and unpacked once, for runs without Lambda."""

from __future__ import annotations

import functools
import io
import os
import platform
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.errors import LayerError
from lambdatrace.layer.build import Layer, build, compiled
from lambdatrace.layer.contents import Architecture

if TYPE_CHECKING:
    from collections.abc import Mapping

_MACHINES = {
    "x86_64": Architecture.X86_64,
    "aarch64": Architecture.ARM64,
    "arm64": Architecture.ARM64,
}
_KEPT_S = 7 * 24 * 3600.0


@functools.cache
def unpacked_layer() -> Path:
    """A folder with the layer's files as Lambda has them in /opt, for this machine and this Python.

    Kept in `$XDG_CACHE_HOME/lambdatrace/layers`, by the hash of what is in it. Raises LayerError.
    """
    architecture = machine_architecture()
    version = sys.version.split()[0]
    kept = f"{build(architecture).sha256}-{sys.implementation.cache_tag}-{version}"
    folder = _cache(os.environ) / kept
    if not folder.is_dir():
        try:
            _unpack(build(architecture, compiled([Path(sys.executable)])), folder)
        except OSError as error:
            raise LayerError(
                f"the layer cannot be unpacked in {folder.parent}: {error.strerror}",
                "name another folder with XDG_CACHE_HOME",
            ) from error
        _forget_old(folder)
    return folder


def machine_architecture() -> Architecture:
    """The one of this machine. Raises LayerError for one that Lambda does not have."""
    machine = platform.machine()
    if machine not in _MACHINES:
        raise LayerError(
            f"there is no layer for {machine}", f"Lambda has {' and '.join(Architecture)}"
        )
    return _MACHINES[machine]


def _unpack(layer: Layer, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent))
    beside.chmod(0o755)
    with zipfile.ZipFile(io.BytesIO(layer.content)) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, beside))
            path.chmod(entry.external_attr >> 16 & 0o777)
    try:
        beside.rename(folder)
    except OSError:
        # Somebody else was quicker.
        shutil.rmtree(beside)
        if not folder.is_dir():
            raise


def _forget_old(folder: Path) -> None:
    """Remove what was unpacked beside `folder` long ago: every change of the agent makes one."""
    for other in folder.parent.iterdir():
        if other != folder and other.stat().st_mtime < time.time() - _KEPT_S:
            shutil.rmtree(other, ignore_errors=True)


def _cache(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_CACHE_HOME", "")
    if not home.startswith("/"):  # the specification: relative ones are to be ignored
        home = (environ.get("HOME") or str(Path("~").expanduser())) + "/.cache"
    return Path(home) / "lambdatrace/layers"
