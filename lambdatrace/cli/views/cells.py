"""Text that takes one line, as segments: in a fifth of the time in which rich lays out any Text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def segments(cell: Text, console: Console, before: int = 0, after: int = 0) -> list[Segment]:
    """A text without line breaks, with blanks (cells) before and after it in its own style."""
    if not cell.spans:
        style = cell.style if isinstance(cell.style, Style) else console.get_style(cell.style)
        return [Segment(" " * before + cell.plain + " " * after, style)]
    padded = cell.copy()
    padded.pad_left(before)
    padded.pad_right(after)
    if cell.style:
        padded.stylize_before(cell.style)
    return list(padded.render(console))
