"""`lambdatrace show`: one execution, connection by connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.options import (
    DEFAULT_SINCE,
    FunctionOption,
    Output,
    OutputOption,
    SinceOption,
    StoreOption,
    TableOption,
    UntilOption,
    opened_store,
    window,
)

if TYPE_CHECKING:
    from lambdatrace.analysis.trace import Records
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace show @latest
  lambdatrace show @slowest --since 1h --function checkout
  lambdatrace show 4f2c
  lambdatrace show @latest --output json
"""


def show(
    context: typer.Context,
    execution: Annotated[
        str,
        typer.Argument(
            metavar="EXECUTION",
            help="An execution's id, the beginning of one, @latest or @slowest.",
            show_default=False,
        ),
    ],
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    function: FunctionOption = None,
    store: StoreOption = None,
    table: TableOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show where the time of one execution went: its connections, and when each did what.

    --since, --until and --function say where to look for @latest, @slowest and the beginning of
    an id. A whole id is found wherever it is.
    """
    from lambdatrace.analysis.lookup import find
    from lambdatrace.analysis.trace import read_records

    environment: Environment = context.obj
    searched = window(environment, since, until)
    with opened_store(environment, store, table) as opened:
        found = find(opened, execution, searched, function)
    if found.attempts > 1:
        environment.note(f"{found.attempts} executions have this id (retries); this is one of them")
    records = read_records(found.items)
    if output is Output.TABLE:
        _draw(environment, records)
    else:
        _write(environment, records, output)


def _draw(environment: Environment, records: Records) -> None:
    from lambdatrace.analysis.trace import connections, namelookups, syscall_totals
    from lambdatrace.cli.views.connections import ConnectionTable
    from lambdatrace.cli.views.execution import execution_view
    from lambdatrace.cli.views.namelookups import NamelookupTable
    from lambdatrace.cli.views.syscalls import syscall_table
    from lambdatrace.cli.views.timeline import Timeline

    console = environment.console
    decoded = connections(records)
    complete = not (
        records.missing_chunks
        or records.execution.dropped.total
        or records.execution.connections > len(decoded)
    )
    console.print(execution_view(records.execution, records.missing_chunks))
    console.print()
    lookups = namelookups(records)
    if lookups:
        console.print(NamelookupTable(lookups))
        console.print()
    console.print(ConnectionTable(decoded, complete))
    if decoded:
        console.print()
        console.print(Timeline(decoded, records.execution.duration_ns))
    totals = syscall_totals(records)
    if totals:
        console.print()
        console.print(syscall_table(totals))


def _write(environment: Environment, records: Records, output: Output) -> None:
    from lambdatrace.analysis.trace import connections, namelookups
    from lambdatrace.cli import documents
    from lambdatrace.cli.output import (
        encoded,
        write_csv,
        write_encoded,
        write_lines,
        write_object,
    )
    from lambdatrace.model import Level

    version = documents.SCHEMA_VERSION
    execution = documents.execution_document(records.execution, records.missing_chunks)
    rows = [documents.connection_document(connection) for connection in connections(records)]
    names = [documents.namelookup_document(lookup) for lookup in namelookups(records)]
    if output is Output.CSV:
        write_csv(rows, documents.CONNECTION_FIELDS, environment.stdout)
    elif output is Output.JSONL:
        head = {"schema_version": version, "record": "connection"}
        write_lines([{**head, "record": "execution", **execution}], environment.stdout)
        write_lines(({**head, **row} for row in rows), environment.stdout)
        head["record"] = "namelookup"
        write_lines(({**head, **row} for row in names), environment.stdout)
        prefix = f'"schema_version": {version}, "record": "syscall", '
        write_encoded(documents.syscall_lines(records, prefix), environment.stdout)
    else:
        arrays = {"connections": encoded(rows), "namelookups": encoded(names)}
        if records.execution.level is Level.SYSCALLS:
            arrays["syscalls"] = documents.syscall_lines(records)
        members = {"schema_version": version, "execution": execution}
        write_object(members, arrays, environment.stdout)
