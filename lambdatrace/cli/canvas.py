"""Where views are drawn: as rich's Console does it, which takes a tenth of `show` to load.

Views are rich renderables, made of Text and Segment, and those are drawn here. Where there is
anything else of rich in one (a Table), a Console of the same kind lays that out.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import Console, JustifyMethod, OverflowMethod, RenderableType

# As rich has it: where neither a terminal nor COLUMNS tells, and on one that is known to be dumb.
_WIDTH = 80
_DUMB = ("dumb", "unknown")
_MOST_DIGITS = 4  # of COLUMNS: wider is no terminal, and a bar of so many cells no bar
# For what views and rich put where a text is cut: one cell for one cell.
_STAND_INS = str.maketrans("…≥", "~>")
_TRUE_COLOR = ("truecolor", "24bit")  # COLORTERM
_COLORS = {"kitty": ColorSystem.EIGHT_BIT, "256color": ColorSystem.EIGHT_BIT}  # ends of TERM


class Options(Value):
    """What a view is told of the room it has: rich's ConsoleOptions, as far as views look."""

    max_width: int  # cells
    ascii_only: bool  # the output can have nothing else
    justify: JustifyMethod | None = None
    overflow: OverflowMethod | None = None
    no_wrap: bool | None = None

    def update(self, *, width: int, height: None = None, **changes: Any) -> Options:
        """The same with other values, and with all the height it takes."""
        return replaced(self, max_width=width, **changes)


class Canvas:
    """Draws views to a stream of so many cells (as its terminal has, if `width` is None).

    `color`: auto (on a terminal, unless NO_COLOR is set), always or never. To a view it is the
    `console`.
    """

    tab_size = 8

    def __init__(
        self, stream: TextIO, environ: Mapping[str, str], width: int | None = None, color: str = ""
    ) -> None:
        self._stream = stream
        self._environ = environ
        self._width = width
        self._always, self._never = color == "always", color == "never"

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
        options = Options(width, self._ascii_only)
        lines = Segment.split_and_crop_lines(self.render(whole, options), width, pad=False)
        self._put(segment for line in lines for segment in line)

    def write(self, text: Text, end: str = "\n") -> None:
        """Text as it is, however long its lines are: to be copied, or folded by the terminal."""
        lines = Text().append_text(text).split(allow_blank=True)
        self._put(Text("\n").join(lines).render(self, end=end))  # type: ignore[arg-type]

    def get_style(self, name: str | Style, *, default: Style | None = None) -> Style:
        """The style that a definition (`bold red`) means. `default` is for rich: all of ours are
        good.
        """
        return name if isinstance(name, Style) else Style.parse(name)

    def render(self, view: Any, options: Options) -> Iterator[Segment]:
        """The segments that a view is made of."""
        if isinstance(view, Text) or not type(view).__module__.startswith("rich."):
            for each in view.__rich_console__(self, options):
                if isinstance(each, Segment):
                    yield each
                else:
                    yield from self.render(each, options)
        else:
            known = self._console.options
            yield from self._console.render(view, known.update(max_width=options.max_width))

    def render_lines(self, view: Any, options: Options, *, style: Style) -> list[list[Segment]]:
        """A view's lines, each filled up with blanks, in `style`."""
        styled = Segment.apply_style(self.render(view, options), style)
        return list(
            Segment.split_and_crop_lines(
                styled, options.max_width, style=style, include_new_lines=False
            )
        )

    def _put(self, segments: Iterable[Segment]) -> None:
        system = self._color_system
        if system is not None and self._is_colorless:
            segments = Segment.remove_color(segments)
        drawn = "".join(
            style.render(text, color_system=system) if style else text
            for text, style, _ in segments
        )
        self._stream.write(drawn.translate(_STAND_INS) if self._ascii_only else drawn)
        self._stream.flush()

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
    def _color_system(self) -> ColorSystem | None:
        if self._never or not self._is_terminal or self._is_dumb:
            return None
        if self._environ.get("COLORTERM", "").strip().lower() in _TRUE_COLOR:
            return ColorSystem.TRUECOLOR
        term = self._environ.get("TERM", "").strip().lower()
        return _COLORS.get(term.rpartition("-")[2], ColorSystem.STANDARD)

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
        return self._is_terminal and self._environ.get("TERM", "").lower() in _DUMB
