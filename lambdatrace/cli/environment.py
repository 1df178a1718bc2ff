"""What a command runs in: its streams, its environment variables and its clock.

Given to each command instead of being looked up, so that tests can fake a terminal.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import RenderableType

    from lambdatrace.cli.canvas import Canvas
    from lambdatrace.cli.views.styled import Text
    from lambdatrace.store.file import FileStore

# Where there is no terminal to ask (a file, a pipe, a CI log).
WIDTH_WITHOUT_TERMINAL = 120
# With so many cells every view of one execution has room for all that it can show; and tables.
WIDE = 200
WIDEST = 1_000


class Environment:
    """Streams, environment variables, clock (ns since the epoch) and sleep (s) of one command.

    `width` (cells) overrides the terminal's.
    """

    def __init__(
        self,
        *,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
        width: int | None = None,
    ) -> None:
        self.stdin = sys.stdin if stdin is None else stdin
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.environ = os.environ if environ is None else environ
        self.now_ns = clock
        self.sleep = sleep
        self.color = "auto"  # always, never: as typed
        self.file: FileStore | None = None  # that of --from, while it is open
        self._width = width

    @cached_property
    def canvas(self) -> Canvas:
        """Where views are drawn; colours only on a terminal and not under NO_COLOR, or as typed."""
        from lambdatrace.cli.canvas import Canvas

        width = self._width
        if width is None and not self.stdout.isatty() and "COLUMNS" not in self.environ:
            width = WIDTH_WITHOUT_TERMINAL
        return Canvas(self.stdout, self.environ, width, self.color)

    def set_width(self, width: int | None, *, wide: bool) -> None:
        """Draw `width` cells wide, if given; at least as wide as there is something to show."""
        if width is not None:
            self.canvas.width = width
        if wide:
            self.canvas.width = max(self.canvas.width, WIDE)

    def draw(self, *views: RenderableType, wide: bool = False) -> None:
        """Draw views, an empty line between them; `wide`: as wide as they get."""
        if wide:
            self.canvas.width = max(self.canvas.width, WIDEST)
        for number, view in enumerate(views):
            if number:
                print(file=self.stdout)
            self.canvas.draw(view)

    def write(self, text: Text, end: str = "\n") -> None:
        """Text whose lines are left as long as they are."""
        self.canvas.write(text, end)

    @property
    def debug(self) -> bool:
        """Whether an unexpected error shows its traceback."""
        return self.environ.get("LAMBDATRACE_DEBUG", "") not in ("", "0")

    @property
    def interactive(self) -> bool:
        """Whether there is somebody who can be asked."""
        return self.stdin.isatty()

    def confirm(self, question: str) -> bool:
        """Ask the person; no answer is a no."""
        print(f"{question} [y/N] ", end="", file=self.stderr, flush=True)
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def note(self, text: str) -> None:
        """One line for the person, apart from the data."""
        self._complain("note", text)

    def warn(self, text: str) -> None:
        """One line about something that makes the result less than it should be."""
        self._complain("warning", text)

    def error(self, message: str, hint: str = "") -> None:
        """What went wrong, in one line, and what to do about it, in another."""
        self._complain("error", message)
        if hint:
            self._complain("hint", hint)

    def _complain(self, label: str, text: str) -> None:
        # Messages name what was typed or stored: untrusted, like everything that is shown.
        try:
            print(f"{label}: {clean(text)}", file=self.stderr, flush=True)
        except OSError:
            return  # nobody listens: what was found is not the worse for it
