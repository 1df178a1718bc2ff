"""`lambdatrace compare`: what two executions, or the slow and the usual ones, did differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.completion import complete_ids
from lambdatrace.cli.filtering import execution_filter, keeps, only_destinations
from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import (
    Display,
    FileSource,
    Output,
    Selection,
    SloOption,
    all_of_it,
    opened_store,
)
from lambdatrace.cli.reporting import raise_broken_slo, raise_unreadable
from lambdatrace.errors import UsageError

if TYPE_CHECKING:
    from lambdatrace.analysis.compare import Comparison
    from lambdatrace.cli.environment import Environment
    from lambdatrace.errors import StoreError
    from lambdatrace.model import Execution

EXAMPLES = """
\b
Examples:
  lambdatrace compare 4f2c @slowest
  lambdatrace compare @latest b700 --output json
  lambdatrace compare --slow --function checkout --since 7d
  lambdatrace compare --slow --function checkout --filter 'cold_start=false'
"""

ExecutionsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[A B]",
        help="Two executions: ids, beginnings of ids, @latest, @slowest.",
        show_default=False,
        autocompletion=complete_ids,
    ),
]
SlowOption = Annotated[
    bool, typer.Option("--slow", help="The slowest 1 % (B) against the usual ones (A).")
]


@grouped
def compare(
    context: typer.Context,
    executions: ExecutionsArgument = None,
    *,
    slow: SlowOption = False,
    selection: Selection,
    slo: SloOption = None,
    source: FileSource,
    display: Display,
) -> None:
    """Show what B did differently from A: part by part, destination by destination.

    --slow compares, of all executions of the window, those that took longer than 99 % with the
    fifth in the middle, by their means; give it --function. In --filter, conditions on a
    destination choose the destinations that are compared, others the executions.
    """
    from lambdatrace.analysis.slo import parse_slo

    environment: Environment = context.obj
    selection = all_of_it(environment, source, selection)
    named = executions or []
    if len(named) != (0 if slow else 2):
        raise UsageError(
            "compare takes two executions, or --slow and none",
            "as in compare 4f2c @slowest, or compare --slow --function checkout",
        )
    limits = parse_slo(slo)
    unreadable: list[StoreError] = []
    if slow:
        a, b = _usual_and_slow(environment, source, selection, unreadable)
    else:
        a, b = ([one] for one in _named(environment, source, selection, named))
    _write(environment, _compared(selection, a, b), display)
    raise_unreadable(unreadable)
    raise_broken_slo(limits, [*a, *b])


def _named(
    environment: Environment, source: FileSource, selection: Selection, named: list[str]
) -> list[Execution]:
    from lambdatrace.analysis.lookup import find_execution

    wanted = execution_filter(selection.where)
    window = selection.window(environment)
    with opened_store(environment, source) as opened:
        return [
            find_execution(opened, each, window, selection.function, lambda one: keeps(wanted, one))
            for each in named
        ]


def _usual_and_slow(
    environment: Environment, source: FileSource, selection: Selection, unreadable: list[StoreError]
) -> tuple[list[Execution], list[Execution]]:
    from lambdatrace.analysis.lookup import read_usual_and_slow, told_apart
    from lambdatrace.cli.reading import read_selected

    if selection.where:
        contents = read_selected(environment, source, selection)
        usual, slow = told_apart(
            contents.executions, lambda one: one.duration_ns, contents.unreadable
        )
    else:
        window = selection.window(environment)
        with opened_store(environment, source) as opened:
            usual, slow, contents = read_usual_and_slow(opened, window, selection.function)
    unreadable += contents.unreadable
    functions = {one.function for one in contents.executions}
    if len(functions) > 1:
        environment.note(f"{len(functions)} functions taken together; choose one with --function")
    return usual, slow


def _compared(selection: Selection, a: list[Execution], b: list[Execution]) -> Comparison:
    from lambdatrace.analysis.compare import compare as compared

    wanted = execution_filter(selection.where)
    return compared(*([only_destinations(wanted, one) for one in side] for side in (a, b)))


def _write(environment: Environment, comparison: Comparison, display: Display) -> None:
    from lambdatrace.cli.output import write_documents, write_object
    from lambdatrace.export import documents

    if display.output is Output.TABLE:
        from lambdatrace.cli.views.comparison import comparison_views

        environment.draw(*comparison_views(comparison), wide=display.wide)
        return
    document = documents.comparison_document(comparison)
    if display.output is Output.JSON:
        write_object(document, {}, environment.stdout)
        return
    rows = documents.comparison_rows(comparison)
    write_documents(rows, documents.COMPARISON_FIELDS, display.output, environment.stdout)
