"""The command line without a terminal: one command in an environment of its own."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import support_traces as traces

from lambdatrace.cli.environment import Environment
from lambdatrace.cli.main import program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import RenderableType

# An hour after the executions of support_traces.
NOW_NS = traces.STARTED_NS + traces.HOUR_NS


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


def run(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    width: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Run one command; it sees no environment variable but those given."""
    stdout, stderr = io.StringIO(), io.StringIO()
    environment = Environment(
        stdout=stdout, stderr=stderr, environ=environ or {}, clock=lambda: NOW_NS, sleep=sleep,
        width=width,
    )  # fmt: skip
    code = program(arguments, environment)
    return Result(code, stdout.getvalue(), stderr.getvalue())


class _Stream(io.StringIO):
    """One with an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def rendered(
    *renderables: RenderableType, width: int, color: bool = False, encoding: str = "utf-8"
) -> list[str]:
    """Views as lines of text, without the blanks at their ends."""
    stdout = _Stream(encoding)
    environ = {"FORCE_COLOR": "1", "TERM": "xterm-256color"} if color else {}
    canvas = Environment(stdout=stdout, environ=environ, width=width).canvas
    for renderable in renderables:
        canvas.draw(renderable)
    return [line.rstrip() for line in stdout.getvalue().splitlines()]
