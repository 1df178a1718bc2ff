"""`lambdatrace stats`: how long a function's executions took, and each part of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # which looks at what commands take

from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import Display, FileSource, Output, Selection, SloOption, all_of_it
from lambdatrace.cli.reading import read_selected
from lambdatrace.cli.reporting import nothing_found, raise_unreadable
from lambdatrace.errors import BrokenSloError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace.analysis.stats import Distribution
    from lambdatrace.cli.environment import Environment
    from lambdatrace.model import Execution

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
    contents = read_selected(environment, source, selection)
    executions = contents.executions
    rows = distributions(executions)
    _write(environment, selection.function, executions, rows, display)
    if not executions and not contents.unreadable:
        nothing_found(environment, selection)
    raise_unreadable(contents.unreadable)
    _raise_broken_slo(limits, rows)


def _write(
    environment: Environment,
    function: str | None,
    executions: Sequence[Execution],
    rows: Sequence[Distribution],
    display: Display,
) -> None:
    from lambdatrace.analysis.stats import histogram
    from lambdatrace.cli.output import encoded, write_documents, write_object
    from lambdatrace.export import documents

    bins = histogram([one.duration_ns for one in executions])
    if display.output is Output.TABLE:
        from lambdatrace.cli.views.stats import DistributionTable, Histogram, stats_head

        if executions:
            environment.draw(
                stats_head(function, executions),
                DistributionTable(rows),
                Histogram(bins),
                wide=display.wide,
            )
        return
    found = [documents.distribution_document(row) for row in rows]
    if display.output is Output.JSON:
        members = {
            "schema_version": documents.SCHEMA_VERSION,
            "function": function,
            "executions": len(executions),
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
