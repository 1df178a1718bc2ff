"""`lambdatrace stats`: how long a function's executions took, and each part of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # which looks at what commands take

from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import (
    AnySource,
    Display,
    FileSource,
    Output,
    Selection,
    SloOption,
    all_of_it,
    opened_store,
)
from lambdatrace.cli.reading import read_selected
from lambdatrace.cli.reporting import nothing_found, raise_unreadable
from lambdatrace.errors import BrokenSloError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace.analysis.stats import Distribution
    from lambdatrace.analysis.taken import Taken
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace stats --function checkout --since 7d
  lambdatrace stats --filter 'cold_start=false,status=ok'
  lambdatrace stats --function checkout --slo total=500,connect=100
  lambdatrace stats --output csv > stats.csv
"""


@grouped
def stats(
    context: typer.Context,
    selection: Selection,
    *,
    slo: SloOption = None,
    source: FileSource,
    display: Display,
) -> None:
    """Show how durations are distributed, and what the executions' time went into.

    Each quantile is a time that one execution really took: so many of all took no longer. --slo is
    about the p99.
    """
    from lambdatrace.analysis.slo import parse_slo
    from lambdatrace.analysis.stats import distributions

    environment: Environment = context.obj
    selection = all_of_it(environment, source, selection)
    limits = parse_slo(slo)
    taken = _taken(environment, source, selection)
    rows = distributions(taken)
    _write(environment, taken, rows, display)
    if not taken.durations_ns and not taken.unreadable:
        nothing_found(environment, selection)
    raise_unreadable(taken.unreadable)
    _raise_broken_slo(limits, rows)


def _taken(environment: Environment, source: AnySource, selection: Selection) -> Taken:
    """The times of the executions that were chosen. Raises UsageError, StoreError."""
    from lambdatrace.analysis.taken import Taken
    from lambdatrace.cli.crew import Crew

    if selection.where is not None:
        # All of each execution has to be read.
        contents = read_selected(environment, source, selection)
        found = Taken(selection.function)
        found.add_executions(contents.executions)
        found.unreadable += contents.unreadable
        return found
    window = selection.window(environment)
    with (
        Crew(lambda: [Taken(selection.function)]) as crew,
        opened_store(environment, source) as opened,
    ):
        crew.tally(0, opened, window)
        return crew.results()[0]


def _write(
    environment: Environment, taken: Taken, rows: Sequence[Distribution], display: Display
) -> None:
    from lambdatrace.analysis.stats import histogram
    from lambdatrace.cli.output import encoded, write_documents, write_object
    from lambdatrace.export import documents

    bins = histogram(taken.durations_ns)
    if display.output is Output.TABLE:
        from lambdatrace.cli.views.stats import DistributionTable, Histogram, stats_head

        if taken.durations_ns:
            environment.draw(
                stats_head(taken),
                DistributionTable(rows),
                Histogram(bins),
                wide=display.wide,
            )
        return
    found = [documents.distribution_document(row) for row in rows]
    if display.output is Output.JSON:
        members = {
            "schema_version": documents.SCHEMA_VERSION,
            "function": taken.function,
            "executions": len(taken.durations_ns),
            "histogram": [documents.bin_document(each) for each in bins],
        }
        write_object(members, {"distributions": encoded(found)}, environment.stdout)
    else:
        fields = documents.DISTRIBUTION_FIELDS
        write_documents(found, fields, display.output, environment.stdout)


def _raise_broken_slo(limits: Mapping[str, int], rows: Sequence[Distribution]) -> None:
    from lambdatrace.analysis.slo import broken

    if late := broken(limits, {row.name: row.p99 for row in rows}):
        raise BrokenSloError(
            f"the p99 of {', '.join(late)} broke the limits",
            "look at where it goes: lambdatrace compare --slow",
        )
