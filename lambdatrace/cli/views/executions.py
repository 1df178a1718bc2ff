"""Many executions as a table: what `list` and `tail` show."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lambdatrace.analysis.largest import largest
from lambdatrace.analysis.words import counted
from lambdatrace.cli.views.bars import share_bar
from lambdatrace.cli.views.columns import Column, fitted, numbers
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    UNKNOWN,
    WARNING,
    destination,
    duration,
    moment,
    number,
    percent,
    safe,
    status_style,
)
from lambdatrace.model import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.model import Execution, Verdict

_BAR = 6  # cells
_SHORTEST_ID = 8
_WHOLE_ID = 40  # a request id has 36 characters; folded, longer ones would be unreadable
_YEAR = len("2026-")
_CLOCK = len("2026-11-22 ")
_SECONDS = len(":00")
_SUBJECT = 60  # characters
_WHOLE = 10_000  # verdicts' shares have four digits
_ENDINGS = {"other.crash": "crashed", "other.out_of_memory": "out of memory"}


class ExecutionTable:
    """One row for each of `executions` with its verdict; short ids stay unique among `ids`.

    Bars are to the scale of the longest.
    """

    def __init__(
        self, executions: Sequence[Execution], ids: Sequence[str], verdicts: Sequence[Verdict]
    ) -> None:
        self._executions = executions
        self._ids = ids
        self._verdicts = verdicts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table for the width at hand."""
        rows = self._executions
        scale = max((row.duration_ns for row in rows), default=0) or 1
        moments = [moment(row.started_at_ns) for row in rows]
        bars = [
            share_bar(row.duration_ns / scale, _BAR, ascii_only=options.ascii_only) for row in rows
        ]
        status = [Text(str(row.status), style=status_style(row.status)) for row in rows]
        verdicts = list(map(verdict_text, rows, self._verdicts))
        figures = [
            numbers("took", [duration(row.duration_ns) for row in rows]),
            Column("", bars, 4),
            Column("status", status),
        ]
        counts = [
            numbers("conns", [number(row.connections) for row in rows], 6),
            numbers("errors", [number(row.errors, BAD) for row in rows], 5),
        ]
        dropped = []
        if any(row.dropped.total for row in rows):
            cells = [number(row.dropped.total, WARNING) for row in rows]
            dropped.append(numbers("dropped", cells, 1))
        start = [Text("cold" if row.cold_start else "warm", style=DIM) for row in rows]
        functions = Column("function", [safe(row.function) for row in rows], least=8)
        short = [self._id_column(), functions, _short_moments(moments), *figures]
        yield fitted(
            options,
            [
                *(self._id_column(_WHOLE_ID), functions, Column("started UTC", moments), *figures),
                *(_verdicts(verdicts, 40), Column("start", start, 7), *counts, *dropped),
            ],
            [*short, _verdicts(verdicts, 40), *counts, *dropped],
            [*short, _verdicts(verdicts, 30), *dropped],
            [*short, _verdicts(verdicts, 24), *counts, *dropped],
        )

    def _id_column(self, length: int | None = None) -> Column:
        shown = unique_length(self._ids) if length is None else length
        return Column("execution", [safe(each.execution_id[:shown]) for each in self._executions])


def _verdicts(cells: Sequence[Text], least: int) -> Column:
    return Column("verdict", cells, 2, least=least, cut=True)


def _short_moments(moments: Sequence[Text]) -> Column:
    """Without the year; one day for all stands in the head."""
    days = {each.plain[_YEAR:_CLOCK] for each in moments}
    if len(days) == 1:
        return Column(f"{days.pop().strip()} UTC", [each[_CLOCK:] for each in moments], 3)
    return Column("started UTC", [each[_YEAR:-_SECONDS] for each in moments], 3)


def verdict_text(execution: Execution, verdict: Verdict) -> Text:
    """`83% wait api.example:443`: cause and destination, or that nothing stands out here.

    Then, in the same words, what the largest part was; of one that failed, where errors were.
    """
    text = Text(no_wrap=True, overflow="ellipsis")
    if verdict.cause in _ENDINGS:
        return text.append(_ENDINGS[verdict.cause], BAD)
    if verdict.cause is not None:
        text.append_text(percent(round(verdict.share * _WHOLE), _WHOLE))
        text.append(f" {verdict.cause}", "bold")
        if verdict.destination is not None:
            text.append(" ").append_text(safe(verdict.destination, limit=_SUBJECT))
        return text
    failed = [each for each in execution.destinations if each.errors]
    if execution.status is Status.ERROR and failed:
        # What the function made of them its summary does not tell; `show` looks at the order.
        most = max(failed, key=lambda each: each.errors)
        text.append(f"{counted(sum(each.errors for each in failed), 'error')} ", BAD)
        text.append_text(destination(most.host, most.address, most.port, most.protocol))
        others = len(failed) - 1
        return text.append(f" and {counted(others, 'other')}") if others else text
    found = largest(execution)
    if found is None:
        return text.append(UNKNOWN)
    if execution.status is Status.ERROR:
        # A certificate or a name that was refused, or its own exception: no summary tells of that.
        text.append("failed, show may tell why, ")
    else:
        text.append("nothing stands out, ", DIM)
    text.append(f"{percent(found.ns, execution.duration_ns).plain.strip()} {found.part}", DIM)
    if found.subject is not None:
        text.append(" ").append_text(safe(found.subject, DIM, _SUBJECT))
    return text


def unique_length(ids: Sequence[str]) -> int:
    """How many characters tell all these ids apart; at least eight."""
    ordered = sorted(set(ids))
    needed = _SHORTEST_ID
    for one, other in pairwise(ordered):
        common = 0
        for a, b in zip(one, other, strict=False):
            if a != b:
                break
            common += 1
        needed = max(needed, common + 1)
    return needed
