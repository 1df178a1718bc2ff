"""Bars and sparklines inside a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import DIM

if TYPE_CHECKING:
    from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_ASCII_HEIGHTS = ".:-=+*%#"
NOTHING = " "


def share_bar(share: float, width: int, *, ascii_only: bool = False, style: str = "cyan") -> Text:
    """`share` (0 to 1) of `width` cells, to an eighth of a cell; never nothing for something."""
    if ascii_only:
        filled = max(round(share * width), int(share > 0))
        return Text("#" * filled + " " * (width - filled), style=style, no_wrap=True)
    eighths = min(8 * width, max(round(share * width * 8), int(share > 0)))
    whole, rest = divmod(eighths, 8)
    bar = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return Text(bar.ljust(width), style=style, no_wrap=True)


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> Text:
    """One cell a value, the highest one full; a blank where there is nothing."""
    glyphs = _ASCII_HEIGHTS if ascii_only else _HEIGHTS
    most = max(values, default=0)
    line = [
        glyphs[min(len(glyphs) - 1, int(value / most * len(glyphs)))] if value > 0 else NOTHING
        for value in values
    ]
    return Text("".join(line), style=DIM if not most else "cyan", no_wrap=True)
