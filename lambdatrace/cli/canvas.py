"""Where views are drawn: as rich's Console does it, which takes a tenth of `show` to load.

Views are rich renderables, made of our own Text and Segment, and those are drawn here. Where there
is anything of rich in one (a Table), a Console of the same kind lays that out; and where there are
colours, rich's Style says what they look like.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from lambdatrace.cli.views.styled import (
    NEWLINE,
    Segment,
    Text,
    cell_len,
    combined,
    cropped,
)
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import Console, RenderableType
    from rich.style import Style

    from lambdatrace.cli.views.styled import Styles

# As rich has it: where neither a terminal nor COLUMNS tells, and on one that is known to be dumb.
_WIDTH = 80
_DUMB = ("dumb", "unknown")
_MOST_DIGITS = 4  # of COLUMNS: wider is no terminal, and a bar of so many cells no bar
# For what views and rich put where a text is cut: one cell for one cell.
_STAND_INS = str.maketrans("…≥", "~>")
_TRUE_COLOR = ("truecolor", "24bit")  # COLORTERM
_COLORS = {"kitty": "EIGHT_BIT", "256color": "EIGHT_BIT"}  # ends of TERM


class Options(Value):
    """What a view is told of the room it has: rich's ConsoleOptions, as far as views look."""

    max_width: int  # cells
    ascii_only: bool  # the output can have nothing else


class Canvas:
    """Draws views to a stream of so many cells (as its terminal has, if `width` is None).

    `color`: auto (on a terminal, unless NO_COLOR is set), always or never. To a view it is the
    `console`.
    """

    def __init__(
        self, stream: TextIO, environ: Mapping[str, str], width: int | None = None, color: str = ""
    ) -> None:
        self._stream = stream
        self._environ = environ
        self._width = width
        self._always, self._never = color == "always", color == "never"
        self._looks: dict[Styles, Style] = {}

    @property
    def width(self) -> int:
        """How many cells a line has."""
        if self._width is not None:
            return self._width
        columns = self._environ.get("COLUMNS", "")
        if columns.isdecimal() and len(columns) <= _MOST_DIGITS and int(columns):
            return int(columns)  # on a dumb terminal, too, where rich does not ask
        if self._is_dumb:
            return _WIDTH
        for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
            try:
                return os.get_terminal_size(stream.fileno()).columns or _WIDTH  # type: ignore[union-attr]
            except (AttributeError, ValueError, OSError):
                continue  # not a terminal
        return _WIDTH

    @width.setter
    def width(self, width: int) -> None:
        self._width = width

    def draw(self, view: RenderableType) -> None:
        """Draw one view; what is wider than there is room for is cut off."""
        whole: Any = view
        if isinstance(view, Text):
            whole = Text(end="\n").append_text(view)
        width = self.width
        drawn = self._drawn(cropped(self.render(whole, Options(width, self._ascii_only)), width))
        self._put(self._in_place(drawn) if self._ascii_only else drawn)

    def write(self, text: Text, end: str = "\n") -> None:
        """Text as it is, however long its lines are: to be copied, or folded by the terminal."""
        drawn = self._drawn(_joined(text.split(), end))
        self._put(drawn.translate(_STAND_INS) if self._ascii_only else drawn)

    def render(self, view: Any, options: Options) -> Iterator[Segment]:
        """The segments that a view is made of."""
        if isinstance(view, Segment):
            yield view
        elif isinstance(view, Text):
            yield from _joined(view.folded(options.max_width), view.end)
        elif type(view).__module__.startswith("rich."):
            known = self._console.options.update(max_width=options.max_width)
            for text, style, _ in self._console.render(view, known):
                yield Segment(text, (style,) if style else ())
        else:
            for each in view.__rich_console__(self, options):
                yield from self.render(each, options)

    def _put(self, drawn: str) -> None:
        self._stream.write(drawn)
        self._stream.flush()

    def _in_place(self, drawn: str) -> str:
        """What the output has no character for as so many others as it takes cells."""
        drawn = drawn.translate(_STAND_INS)
        encoding = self._stream.encoding
        missing = [mark for mark in set(drawn) if not mark.isascii() and not _has(encoding, mark)]
        return drawn.translate({ord(mark): "?" * cell_len(mark) for mark in missing})

    def _drawn(self, segments: Iterable[Segment]) -> str:
        system = self._color_system
        if system is None:
            return "".join([segment.text for segment in segments])
        from rich.color import ColorSystem

        depth = ColorSystem[system]
        return "".join(
            self._look(segment.styles).render(segment.text, color_system=depth)
            if segment.styles
            else segment.text
            for segment in segments
        )

    def _look(self, styles: Styles) -> Style:
        """What a piece of text in these styles looks like."""
        if styles not in self._looks:
            look = combined(styles)
            self._looks[styles] = look.without_color if self._is_colorless else look
        return self._looks[styles]

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(
            file=self._stream,
            width=self.width,
            # Nothing in a trace is to be taken for markup, and nothing in it is worth guessing at.
            markup=False,
            emoji=False,
            highlight=False,
            _environ=self._environ,
        )

    @cached_property
    def _ascii_only(self) -> bool:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return not encoding.lower().startswith("utf")

    @cached_property
    def _color_system(self) -> str | None:
        """The name of one of rich's ColorSystem; None for none."""
        if self._never or not self._is_terminal or self._is_dumb:
            return None
        if self._environ.get("COLORTERM", "").strip().lower() in _TRUE_COLOR:
            return "TRUECOLOR"
        term = self._environ.get("TERM", "").strip().lower()
        return _COLORS.get(term.rpartition("-")[2], "STANDARD")

    @cached_property
    def _is_colorless(self) -> bool:
        """Whether colours are left out of styles (no-color.org)."""
        return not self._always and self._environ.get("NO_COLOR", "") != ""

    @cached_property
    def _is_terminal(self) -> bool:
        compatible, forced = (self._environ.get(each) for each in ("TTY_COMPATIBLE", "FORCE_COLOR"))
        if self._always or compatible == "1":
            return True
        if compatible == "0":
            return False
        return self._stream.isatty() if forced is None else forced != ""

    @cached_property
    def _is_dumb(self) -> bool:
        term = self._environ.get("TERM", "").lower()
        return self._is_terminal and not self._always and term in _DUMB


def _has(encoding: str, mark: str) -> bool:
    try:
        mark.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _joined(lines: Iterable[Text], end: str) -> Iterator[Segment]:
    """Lines one below the other, and what comes behind the last."""
    for number, line in enumerate(lines):
        if number:
            yield NEWLINE
        yield from line.segments()
    yield Segment(end)
