"""`lambdatrace list`: the executions of a window, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import (
    DEFAULT_LIMIT,
    Display,
    FileSource,
    LimitOption,
    Output,
    Selection,
    SloOption,
    Source,
    all_of_it,
    opened_store,
)
from lambdatrace.cli.reading import passes
from lambdatrace.cli.reporting import nothing_found, raise_broken_slo, raise_unreadable
from lambdatrace.errors import UsageError
from lambdatrace.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lambdatrace.analysis.usual import Recent
    from lambdatrace.cli.environment import Environment
    from lambdatrace.export.documents import Document
    from lambdatrace.model import Execution

EXAMPLES = """
\b
Examples:
  lambdatrace list
  lambdatrace list --since 1h --function checkout --status timeout
  lambdatrace list --slowest --dst partner --min-duration 500
  lambdatrace list --since 2026-11-22T07:00:00Z --until 2026-11-22T08:00:00Z
  lambdatrace list --filter 'status!=ok,partition.wait_ms>=100'
  lambdatrace list --follow --errors
  lambdatrace list --since 1h --slo total=500 --output jsonl --limit 1000
"""

StatusOption = Annotated[
    Status | None,
    typer.Option("--status", help="Only executions that ended so.", show_default=False),
]
SlowestOption = Annotated[
    bool, typer.Option("--slowest", help="The slowest first instead of the newest.")
]
ErrorsOption = Annotated[
    bool,
    typer.Option("--errors", help="Only those that did not end well, or had a failed connection."),
]
MinDurationOption = Annotated[
    float | None,
    typer.Option(
        "--min-duration",
        metavar="MS",
        min=0,
        help="Only those that took at least so long.",
        show_default=False,
    ),
]
DestinationOption = Annotated[
    str | None,
    typer.Option(
        "--dst",
        metavar="TEXT",
        help="Only those that talked to a host or address with TEXT in it.",
        show_default=False,
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Then show new ones as they come, until Ctrl-C (tail).")
]


@grouped
def list_executions(
    context: typer.Context,
    *,
    selection: Selection,
    status: StatusOption = None,
    errors: ErrorsOption = False,
    min_duration: MinDurationOption = None,
    dst: DestinationOption = None,
    slowest: SlowestOption = False,
    follow: FollowOption = False,
    limit: LimitOption = DEFAULT_LIMIT,
    slo: SloOption = None,
    source: FileSource,
    display: Display,
) -> None:
    """List the executions of the last 24 hours, or of another window, the newest first.

    The verdict is what stands out against what is usual, as far as summaries tell. A condition on a
    destination (host, port, wait_ms, …) in --filter means executions that talked to one like that.
    """
    from lambdatrace.analysis.lookup import read_slowest, read_window
    from lambdatrace.analysis.slo import parse_slo

    environment: Environment = context.obj
    selection = all_of_it(environment, source, selection)
    limits = parse_slo(slo)
    if min_duration is not None and not min_duration < float("inf"):
        raise UsageError(f"--min-duration: {min_duration} is no number of ms", "as in 500")

    fits = passes(
        selection,
        lambda one: (
            (status is None or one.status is status)
            and (not errors or one.status is not Status.OK or (one.errors or 0) > 0)
            and (min_duration is None or one.duration_ns >= min_duration * 1e6)
            and (dst is None or talked_to(one, dst))
        ),
    )
    if follow:
        if slowest or slo:
            raise UsageError("--follow shows what comes as it comes", "leave --slowest, --slo out")
        if source.file is not None:
            raise UsageError("nothing comes to a file", "leave --follow or --from out")
        from lambdatrace.cli.following import follow_executions

        store = Source(source.store, source.table, source.profile, source.region)
        follow_executions(environment, store, display, limit, fits)
        return
    # What is only counted costs a tenth of what is read.
    conditions = (selection.where, status, min_duration, dst, slo)
    is_plain = not errors and all(each is None for each in conditions)
    is_plain = is_plain and display.output in (Output.TABLE, Output.CSV)
    window = selection.window(environment)
    with opened_store(environment, source) as opened:
        if is_plain and slowest:
            contents = read_slowest(opened, window, selection.function, limit)
        else:
            contents = read_window(opened, window, selection.function, limit if is_plain else None)
    found = [one for one in contents.executions if fits(one)]
    if slowest:
        found.sort(key=lambda one: one.duration_ns, reverse=True)
    _write(environment, found, contents.recent, limit, display)
    if not found and not contents.unreadable:
        wanted = [f"with status {status}"] if status is not None else []
        wanted += ["with errors"] if errors else []
        wanted += [f"of at least {min_duration:g} ms"] if min_duration is not None else []
        wanted += [f"that talked to {dst!r}"] if dst is not None else []
        nothing_found(environment, selection, wanted)
    elif (count := len(found) + contents.more) > limit:
        environment.note(f"{count - limit} more; see them with --limit {count}")
    raise_unreadable(contents.unreadable)
    raise_broken_slo(limits, found)


def talked_to(execution: Execution, text: str) -> bool:
    """Whether one of its destinations has `text` in its host or address, whatever the case."""
    wanted = text.casefold()
    return any(
        wanted in each.address or wanted in (each.host or "").casefold()
        for each in execution.destinations
    )


def _write(
    environment: Environment,
    found: Sequence[Execution],
    recent: Recent,
    limit: int,
    display: Display,
) -> None:
    shown = found[:limit]
    if display.output is Output.TABLE:
        from lambdatrace.cli.views.executions import ExecutionTable

        if shown:
            from lambdatrace.analysis.verdict import judge_summaries

            ids = [execution.execution_id for execution in found]
            verdicts = judge_summaries(shown, recent)
            environment.draw(ExecutionTable(shown, ids, verdicts), wide=display.wide)
        return
    from lambdatrace.cli.output import write_documents
    from lambdatrace.export import documents

    rows: Iterable[Document]
    if display.output is Output.CSV:
        rows = map(documents.list_row, shown)
    else:
        from lambdatrace.analysis.verdict import judge_summaries

        verdicts = judge_summaries(shown, recent)
        rows = map(documents.list_document, shown, verdicts)
    write_documents(rows, documents.LIST_CSV_FIELDS, display.output, environment.stdout)
