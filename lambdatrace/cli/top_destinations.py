"""`lambdatrace top-destinations`: where the executions of a window spent their time."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.analysis.destinations import By
from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import (
    DEFAULT_LIMIT,
    Display,
    FileSource,
    LimitOption,
    Output,
    Selection,
    SloOption,
    all_of_it,
    opened_store,
)
from lambdatrace.cli.reporting import nothing_found, raise_unreadable
from lambdatrace.errors import BrokenSloError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace.analysis.destinations import DestinationRow
    from lambdatrace.analysis.filters import Filter
    from lambdatrace.analysis.tallying import Tallied
    from lambdatrace.analysis.times import Window
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace top-destinations --since 1h
  lambdatrace top-destinations --since 2d --function checkout --sort wait
  lambdatrace top-destinations --sort errors --limit 5
  lambdatrace top-destinations --by function --filter 'host~partner'
  lambdatrace top-destinations --filter 'wait_p95_ms>=100,status!=ok'
  lambdatrace top-destinations --since 1h --slo connect=100,wait=800
  lambdatrace top-destinations --output csv > destinations.csv
"""


class Sort(StrEnum):
    """What destinations are ordered by, the most first."""

    TIME = "time"
    CHANGE = "change"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    WAIT = "wait"
    EXECUTIONS = "executions"
    CONNECTIONS = "connections"
    ERRORS = "errors"
    BYTES = "bytes"


SortOption = Annotated[
    Sort,
    typer.Option("--sort", help="The most first; dns, connect, tls and wait by their p95."),
]
ByOption = Annotated[
    By,
    typer.Option(
        "--by", help="What makes a row: host (or address) and port, or one of the others."
    ),
]
# Where there is no change in figures: the first and the last of all.
_NEW, _UNKNOWN = float("inf"), float("-inf")
# What a summary keeps of each destination.
_PHASES = ("dns", "connect", "tls", "wait")


@grouped
def top_destinations(
    context: typer.Context,
    *,
    selection: Selection,
    by: ByOption = By.HOST,
    sort: SortOption = Sort.TIME,
    limit: LimitOption = DEFAULT_LIMIT,
    slo: SloOption = None,
    source: FileSource,
    display: Display,
) -> None:
    """Rank the destinations of many executions: how long each took, and what changed.

    Time is the sum over connections of connecting, waiting and transferring; change compares what
    an execution spent there with the window of the same length before. --slo is about the p99.
    """
    from lambdatrace.analysis.slo import parse_slo
    from lambdatrace.analysis.times import Window
    from lambdatrace.analysis.words import counted
    from lambdatrace.cli.filtering import ROWS, destination_filter

    environment: Environment = context.obj
    selection = all_of_it(environment, source, selection)
    wanted = destination_filter(selection.where)
    limits = parse_slo(slo, _PHASES)
    window = selection.window(environment)
    span = window.until_ns - window.since_ns
    earlier = Window(max(0, window.since_ns - span), max(0, window.since_ns - 1))
    found, before = _tallied(environment, source, selection, wanted, by, (window, earlier))
    rows = found.tally.rows(before.tally)
    if wanted.on(ROWS):
        from lambdatrace.export.documents import destination_document

        rows = [row for row in rows if wanted.holds(ROWS, destination_document(row))]
    rows.sort(key=lambda row: _weight(row, sort), reverse=True)
    _write(environment, rows[:limit], display)
    if not found.executions and not found.unreadable:
        nothing_found(environment, selection)
    elif not rows and not found.unreadable and not found.tally.corrupt:
        what = "destination passes the filter" if wanted.on(ROWS) else "connections"
        environment.note(f"no {what} {selection.words}")
    elif len(rows) > limit:
        environment.note(f"{len(rows) - limit} more; see them with --limit {len(rows)}")
    if found.destinations_left_out:
        environment.warn(
            f"{counted(found.destinations_left_out, 'destination')} not counted: "
            "their executions had more than a summary keeps"
        )
    raise_unreadable(found.unreadable)
    if found.tally.corrupt:
        raise StoreError(
            f"{counted(found.tally.corrupt, 'destination')} left out: corrupt figures",
            "the others are counted",
        )
    _raise_broken_slo(limits, rows)


def _tallied(
    environment: Environment,
    source: FileSource,
    selection: Selection,
    wanted: Filter,
    by: By,
    windows: Sequence[Window],
) -> Sequence[Tallied]:
    """The destinations in each window. Raises UsageError, StoreError."""
    from lambdatrace.analysis.destinations import Tally
    from lambdatrace.analysis.lookup import read_window
    from lambdatrace.analysis.tallying import Tallied
    from lambdatrace.cli.crew import Crew
    from lambdatrace.cli.filtering import DESTINATIONS, EXECUTIONS, keeps, only_destinations

    def empty() -> list[Tallied]:
        return [Tallied(Tally(by, window), selection.function) for window in windows]

    if wanted.on(EXECUTIONS) or wanted.on(DESTINATIONS):
        # All of each execution has to be read.
        tallied = empty()
        with opened_store(environment, source) as opened:
            for each, window in zip(tallied, windows, strict=True):
                contents = read_window(opened, window, selection.function)
                each.add_chosen(
                    contents,
                    lambda one: only_destinations(wanted, one) if keeps(wanted, one) else None,
                )
        return tallied
    with Crew(empty) as crew, opened_store(environment, source) as opened:
        for number, window in enumerate(windows):
            crew.tally(number, opened, window)
        return crew.results()


def _weight(row: DestinationRow, sort: Sort) -> float:
    if sort in (Sort.DNS, Sort.CONNECT, Sort.TLS, Sort.WAIT):
        return getattr(row, sort).p95 or 0
    return {
        Sort.TIME: row.time_ns or 0,
        # What is new has no change in figures, and no other is as large.
        Sort.CHANGE: _UNKNOWN
        if row.time_ns is None
        else _NEW
        if row.change is None
        else row.change,
        Sort.EXECUTIONS: row.executions,
        Sort.CONNECTIONS: row.connections,
        Sort.ERRORS: row.errors or 0,
        Sort.BYTES: row.bytes_out + row.bytes_in,
    }[sort]


def _raise_broken_slo(limits: Mapping[str, int], rows: Sequence[DestinationRow]) -> None:
    from lambdatrace.analysis.slo import broken

    if not limits:
        return
    found = [
        (row, broken(limits, {name: getattr(row, name).p99 for name in _PHASES})) for row in rows
    ]
    late = [(row, names) for row, names in found if names]
    if late:
        row, names = late[0]
        where = row.function or row.host or row.address or "port"
        raise BrokenSloError(
            f"{len(late)} of {len(rows)} destinations broke the limits, by their p99",
            f"the first is {where} {row.port or ''} ({', '.join(names)})",
        )


def _write(environment: Environment, rows: Sequence[DestinationRow], display: Display) -> None:
    if display.output is Output.TABLE:
        if rows:
            from lambdatrace.cli.views.destinations import DestinationTable

            environment.draw(DestinationTable(rows), wide=display.wide)
        return
    from lambdatrace.cli.output import write_documents
    from lambdatrace.export import documents

    found = (documents.destination_document(row) for row in rows)
    write_documents(found, documents.DESTINATION_FIELDS, display.output, environment.stdout)
