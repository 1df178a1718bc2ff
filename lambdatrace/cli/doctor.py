"""`lambdatrace doctor`: what this machine lets lambdatrace see, and what stands in its way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lambdatrace.cli.options import (
    Output,
    OutputOption,
    ProfileOption,
    RegionOption,
    Source,
    StoreOption,
    TableOption,
    chosen_store,
)
from lambdatrace.errors import LambdatraceError, UsageError

if TYPE_CHECKING:
    from lambdatrace.analysis.checkup import Check, StoreReport
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  sudo lambdatrace doctor
  lambdatrace doctor --table lambdatrace --output json
  lambdatrace doctor --function orders-import --payload '{"dry_run": true}'
  lambdatrace doctor --function orders-import --no-invoke

\b
Exit codes: 0 nothing stands in the way, 1 something does.
"""

_NO_EVENT = "{}"
ExaminedOption = Annotated[
    str | None,
    typer.Option(
        "--function",
        "-f",
        metavar="NAME",
        help="Examine a deployed function's environment.",
        show_default=False,
    ),
]
PayloadOption = Annotated[
    str, typer.Option("--payload", metavar="JSON", help="The event to invoke it with.")
]
InvokeOption = Annotated[
    bool,
    typer.Option(
        "--invoke/--no-invoke", help="Invoke it, or take the latest report that is there."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before invoking.")]

FIELDS = ("schema_version", "group", "name", "finding", "found", "advice")


def doctor(
    context: typer.Context,
    function: ExaminedOption = None,
    payload: PayloadOption = _NO_EVENT,
    invoke: InvokeOption = True,
    yes: YesOption = False,
    store: StoreOption = None,
    table: TableOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what can be seen on this machine, what the kernel refuses, and whether the store answers.

    Loads what senses, as a trace would, and takes it away again. Changes nothing. To know what a
    trace would see, run it as whoever will trace: root, most often.

    With --function the same of a deployed function's environment, as its agent has found it. That
    invokes the function, once, after asking: its code runs.
    """
    from lambdatrace.analysis.checkup import Finding, checks

    environment: Environment = context.obj
    source = Source(store, table, profile, region)
    if function is not None:
        from lambdatrace.cli.function_doctor import examine

        found = examine(
            environment, function, source, _reach, payload=payload, invoke=invoke, yes=yes
        )
    elif payload != _NO_EVENT or not invoke or yes:
        raise UsageError("--payload, --no-invoke and --yes go with --function", "name one")
    else:
        found = checks(_examined(), _reach(environment, source))
    _write(environment, found, output)
    problems = sum(check.finding is Finding.PROBLEM for check in found)
    if problems:
        raise typer.Exit(1)


def _examined() -> dict[str, Any]:
    """The agent's report of this machine. Raises LambdatraceError."""
    command = [sys.executable, "-P", "-m", "lambdatrace.agent.examination"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # our own
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise LambdatraceError(
            f"the examination ended with code {done.returncode}"
            + (f": {said[-1]}" if said else ""),
            "please report it",
        )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _reach(environment: Environment, source: Source) -> StoreReport:
    """Read from the store once. Raises UsageError for a choice that makes no sense."""
    from lambdatrace.analysis.checkup import StoreReport
    from lambdatrace.store.url import DYNAMODB

    url, profile = chosen_store(environment.environ, source)
    engine, name = url.engine, str(url)
    skew = None
    began = time.monotonic()
    try:
        if url.engine == DYNAMODB:
            from lambdatrace.store.dynamodb import open_table

            table = open_table(url, profile)
            try:
                server = table.server_time()
            finally:
                table.close()
            skew = None if server is None else time.time() - server
        else:
            from lambdatrace.store import open_store

            if not Path(url.path).exists():
                return StoreReport(engine, name, is_there=False)
            opened = open_store(name)
            try:
                opened.get("doctor")
            finally:
                opened.close()
    except LambdatraceError as error:
        return StoreReport(engine, name, error=error.message, advice=error.hint)
    return StoreReport(engine, name, took_ms=(time.monotonic() - began) * 1e3, skew_s=skew)


def _write(environment: Environment, found: list[Check], output: Output) -> None:
    from lambdatrace.cli.output import write_array, write_csv, write_lines
    from lambdatrace.export.documents import SCHEMA_VERSION
    from lambdatrace.values import as_dict

    rows = [{"schema_version": SCHEMA_VERSION, **as_dict(check)} for check in found]
    if output is Output.JSON:
        write_array(rows, environment.stdout)
    elif output is Output.JSONL:
        write_lines(rows, environment.stdout)
    elif output is Output.CSV:
        write_csv(rows, FIELDS, environment.stdout)
    else:
        from lambdatrace.cli.views.doctor import checks_table

        environment.draw(checks_table(found))
