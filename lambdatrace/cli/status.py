"""`lambdatrace status`: which functions are traced, by which layer, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lambdatrace.cli.config import read_config, region_and_profile
from lambdatrace.cli.deploying import FunctionsOption, ProfileOption, RegionOption
from lambdatrace.cli.options import DEFAULT_SINCE, Output, OutputOption, SinceOption, window
from lambdatrace.errors import LambdatraceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.analysis.times import Window
    from lambdatrace.cli.environment import Environment
    from lambdatrace.export.documents import Document
    from lambdatrace.layer.plan import FunctionState
    from lambdatrace.model import Execution

EXAMPLES = """
\b
Examples:
  lambdatrace status
  lambdatrace status --function orders-import --since 7d --output json
"""

FIELDS = (
    "schema_version", "function", "runtime", "architecture", "layer", "up_to_date", "table",
    "level", "executions", "last_started_at", "dropped",
)  # fmt: skip


def status(
    context: typer.Context,
    functions: FunctionsOption = None,
    since: SinceOption = DEFAULT_SINCE,
    region: RegionOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the traced functions of a region, and their traces of the last 24 hours.

    Of the functions named with --function those that are not traced are shown as well.
    """
    from lambdatrace.layer import inventory
    from lambdatrace.layer.account import Account
    from lambdatrace.layer.build import build
    from lambdatrace.layer.contents import Architecture
    from lambdatrace.layer.plan import is_own

    environment: Environment = context.obj
    searched = window(environment, since, None)
    environ = environment.environ
    region, profile = region_and_profile(read_config(environ), environ, region, profile)
    account = Account(region, profile, environ)
    states = _chosen(inventory.list_functions(account), functions, account.region)
    current = inventory.published(account, {each: build(each) for each in Architecture})
    seen = {
        table: _executions(environment, table, account.region, profile, searched)
        for table in {each.table for each in states if each.traced and each.table}
    }
    rows = []
    for state in states:
        own = next((layer.arn for layer in state.layers if is_own(layer.arn)), None)
        traces = seen.get(state.table)
        found = None if traces is None else [one for one in traces if one.function == state.name]
        rows.append(_document(state, own, own in current.values(), found))
    _write(environment, rows, output)


def _chosen(
    states: Iterable[FunctionState], functions: list[str] | None, region: str
) -> list[FunctionState]:
    """The functions to show, by name. Raises NotFoundError for one that is not there."""
    from lambdatrace.layer.account import function_missing

    by_name = {state.name: state for state in states}
    if not functions:
        return sorted((each for each in by_name.values() if each.traced), key=lambda one: one.name)
    for name in functions:
        if name not in by_name:
            raise function_missing(name, region)
    return [by_name[name] for name in dict.fromkeys(functions)]


def _executions(
    environment: Environment, table: str, region: str, profile: str | None, searched: Window
) -> list[Execution] | None:
    """What a table holds of the window; None, after a warning, when it cannot be read."""
    from lambdatrace.analysis.lookup import read_window
    from lambdatrace.store.dynamodb import DynamoStore, connect
    from lambdatrace.store.url import StoreUrl

    url = StoreUrl("dynamodb", table=table, region=region)
    try:
        store = DynamoStore(connect(url, environment.environ, profile), table)
        try:
            return read_window(store, searched).executions
        finally:
            store.close()
    except LambdatraceError as error:
        environment.warn(f"{error.message}; {error.hint}")
        return None


def _document(
    state: FunctionState, own: str | None, up_to_date: bool, executions: list[Execution] | None
) -> Document:
    from lambdatrace.analysis.times import rfc_3339
    from lambdatrace.export.documents import SCHEMA_VERSION
    from lambdatrace.layer.plan import LEVEL_VARIABLE

    last = max((one.started_at_ns for one in executions or ()), default=None)
    return {
        "schema_version": SCHEMA_VERSION,
        "function": state.name,
        "runtime": state.runtime,
        "architecture": state.architecture,
        "layer": own,
        "up_to_date": None if own is None else up_to_date,
        "table": state.table or None,
        "level": state.variables.get(LEVEL_VARIABLE),
        "executions": None if executions is None else len(executions),
        "last_started_at": None if last is None else rfc_3339(last),
        "dropped": (None if executions is None else sum(one.dropped.total for one in executions)),
    }


def _write(environment: Environment, rows: list[Document], output: Output) -> None:
    from lambdatrace.cli.output import write_array, write_csv, write_lines

    if output is Output.JSON:
        write_array(rows, environment.stdout)
    elif output is Output.JSONL:
        write_lines(rows, environment.stdout)
    elif output is Output.CSV:
        write_csv(rows, FIELDS, environment.stdout)
    elif rows:
        from lambdatrace.cli.views.status import status_table

        environment.draw(status_table(rows))
        if any(row["up_to_date"] is False for row in rows):
            environment.note("another layer than this lambdatrace's: deploy-layer updates it")
    else:
        environment.note("no function here is traced; start with: lambdatrace deploy-layer")
