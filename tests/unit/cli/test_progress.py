"""What is seen of a long read, and that nothing is where nobody looks."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from lambdatrace.cli import progress
from lambdatrace.cli.environment import Environment

if TYPE_CHECKING:
    import pytest


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    stderr = _Terminal()
    environ = {"TERM": "xterm-256color", "COLUMNS": "100"}
    bar = progress.Bar(Environment(stderr=stderr, environ=environ), 0, 100)
    bar.moment_ns, bar.count, bar.more = 40, 1_234, ", 7 MB"
    deadline = time.monotonic() + 60
    while "1,234 executions, 7 MB" not in stderr.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    bar.stop()


_ENDED = """
import os, signal, sys, time
from lambdatrace.cli import progress
from lambdatrace.cli.environment import Environment

progress.AFTER_S = 0.0
bar = progress.Bar(Environment(), 0, 100)
try:
    time.sleep(60)
finally:
    bar.stop()
"""


def test_who_is_ended_under_a_bar_shows_the_cursor_again() -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDED],
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(terminal)
    seen = b""
    while b"executions" not in seen:
        seen += os.read(controller, 4096)
    process.terminate()
    with contextlib.suppress(OSError):  # the terminal's end
        while more := os.read(controller, 4096):
            seen += more
    os.close(controller)
    assert process.wait() == 128 + signal.SIGTERM
    assert seen.count(b"\x1b[?25l") == seen.count(b"\x1b[?25h") == 1


def test_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    stderr = io.StringIO()
    bar = progress.Bar(Environment(stderr=stderr, environ={}), 0, 100)
    time.sleep(0.3)
    bar.stop()
    assert stderr.getvalue() == ""
