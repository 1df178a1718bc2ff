"""`lambdatrace list`: the executions of a window, the newest first."""

from __future__ import annotations

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
from lambdatrace.model import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace.analysis.usual import Usual
    from lambdatrace.cli.environment import Environment
    from lambdatrace.model import Execution

EXAMPLES = """
\b
Examples:
  lambdatrace list
  lambdatrace list --since 1h --function checkout --status timeout
  lambdatrace list --since 2026-11-22T07:00:00Z --until 2026-11-22T08:00:00Z
  lambdatrace list --output jsonl --limit 1000
"""

StatusOption = Annotated[
    Status | None,
    typer.Option("--status", help="Only executions that ended so.", show_default=False),
]


def list_executions(
    context: typer.Context,
    since: SinceOption = DEFAULT_SINCE,
    until: UntilOption = None,
    function: FunctionOption = None,
    status: StatusOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    store: StoreOption = None,
    table: TableOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the executions of the last 24 hours, or of another window, the newest first."""
    from lambdatrace.analysis.lookup import read_window
    from lambdatrace.analysis.usual import usual_by_function

    environment: Environment = context.obj
    wanted = window(environment, since, until)
    with opened_store(environment, store, table) as opened:
        contents = read_window(opened, wanted, function)
    found = [one for one in contents.executions if status is None or one.status is status]
    _write(environment, found, usual_by_function(contents.executions), limit, output)
    if not found and not contents.unreadable:
        nothing_found(environment, searched(since, until), function, status)
    elif len(found) > limit:
        environment.note(f"{len(found) - limit} more; see them with --limit {len(found)}")
    raise_unreadable(contents.unreadable)


def _write(
    environment: Environment,
    found: Sequence[Execution],
    usual: Mapping[str, Usual],
    limit: int,
    output: Output,
) -> None:
    from lambdatrace.cli import documents
    from lambdatrace.cli.output import write_array, write_csv, write_lines

    shown = found[:limit]
    if output is Output.TABLE:
        from lambdatrace.cli.views.executions import ExecutionTable

        if shown:
            ids = [execution.execution_id for execution in found]
            environment.console.print(ExecutionTable(shown, ids))
        return
    rows = (documents.list_document(each, usual.get(each.function)) for each in shown)
    if output is Output.JSON:
        write_array(rows, environment.stdout)
    elif output is Output.JSONL:
        write_lines(rows, environment.stdout)
    else:
        write_csv(rows, documents.LIST_FIELDS, environment.stdout)
