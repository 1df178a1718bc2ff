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
    from rich.console import RenderableType

    from lambdatrace.analysis.trace import Records
    from lambdatrace.cli.environment import Environment
    from lambdatrace.model import Trace, Verdict

EXAMPLES = """
\b
Examples:
  lambdatrace show @latest
  lambdatrace show @slowest --since 1h --function checkout
  lambdatrace show 4f2c
  lambdatrace show @latest --output json
"""


# What the parts are called in jsonl's lines and in json's arrays.
_ARRAYS = {
    "namelookup": "namelookups",
    "exchange": "exchanges",
    "blocked": "blocked",
    "pause": "pauses",
    "process": "processes",
    "extension": "extensions",
}


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
    from lambdatrace.analysis.lookup import comparable, find
    from lambdatrace.analysis.trace import read_records, without_syscalls
    from lambdatrace.analysis.usual import usual_figures
    from lambdatrace.analysis.verdict import judge

    environment: Environment = context.obj
    searched = window(environment, since, until)
    with opened_store(environment, store, table) as opened:
        found = find(opened, execution, searched, function)
        records = read_records(found.items)
        usual = usual_figures(comparable(opened, records.execution))
    decoded = without_syscalls(records)
    verdict = judge(decoded, usual)
    if found.attempts > 1:
        environment.note(f"{found.attempts} executions have this id (retries); this is one of them")
    if output is Output.TABLE:
        _draw(environment, records, decoded, verdict)
    else:
        _write(environment, records, decoded, verdict, output)


def _draw(environment: Environment, records: Records, trace: Trace, verdict: Verdict) -> None:
    from lambdatrace.analysis.phases import told_apart
    from lambdatrace.analysis.trace import elsewhere_left_out, syscall_totals
    from lambdatrace.analysis.waiting import blocked_totals
    from lambdatrace.cli.views.blocked import BlockedTable
    from lambdatrace.cli.views.connections import ConnectionTable
    from lambdatrace.cli.views.elsewhere import ElsewhereTable
    from lambdatrace.cli.views.execution import execution_view
    from lambdatrace.cli.views.namelookups import NamelookupTable
    from lambdatrace.cli.views.processes import ProcessTable
    from lambdatrace.cli.views.syscalls import syscall_table
    from lambdatrace.cli.views.timeline import Timeline
    from lambdatrace.cli.views.verdict import verdict_view

    execution, connections = trace.execution, trace.connections
    exchanges = told_apart(connections, trace.exchanges, _all_exchanges_kept(records))
    complete = _is_whole(records) and execution.connections <= len(connections)
    views: list[RenderableType] = [
        execution_view(execution, records.missing_chunks),
        verdict_view(verdict),
    ]
    if trace.namelookups:
        views.append(NamelookupTable(trace.namelookups))
    views.append(ConnectionTable(connections, exchanges, complete))
    if connections:
        views.append(Timeline(connections, exchanges, execution.duration_ns))
    if blocked := blocked_totals(trace.blocked):
        # What ended has its last name, and what is still there the one it connected with.
        names = {each.process_id: each.process_name for each in connections}
        names |= {each.process_id: each.name for each in trace.processes}
        views.append(BlockedTable(blocked, names, execution.folded.get("blocked", 0)))
    if any(process.parent_id for process in trace.processes):
        views.append(ProcessTable(trace.processes))
    if trace.elsewhere:
        views.append(ElsewhereTable(trace.elsewhere, elsewhere_left_out(records)))
    if totals := syscall_totals(records):
        views.append(syscall_table(totals))
    for number, view in enumerate(views):
        if number:
            environment.console.print()
        environment.console.print(view)


def _is_whole(records: Records) -> bool:
    """Whether nothing that was recorded is known to be missing."""
    return records.execution.dropped.is_whole and not records.missing_chunks


def _all_exchanges_kept(records: Records) -> bool:
    return _is_whole(records) and not records.execution.folded.get("exchanges")


def _write(
    environment: Environment, records: Records, trace: Trace, verdict: Verdict, output: Output
) -> None:
    from lambdatrace.analysis.phases import told_apart
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
    judged = documents.verdict_document(verdict)
    known = told_apart(trace.connections, trace.exchanges, _all_exchanges_kept(records))
    rows = [documents.connection_document(each, known.get(each.id)) for each in trace.connections]
    parts = {
        "namelookup": [documents.namelookup_document(each) for each in trace.namelookups],
        "exchange": [documents.exchange_document(each) for each in trace.exchanges],
        "blocked": [documents.blocked_document(each) for each in trace.blocked],
        "pause": [documents.pause_document(each) for each in trace.pauses],
        "extension": [documents.elsewhere_document(each) for each in trace.elsewhere],
        "process": [documents.process_document(each) for each in trace.processes],
    }
    if output is Output.CSV:
        write_csv(rows, documents.CONNECTION_FIELDS, environment.stdout)
    elif output is Output.JSONL:
        head = {"schema_version": version, "record": "connection"}
        firsts = [
            {**head, "record": "execution", **execution},
            {**head, "record": "verdict", **judged},
        ]
        write_lines(firsts, environment.stdout)
        write_lines(({**head, **row} for row in rows), environment.stdout)
        for kind, found in parts.items():
            head["record"] = kind
            write_lines([{**head, **row} for row in found], environment.stdout)
        prefix = f'"schema_version": {version}, "record": "syscall", '
        write_encoded(documents.syscall_lines(records, prefix), environment.stdout)
    else:
        arrays = {"connections": encoded(rows)}
        for kind, name in _ARRAYS.items():
            arrays[name] = encoded(parts[kind])
        if records.execution.level is Level.SYSCALLS:
            arrays["syscalls"] = documents.syscall_lines(records)
        members = {"schema_version": version, "execution": execution, "verdict": judged}
        write_object(members, arrays, environment.stdout)
