"""`lambdatrace show`: one execution: where its time went, and what happened when."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.completion import complete_ids
from lambdatrace.cli.filtering import CONNECTIONS, EXECUTIONS, connection_filter
from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import (
    Display,
    FileSource,
    Output,
    Selection,
    SloOption,
    WidthOption,
    all_of_it,
    opened_store,
)
from lambdatrace.cli.reporting import raise_broken_slo, warn_left_out
from lambdatrace.values import replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from lambdatrace.analysis.filters import Filter
    from lambdatrace.analysis.trace import Records
    from lambdatrace.cli.environment import Environment
    from lambdatrace.model import Execution, Trace, Verdict

EXAMPLES = """
\b
Examples:
  lambdatrace show @latest
  lambdatrace show @slowest --since 1h --function checkout
  lambdatrace show 4f2c --events --filter 'host~partner,duration_ms>=100'
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


@grouped
def show(
    context: typer.Context,
    execution: Annotated[
        str,
        typer.Argument(
            metavar="EXECUTION",
            help="An execution's id, the beginning of one, @latest or @slowest.",
            show_default=False,
            autocompletion=complete_ids,
        ),
    ],
    *,
    selection: Selection,
    slo: SloOption = None,
    events: Annotated[
        bool, typer.Option("--events", help="Besides, list every record: by kind, by start.")
    ] = False,
    width: WidthOption = None,
    source: FileSource,
    display: Display,
) -> None:
    """Show where the time of one execution went: into what, and what happened when.

    --since, --until and --function say where to look for @latest, @slowest and the beginning of
    an id. A whole id is found wherever it is. --filter chooses the connections that are shown;
    conditions on what only executions have (status, cold_start, …) choose among these instead.
    """
    from lambdatrace.analysis.lookup import find, recent
    from lambdatrace.analysis.slo import parse_slo
    from lambdatrace.analysis.trace import read_records, without_syscalls
    from lambdatrace.analysis.verdict import judge

    environment: Environment = context.obj
    selection = all_of_it(environment, source, selection)
    searched = selection.window(environment)
    wanted = connection_filter(selection.where)
    limits = parse_slo(slo)

    def fits(one: Execution) -> bool:
        if not wanted.on(EXECUTIONS):
            return True
        from lambdatrace.export import documents

        return wanted.holds(EXECUTIONS, documents.fields_document(one))

    with opened_store(environment, source) as opened:
        found = find(opened, execution, searched, selection.function, fits)
        records = read_records(found.items)
        one = records.execution
        usual = recent(opened, one.started_at_ns, one.function).usual(one)
    if found.attempts > 1:
        environment.note(f"{found.attempts} executions have this id (retries); this is one of them")
    warn_left_out(environment, found.left_out)
    with _without_collection():
        decoded = without_syscalls(records)
        verdict = judge(decoded, usual)
        if wanted.on(CONNECTIONS):
            decoded, verdict = _chosen(environment, records, decoded, verdict, wanted)
        if display.output is Output.TABLE:
            environment.set_width(width, wide=display.wide)
            filtered = bool(wanted.on(CONNECTIONS))
            _draw(environment, records, decoded, verdict, events=events, filtered=filtered)
        else:
            _write(environment, records, decoded, verdict, display.output)
    raise_broken_slo(limits, [records.execution])


def _chosen(
    environment: Environment, records: Records, trace: Trace, verdict: Verdict, wanted: Filter
) -> tuple[Trace, Verdict]:
    """The trace with the connections that pass the filter, and their exchanges.

    And the verdict, which names rows by their numbers among these.
    """
    from lambdatrace.analysis.phases import told_apart
    from lambdatrace.analysis.verdict import renumbered
    from lambdatrace.export import documents

    told = told_apart(trace.connections, trace.exchanges, records.all_exchanges_kept)
    chosen = {
        number: each
        for number, each in enumerate(trace.connections, 1)
        if wanted.holds(CONNECTIONS, documents.connection_document(each, told.get(each.id)))
    }
    environment.note(f"{len(chosen)} of {len(trace.connections)} connections pass the filter")
    ids = {each.id for each in chosen.values()}
    exchanges = {
        number: each for number, each in enumerate(trace.exchanges, 1) if each.connection_id in ids
    }
    left = replaced(trace, connections=tuple(chosen.values()), exchanges=tuple(exchanges.values()))
    return left, renumbered(verdict, {"connection": [*chosen], "exchange": [*exchanges]})


@contextmanager
def _without_collection() -> Iterator[None]:
    """No search for garbage: there is none, and among 100,000 records it takes a third of all."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _draw(
    environment: Environment,
    records: Records,
    trace: Trace,
    verdict: Verdict,
    *,
    events: bool,
    filtered: bool,
) -> None:
    from lambdatrace.analysis.phases import told_apart
    from lambdatrace.analysis.trace import elsewhere_left_out, syscall_totals
    from lambdatrace.analysis.waterfall import waterfall
    from lambdatrace.cli.views.execution import execution_view
    from lambdatrace.cli.views.partition import PartitionView
    from lambdatrace.cli.views.verdict import verdict_view
    from lambdatrace.cli.views.waterfall import WaterfallView

    exchanges = told_apart(trace.connections, trace.exchanges, records.all_exchanges_kept)
    names = trace.process_names
    complete = records.is_whole and (trace.execution.connections or 0) <= len(trace.connections)
    views: list[RenderableType] = [
        execution_view(trace.execution, records.missing_chunks),
        verdict_view(verdict),
        PartitionView(trace.execution, trace.pauses),
        WaterfallView(
            waterfall(trace, exchanges), exchanges, names, complete=complete, filtered=filtered
        ),
    ]
    # What few executions have is not loaded for the others.
    if trace.processes:
        from lambdatrace.cli.views.processes import failed_processes

        views += failed_processes(trace.processes)
    if events:
        from lambdatrace.cli.views.events import event_lists

        views += event_lists(trace, exchanges, syscall_totals(records), names)
    if trace.elsewhere:
        from lambdatrace.cli.views.elsewhere import elsewhere_list, elsewhere_note

        left_out = elsewhere_left_out(records)
        tell = elsewhere_list if events else elsewhere_note
        views.append(tell(trace.elsewhere, left_out))
    environment.draw(*views)


def _write(
    environment: Environment, records: Records, trace: Trace, verdict: Verdict, output: Output
) -> None:
    from lambdatrace.analysis.phases import told_apart
    from lambdatrace.cli.output import (
        encoded,
        write_csv,
        write_encoded,
        write_lines,
        write_object,
    )
    from lambdatrace.export import documents
    from lambdatrace.model import Level

    version = documents.SCHEMA_VERSION
    execution = documents.execution_document(records.execution, records.missing_chunks)
    judged = documents.verdict_document(verdict)
    known = told_apart(trace.connections, trace.exchanges, records.all_exchanges_kept)
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
