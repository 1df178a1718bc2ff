"""What a report of a bug has to name: `lambdatrace --version --verbose`."""

from __future__ import annotations

import platform
import sqlite3
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lambdatrace import __version__, interchange, items

_PACKAGE = Path(__file__).parents[1]
# What it stands on, and what some of it needs besides.
_LIBRARIES = ("boto3", "botocore", "numpy", "pandas", "rich", "typer", "click")
_OPTIONAL = ("awslambdaric", "pyarrow")


def version_lines() -> list[str]:
    """One fact a line: its name, blanks, what it is."""
    facts = {
        "lambdatrace": __version__,
        "probe": f"sha256 {_digest('bpf/probe.bin')}, of probe.c {_digest('bpf/probe.c')}",
        "schema": f"items {items.SCHEMA_VERSION}, exports {interchange.VERSION}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in (*_LIBRARIES, *_OPTIONAL)},
    }
    return [f"{name:<13}{value}" for name, value in facts.items()]


def _digest(name: str) -> str:
    try:
        return sha256((_PACKAGE / name).read_bytes()).hexdigest()[:16]
    except OSError:
        return "missing"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
