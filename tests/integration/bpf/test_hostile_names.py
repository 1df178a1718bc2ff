"""Names of processes come from the traced program: they cannot reach the terminal as anything but
text.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import support_probe as kernel
from support_servers import Servers

if TYPE_CHECKING:
    from pathlib import Path

# 15 bytes at most; no NUL.
NAMES = [
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"[bold red]x[/]",
    b"[/]",
    b"[link=x:y]z",
    b"\x9b2J\xff\xfe\x80",
    b"two\nlines\r\tx",
    "\u202eevil\u2066".encode(),
    b":boom:",
    b"=1+1",
]


@pytest.fixture
def traced(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A store with one execution of a program with such names, and what was recorded of it."""
    with Servers() as servers:
        program = kernel.PROGRAMS / "hostile_name.py"
        names = [name.hex() for name in NAMES]
        command = [sys.executable, "-S", program, str(servers.sink()), *names]
        document = kernel.trace(tmp_path, command)
    return f"sqlite://{tmp_path / 'store.db'}", document


def show(store: str, output: str, **more: str) -> str:
    shown = kernel.lambdatrace(
        "show", "@latest", "--events", "--store", store, "--output", output, COLUMNS="250", **more
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_names_come_out_as_text(traced: tuple[str, dict[str, Any]]) -> None:
    store, document = traced
    recorded = [row["process"] for row in document["connections"]]
    assert recorded == [name.decode("utf-8", "replace") for name in NAMES]

    for output in ("table", "json", "jsonl", "csv"):
        shown = show(store, output)
        assert all(mark.isprintable() for line in shown.split("\n") for mark in line), output
        # The brackets are rich's own language: they were not taken for it.
        for name in ("[bold red]x[/]", "[link=x:y]z", ":boom:"):
            assert name in shown, output

    assert "'=1+1" in show(store, "csv")  # no formula for a spreadsheet


def test_names_cannot_use_the_colours_of_a_terminal(traced: tuple[str, dict[str, Any]]) -> None:
    store, _ = traced
    shown = show(store, "table", FORCE_COLOR="1", TERM="xterm-256color")
    # rich's own escapes are of this form only; what is left is text.
    text = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert text != shown
    assert "\\x1b[31mred" in text
    assert all(mark.isprintable() for line in text.split("\n") for mark in line)
