"""Tables that choose their columns by the width at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.styled import NEWLINE, Segment, Text
from lambdatrace.cli.views.text import DIM
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult

_BETWEEN = 2  # blanks between two columns (tables.py)
# What a column that is folded keeps (cells) where there is no room for its `least` either.
_NARROWEST = 8


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


def numbers(heading: str, cells: Sequence[Text], rank: int = 0) -> Column:
    """A column of figures."""
    return Column(heading, cells, rank, "right")


def fitted(options: ConsoleOptions, *variants: Sequence[Column]) -> RenderableType:
    """A table of the first variant that fits into the width at hand, else of what of the last fits.

    It is drawn as rich's Table would draw it.
    """
    width, measure = options.max_width, _Measure()
    chosen = next(
        (list(each) for each in variants if measure.all(each) <= width), list(variants[-1])
    )
    while measure.all(chosen) > width and (rank := max(column.rank for column in chosen)):
        chosen = [column for column in chosen if column.rank != rank]
    _leave_out_figures(chosen, width, measure)
    left = width - measure.all(chosen)
    widths = []
    for column in chosen:
        needed = measure.needed(column)
        more = max(0, min(left, measure.natural(column) - needed))
        if left < 0:
            more = -min(-left, needed - measure.least(column))
        left -= more
        widths.append(needed + more)
    if all(
        column.cut or measure.natural(column) <= room
        for column, room in zip(chosen, widths, strict=True)
    ):
        return _Lines(chosen, widths)
    return _table(chosen, widths)


def _leave_out_figures(columns: list[Column], width: int, measure: _Measure) -> None:
    """In a terminal too narrow for what never goes: rather none of a column than a part.

    A figure whose end is cut off says something else.
    """
    while measure.narrowest(columns) > width:
        figures = [column for column in columns if column.justify == "right"]
        if len(figures) <= 1:
            return
        columns[:] = [column for column in columns if column is not figures[-1]]


class _Measure:
    """How wide columns are, in cells; those of several variants are measured once."""

    def __init__(self) -> None:
        self._longest: dict[int, int] = {}  # by the id of a column's cells, which outlive this

    def natural(self, column: Column) -> int:
        """A column's width if nothing is folded."""
        longest = self._longest.get(id(column.cells))
        if longest is None:
            longest = max((cell.cell_len for cell in column.cells), default=0)
            self._longest[id(column.cells)] = longest
        return max(len(column.heading), longest)

    def needed(self, column: Column) -> int:
        """The least width a column can be shown in."""
        natural = self.natural(column)
        if column.least is None:
            return natural
        return min(natural, max(column.least, len(column.heading)))

    def least(self, column: Column) -> int:
        """The same in a terminal too narrow for that."""
        needed = self.needed(column)
        return needed if column.least is None else min(needed, _NARROWEST)

    def all(self, columns: Sequence[Column]) -> int:
        """The least width all of them can be shown in."""
        return sum(map(self.needed, columns)) + _BETWEEN * (len(columns) - 1)

    def narrowest(self, columns: Sequence[Column]) -> int:
        """The same in a terminal too narrow for that."""
        return sum(map(self.least, columns)) + _BETWEEN * (len(columns) - 1)


class _Lines:
    """Where every cell is one line. As `_table`, in a fraction of its time."""

    def __init__(self, columns: Sequence[Column], widths: Sequence[int]) -> None:
        self._columns = columns
        self._widths = widths

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the head, a rule and the rows."""
        columns, widths = self._columns, self._widths
        heads = [Text(column.heading, style=DIM) for column in columns]
        cells = (column.cells for column in columns)
        for number, row in enumerate((heads, *zip(*cells, strict=True))):
            blanks = 0  # not written yet
            for cell, column, room in zip(row, columns, widths, strict=True):
                piece, free = cell, room - cell.cell_len
                if free < 0:
                    piece = cell.copy()
                    piece.truncate(room, overflow="ellipsis")
                    free = room - piece.cell_len
                before = free if column.justify == "right" else 0
                yield Segment(" " * (blanks + before))
                yield from piece.segments()
                blanks = free - before + _BETWEEN
            yield Segment(" " * (blanks - _BETWEEN))
            yield NEWLINE
            if not number:
                line = "-" if options.ascii_only else "─"
                yield Segment(line * (sum(widths) + _BETWEEN * (len(widths) - 1)))
                yield NEWLINE


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
