"""Destinations over many executions as a table: what `top-destinations` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.bars import sparkline
from lambdatrace.cli.views.columns import Column, fitted, numbers
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    GOOD,
    UNKNOWN,
    WARNING,
    destination,
    duration,
    number,
    percent,
    safe,
    size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.analysis.destinations import DestinationRow

# Changes by less than this much are nobody's business.
_NOTABLE = 0.2
_MOST_CHANGE = 99.5  # above, only that it is
_PHASES = ("dns", "connect", "tls", "wait")
# Which columns stay longest: a wait, and what is rare and bad, say more than a middle connect time.
_RANKS = {
    "wait p95": 1, "errors": 2, "connect p95": 3, "change": 4, "over time": 5, "wait p50": 6,
    "execs": 7, "conns": 8, "reused": 9, "wait p99": 10, "connect p50": 11, "tls p95": 12,
    "dns p95": 13, "connect p99": 14, "in": 15, "out": 16, "tls p50": 17, "tls p99": 18,
    "dns p50": 19, "dns p99": 20,
}  # fmt: skip


class DestinationTable:
    """One row for each destination, in the order given."""

    def __init__(self, rows: Sequence[DestinationRow]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        rows = self._rows
        phases = [
            numbers(
                f"{phase} {quantile}",
                [duration(getattr(getattr(row, phase), quantile)) for row in rows],
                _RANKS[f"{phase} {quantile}"],
            )
            for phase in _PHASES
            for quantile in ("p50", "p95", "p99")
        ]
        lines = [sparkline(row.cells, ascii_only=options.ascii_only) for row in rows]
        yield fitted(
            options,
            [
                Column("destination", [_where(row) for row in rows], least=24),
                _ranked("execs", [number(row.executions) for row in rows]),
                _ranked("conns", [number(row.connections) for row in rows]),
                _ranked("reused", [_share(row.reuse_ratio) for row in rows]),
                _ranked("errors", [number(row.errors, BAD) for row in rows]),
                _ranked("out", [size(row.bytes_out) for row in rows]),
                _ranked("in", [size(row.bytes_in) for row in rows]),
                *phases,
                numbers("time", [duration(row.time_ns) for row in rows]),
                numbers("share", [_share(row.share) for row in rows]),
                _ranked("change", [_change(row) for row in rows]),
                Column("over time", lines, _RANKS["over time"]),
            ],
        )


def _ranked(heading: str, cells: Sequence[Text]) -> Column:
    return numbers(heading, cells, _RANKS[heading])


def _where(row: DestinationRow) -> Text:
    if row.function is not None:
        return safe(row.function)
    if row.port is None or row.protocol is None:
        return Text(UNKNOWN)
    if row.address is None:
        return Text(f"port {row.port}" + ("" if row.protocol == "tcp" else f"/{row.protocol}"))
    return destination(row.host, row.address, row.port, row.protocol)


def _share(share: float | None) -> Text:
    return Text(UNKNOWN) if share is None else percent(share, 1)


def _change(row: DestinationRow) -> Text:
    change = row.change
    if row.time_ns is None:
        return Text(UNKNOWN)
    if change is None:
        return Text("new", style=DIM)
    if change > _MOST_CHANGE:
        return Text("> +9,900%", style=WARNING)
    style = WARNING if change >= _NOTABLE else GOOD if change <= -_NOTABLE else DIM
    rounded = round(100 * change)
    return Text(f"{rounded:+,}%" if rounded else "0%", style=style)
