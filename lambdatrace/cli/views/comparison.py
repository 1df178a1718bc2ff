"""Two executions, or two groups of them, side by side: what `compare` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from lambdatrace.cli.views.columns import Column, fitted, numbers
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    GOOD,
    UNKNOWN,
    counted,
    destination,
    duration,
    duration_words,
    number,
    safe,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from lambdatrace.analysis.compare import Comparison, PartRow, PlaceRow, Side

# What is less than this share of the whole difference is not in colour.
_NOTABLE = 0.1
_SHOWN_PLACES = 20
# Heading, name and rank (columns.py); those that are 0 everywhere are left out.
_FIGURES = (
    ("time", "time_ns", 0),
    ("longest wait", "longest_wait_ns", 2),
    ("requests", "requests", 3),
    ("conns", "connections", 4),
    ("errors", "errors", 1),
)


def comparison_views(comparison: Comparison) -> list[RenderableType]:
    """The head, then the parts, then the destinations; what differs most stands first."""
    scale = abs(comparison.b.duration_ns - comparison.a.duration_ns)
    views: list[RenderableType] = [_head(comparison)]
    parts = [row for row in comparison.parts if row.a_ns or row.b_ns]
    if parts:
        views.append(PartTable(parts, scale))
    else:
        views.append(Text("what the time went into is not known of both", style=DIM))
    if comparison.places:
        views.append(PlaceTable(comparison.places, scale))
    return views


def _head(comparison: Comparison) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        grid.add_row(Text(name), _side(side), duration(side.duration_ns))
    difference = comparison.b.duration_ns - comparison.a.duration_ns
    grid.add_row(Text("B-A"), Text(""), _difference(difference, abs(difference)))
    return grid


def _side(side: Side) -> Text:
    if side.execution_id is not None:
        return safe(side.execution_id)
    return Text(f"the mean of {counted(side.executions, 'execution')}")


class PartTable:
    """One row for each part of the time."""

    def __init__(self, rows: Sequence[PartRow], scale_ns: int) -> None:
        self._rows = rows
        self._scale_ns = scale_ns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        rows = self._rows
        yield fitted(
            options,
            [
                Column("part", [Text(str(row.part)) for row in rows]),
                numbers("A", [duration(row.a_ns) for row in rows]),
                numbers("B", [duration(row.b_ns) for row in rows]),
                numbers("B-A", [_difference(row.difference_ns, self._scale_ns) for row in rows]),
            ],
        )


class PlaceTable:
    """One row for each destination."""

    def __init__(self, rows: Sequence[PlaceRow], scale_ns: int) -> None:
        self._rows = rows[:_SHOWN_PLACES]
        self._more = len(rows) - len(self._rows)
        self._scale_ns = scale_ns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        rows = self._rows
        figures = [
            numbers(
                f"{side.upper()} {heading}",
                [
                    duration(getattr(getattr(row, side), name, None))
                    if name.endswith("_ns")
                    else _count(getattr(getattr(row, side), name, None))
                    for row in rows
                ],
                rank,
            )
            for heading, name, rank in _FIGURES
            if not rank or any(getattr(side, name, None) for row in rows for side in (row.a, row.b))
            for side in ("a", "b")
        ]
        where = [destination(row.host, row.host, row.port, row.protocol) for row in rows]
        difference = [_difference(row.difference_ns, self._scale_ns) for row in rows]
        yield fitted(
            options,
            [
                Column("destination", where, least=20),
                *figures[:2],
                numbers("B-A", difference),
                *figures[2:],
            ],
        )
        if self._more > 0:
            yield Text(f"… and {self._more:,} more, --output json has them all", style=DIM)


def _difference(ns: int | None, scale_ns: int) -> Text:
    if ns is None:
        return Text(UNKNOWN)
    sign = "+" if ns > 0 else ""
    notable = abs(ns) >= _NOTABLE * scale_ns and ns
    style = DIM if not notable else BAD if ns > 0 else GOOD
    return Text(sign + duration_words(ns), style=style, no_wrap=True)


def _count(value: float | None) -> Text:
    if value is None:
        return Text(UNKNOWN)
    if value == int(value):
        return number(int(value))
    return Text(f"{value:,.1f}" if value >= 1 else f"{value:.2g}", no_wrap=True)
