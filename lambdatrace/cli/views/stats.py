"""How the durations of many executions are distributed: what `stats` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.bars import share_bar
from lambdatrace.cli.views.columns import Column, fitted, numbers
from lambdatrace.cli.views.stack import Stack
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    DIM,
    UNKNOWN,
    counted,
    duration,
    duration_words,
    number,
    percent,
    safe,
    status_style,
)
from lambdatrace.model import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from lambdatrace.analysis.stats import Bin, Distribution
    from lambdatrace.analysis.taken import Taken

_SHARE_BAR = 10  # cells
_MAX_BAR = 60  # cells; longer ones say no more
_SHOWN_FUNCTIONS = 3


def stats_head(taken: Taken) -> RenderableType:
    """Which executions these are, and how they ended."""
    line = Text(counted(len(taken.durations_ns), "execution"))
    for status, count in _most_common(taken.statuses):
        line.append(", ").append(f"{count:,} {status}", style=status_style(Status(status)))
    line.append(f", {counted(taken.cold_starts, 'cold start')}", style=DIM)
    names = taken.functions
    title = Text(overflow="fold")
    for name, _ in _most_common(names)[:_SHOWN_FUNCTIONS]:
        title.append(", " if title else "").append_text(safe(name, "bold"))
    if len(names) > _SHOWN_FUNCTIONS:
        title.append(f" and {len(names) - _SHOWN_FUNCTIONS} more")
    return Stack(title, line)


def _most_common(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Of those that are equally common, the order of the alphabet."""
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


class DistributionTable:
    """One row for the durations and for each part that is known and took any time."""

    def __init__(self, rows: Sequence[Distribution]) -> None:
        self._rows = [row for row in rows if row.max]
        self._left_out = [row.name for row in rows if not row.count]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        rows = self._rows
        bars = [
            share_bar(row.share or 0.0, _SHARE_BAR, ascii_only=options.ascii_only) for row in rows
        ]
        yield fitted(
            options,
            [
                Column("", [Text(row.name) for row in rows]),
                numbers("share", [_share(row.share) for row in rows]),
                Column("", bars, 4),
                *(
                    numbers(name, [duration(getattr(row, name)) for row in rows], rank)
                    for name, rank in (("p50", 0), ("p90", 3), ("p95", 0), ("p99", 0), ("max", 2))
                ),
                numbers("known of", [number(row.count) for row in rows], 5),
            ],
        )
        if self._left_out:
            yield Text(f"not known: {', '.join(self._left_out)}", style=DIM)


class Histogram:
    """How many executions took how long: one row for each bin."""

    def __init__(self, bins: Sequence[Bin]) -> None:
        self._bins = bins

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it over the width at hand."""
        most = max((each.count for each in self._bins), default=0) or 1
        names = [duration_words(each.from_ns) for each in self._bins]
        width = max((len(name) for name in names), default=0)
        digits = len(f"{most:,}")
        room = max(8, min(_MAX_BAR, options.max_width - width - digits - 4))
        for name, each in zip(names, self._bins, strict=True):
            bar = share_bar(each.count / most, room, ascii_only=options.ascii_only)
            line = Text(f"{name:>{width}}  ", style=DIM, no_wrap=True)
            line.append_text(Text(f"{each.count:>{digits},}  ", style="not dim"))
            bar.rstrip()
            bar.style = "not dim cyan"
            yield line.append_text(bar)


def _share(share: float | None) -> Text:
    return Text(UNKNOWN) if share is None else percent(share, 1)
