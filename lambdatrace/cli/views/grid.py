"""Cells in columns of known widths, without head and lines: rich's Table.grid in half its time.

That measures what is known here, and loading it takes as long as drawing one execution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.styled import NEWLINE, Segment
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from lambdatrace.cli.views.styled import Justify, Overflow, Text

_GAP = 2  # blanks between two columns


class GridColumn(Value):
    """How wide (cells) a column is, and what its cells look like."""

    width: int
    style: str = ""
    justify: Justify = "left"
    no_wrap: bool = True
    overflow: Overflow = "ellipsis"


def facts_grid(facts: Sequence[tuple[Text, Text]], style: str) -> Grid:
    """Labels in `style`, and behind each what there is to say, folded where it is long."""
    return Grid(
        [
            GridColumn(max(label.cell_len for label, _ in facts), style),
            GridColumn(max(value.cell_len for _, value in facts), no_wrap=False, overflow="fold"),
        ],
        facts,
    )


class Grid:
    """Rows of cells, one for each of `columns`; the last may be folded to what room there is."""

    def __init__(self, columns: Sequence[GridColumn], rows: Sequence[Sequence[Text]]) -> None:
        self._columns = columns
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the rows; as rich does where there is no room for them."""
        widths = [column.width for column in self._columns]
        free = options.max_width - sum(widths[:-1]) - _GAP * (len(widths) - 1)
        last = self._columns[-1]
        if free < (widths[-1] if last.no_wrap else 1):
            yield self._squeezed()
            return
        widths[-1] = min(widths[-1], free)
        styles = [(column.style,) if column.style else () for column in self._columns]
        # What stands behind each cell, and in its place where others have more lines.
        behind = [*(Segment(" " * _GAP, style) for style in styles[:-1]), Segment("")]
        blanks = [
            Segment(" " * width + gap.text, style)
            for width, gap, style in zip(widths, behind, styles, strict=True)
        ]
        for row in self._rows:
            cells = [
                cell.folded(width, column.justify, column.overflow, no_wrap=column.no_wrap)
                for cell, width, column in zip(row, widths, self._columns, strict=True)
            ]
            for number in range(max(map(len, cells))):
                for lines, gap, blank, style in zip(cells, behind, blanks, styles, strict=True):
                    if number < len(lines):
                        yield from lines[number].segments(style)
                        yield gap
                    else:
                        yield blank
                yield NEWLINE

    def _squeezed(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, _GAP, 0, 0))
        for column in self._columns:
            table.add_column(
                style=column.style,
                justify=column.justify,
                no_wrap=column.no_wrap,
                overflow=column.overflow,
                width=column.width if column.no_wrap else None,
            )
        for row in self._rows:
            table.add_row(*row)
        return table
