"""`lambdatrace top-destinations`: where the executions of a window spent their time."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.options import (
    DEFAULT_LIMIT,
    DEFAULT_SINCE,
    FunctionOption,
    LimitOption,
    Output,
    OutputOption,
    SinceOption,
    StoreOption,
    TableOption,
    UntilOption,
    opened_store,
    searched,
    window,
)
from lambdatrace.cli.reporting import nothing_found, raise_unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.analysis.destinations import DestinationRow
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace top-destinations --since 1h
  lambdatrace top-destinations --since 2d --function checkout --sort connect
  lambdatrace top-destinations --sort errors --limit 5
  lambdatrace top-destinations --output csv > destinations.csv
"""


class Sort(StrEnum):
    """What destinations are ordered by, the most first."""

    TIME = "time"
    CONNECT = "connect"
    CONNECTIONS = "connections"
    ERRORS = "errors"
    BYTES = "bytes"
    EXECUTIONS = "executions"


SortOption = Annotated[
    Sort,
    typer.Option("--sort", help="The most first; connect means the 95th percentile."),
]


def top_destinations(
    context: typer.Context,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    function: FunctionOption = None,
    sort: SortOption = Sort.TIME,
    limit: LimitOption = DEFAULT_LIMIT,
    store: StoreOption = None,
    table: TableOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Rank the destinations of many executions: connections, errors, bytes, connect times.

    Time is the sum over connections of connecting, waiting and transferring.
    """
    from lambdatrace.analysis.lookup import read_window

    environment: Environment = context.obj
    wanted = window(environment, since, until)
    with opened_store(environment, store, table) as opened:
        contents = read_window(opened, wanted, function)
    rows: list[DestinationRow] = []
    if contents.executions:
        # Takes longer than everything else here: not before there is something to count.
        from lambdatrace.analysis.destinations import destination_rows

        rows = destination_rows(contents.executions)
        rows.sort(key=lambda row: _weight(row, sort), reverse=True)
    _write(environment, rows[:limit], output)
    if not contents.executions and not contents.unreadable:
        nothing_found(environment, searched(since, until), function)
    elif not rows and not contents.unreadable:
        environment.note(f"no connections {searched(since, until)}")
    elif len(rows) > limit:
        environment.note(f"{len(rows) - limit} more; see them with --limit {len(rows)}")
    if contents.destinations_left_out:
        environment.warn(
            f"{contents.destinations_left_out} destinations are not counted: "
            "their executions had more than a summary keeps"
        )
    raise_unreadable(contents.unreadable)


def _weight(row: DestinationRow, sort: Sort) -> int:
    return {
        Sort.TIME: row.time_ns,
        Sort.CONNECT: row.connect_p95_ns or 0,
        Sort.CONNECTIONS: row.connections,
        Sort.ERRORS: row.errors,
        Sort.BYTES: row.bytes_out + row.bytes_in,
        Sort.EXECUTIONS: row.executions,
    }[sort]


def _write(environment: Environment, rows: Sequence[DestinationRow], output: Output) -> None:
    from lambdatrace.cli import documents
    from lambdatrace.cli.output import write_array, write_csv, write_lines

    if output is Output.TABLE:
        from lambdatrace.cli.views.destinations import DestinationTable

        if rows:
            environment.console.print(DestinationTable(rows))
        return
    found = (documents.destination_document(row) for row in rows)
    if output is Output.JSON:
        write_array(found, environment.stdout)
    elif output is Output.JSONL:
        write_lines(found, environment.stdout)
    else:
        write_csv(found, documents.DESTINATION_FIELDS, environment.stdout)
