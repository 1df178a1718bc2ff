"""Tables that choose their columns by the width at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from lambdatrace.cli.views.text import DIM
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import ConsoleOptions, JustifyMethod, RenderableType

_BETWEEN = 2  # blanks between two columns (tables.py)


class Column(Value):
    """One column with all of its cells.

    Of those that do not fit the ones with the highest `rank` go first; 0 never goes. One with
    `least` (cells) may be made that narrow: it is folded, or cut with `cut`.
    """

    heading: str
    cells: Sequence[Text]
    rank: int = 0
    justify: JustifyMethod = "left"
    least: int | None = None
    cut: bool = False

    @property
    def natural(self) -> int:
        """Its width (cells) if nothing is folded."""
        return max(len(self.heading), *(cell.cell_len for cell in self.cells), 0)

    @property
    def needed(self) -> int:
        """The least width (cells) it can be shown in."""
        if self.least is None:
            return self.natural
        return min(self.natural, max(self.least, len(self.heading)))


def numbers(heading: str, cells: Sequence[Text], rank: int = 0) -> Column:
    """A column of figures."""
    return Column(heading, cells, rank, "right")


def fitted(options: ConsoleOptions, *variants: Sequence[Column]) -> RenderableType:
    """A table of the first variant that fits into the width at hand, else of what of the last fits.

    It is drawn as rich's Table would draw it.
    """
    width = options.max_width
    chosen = next((list(each) for each in variants if _needed(each) <= width), list(variants[-1]))
    while _needed(chosen) > width and (rank := max(column.rank for column in chosen)):
        chosen = [column for column in chosen if column.rank != rank]
    left = width - _needed(chosen)
    widths = []
    for column in chosen:
        more = max(0, min(left, column.natural - column.needed))
        left -= more
        widths.append(column.needed + more)
    if all(
        column.cut or column.natural <= room for column, room in zip(chosen, widths, strict=True)
    ):
        return _lines(chosen, widths, "-" if options.ascii_only else "─")
    return _table(chosen, widths)


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.needed for column in columns) + _BETWEEN * (len(columns) - 1)


def _lines(columns: Sequence[Column], widths: Sequence[int], line: str) -> Text:
    """Where every cell is one line. As `_table`, in a quarter of its time."""
    whole = Text(no_wrap=True, end="")
    heads = [Text(column.heading, style=DIM) for column in columns]
    rule = line * (sum(widths) + _BETWEEN * (len(widths) - 1))
    for number, row in enumerate((heads, *zip(*(column.cells for column in columns), strict=True))):
        blanks = 0  # not written yet
        for cell, column, room in zip(row, columns, widths, strict=True):
            piece = cell
            if cell.cell_len > room:
                piece = cell.copy()
                piece.truncate(room, overflow="ellipsis")
            free = room - piece.cell_len
            before = free if column.justify == "right" else 0
            whole.append(" " * (blanks + before)).append_text(piece)
            blanks = free - before + _BETWEEN
        whole.append(" " * (blanks - _BETWEEN) + "\n")
        if not number:
            whole.append(f"{rule}\n")
    return whole


def _table(columns: Sequence[Column], widths: Sequence[int]) -> RenderableType:
    from lambdatrace.cli.views.tables import new_table

    table = new_table()
    for column, room in zip(columns, widths, strict=True):
        table.add_column(
            column.heading,
            justify=column.justify,
            no_wrap=column.least is None or column.cut,
            overflow="ellipsis" if column.cut else "fold",
            width=room,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table
