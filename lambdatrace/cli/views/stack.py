"""Views below one another, as one: rich's Group, without what that comes with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


class Stack:
    """`views`, the first on top."""

    def __init__(self, *views: RenderableType) -> None:
        self.views: Sequence[RenderableType] = views

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw all of them."""
        yield from self.views
