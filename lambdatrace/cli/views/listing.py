"""Every row of a long list, as a table: of its own, for rich's take a millisecond a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.styled import NEWLINE, Segment, Text
from lambdatrace.cli.views.text import DIM, cut_middle
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

_GAP = 2


class Column(Value):
    """One column with all of its cells, each one line.

    Of those that do not fit the one with the highest `rank` goes first; 0 never goes. What is
    wider than `least` (cells) may be cut to that, in its middle.
    """

    heading: str
    cells: Sequence[Text]
    rank: int = 0
    right: bool = True
    least: int | None = None

    @property
    def natural(self) -> int:
        """Its width (cells) if nothing is cut."""
        return max(len(self.heading), max((each.cell_len for each in self.cells), default=0))


class Listing:
    """A table of columns; those without anything in them are left out."""

    def __init__(self, title: str, columns: Sequence[Column]) -> None:
        self.title = title
        self._columns = columns

    @property
    def columns(self) -> list[Column]:
        """Those that have anything in them, or always stand there."""
        return [each for each in self._columns if not each.rank or any(each.cells)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as many columns as there is room for."""
        columns, widths = self._fitted(options.max_width)
        mark = ".." if options.ascii_only else "…"
        gap = Segment(" " * _GAP)
        yield Text(self.title, style="bold")
        heads = [Text(each.heading, style=DIM) for each in columns]
        rule = Text(
            ("-" if options.ascii_only else "─") * (sum(widths) + _GAP * len(widths) - _GAP)
        )
        for row in (heads, [rule], *zip(*(each.cells for each in columns), strict=True)):
            for place, cell in enumerate(row):
                if place:
                    yield gap
                if row[0] is rule:
                    yield from cell.segments()
                    continue
                shown, width = cell, widths[place]
                if cell.cell_len > width:
                    shown = cut_middle(cell, width, mark)
                blanks = Segment(" " * (width - shown.cell_len))
                if columns[place].right:
                    yield blanks
                yield from shown.segments()
                if not columns[place].right and place < len(columns) - 1:
                    yield blanks
            yield NEWLINE

    def _fitted(self, width: int) -> tuple[list[Column], list[int]]:
        columns = self.columns
        natural = {id(each): each.natural for each in columns}

        def excess(least: bool) -> int:
            needed = _GAP * (len(columns) - 1) - width
            for each in columns:
                own = natural[id(each)]
                needed += (
                    min(own, max(each.least, len(each.heading))) if least and each.least else own
                )
            return needed

        while excess(least=True) > 0 and any(each.rank for each in columns):
            columns.remove(max(columns, key=lambda each: each.rank))
        # Where there is no room for the others: a figure whose end is cut off says something else.
        while excess(least=True) > 0 and sum(each.right for each in columns) > 1:
            columns.remove([each for each in columns if each.right][-1])
        over = max(0, excess(least=False))
        widths = []
        for each in columns:
            own = natural[id(each)]
            spare = max(0, own - max(each.least, len(each.heading))) if each.least else 0
            widths.append(own - min(spare, over))
            over -= min(spare, over)
        return columns, widths
