"""`lambdatrace run -- CMD`: trace any command as one execution."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lambdatrace.cli.options import (
    CaptureOption,
    LevelOption,
    StoreOption,
    TableOption,
    ThresholdOption,
    recording,
    store_url,
)
from lambdatrace.errors import LambdatraceError, UsageError
from lambdatrace.model import Level

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace run -- python3 app.py
  lambdatrace run --name import-orders --level syscalls -- ./import.sh today
  lambdatrace run --capture tls,exchanges -- python3 app.py

\b
The exit code is the command's own. Without one (nothing was run): 1 the
kernel refused or the store cannot be written, 126 and 127 as in a shell.
"""

CommandArgument = Annotated[list[str], typer.Argument(metavar="CMD", help="What to run, after --.")]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The function's name. Default: the program's."),
]


def run(
    context: typer.Context,
    command: CommandArgument,
    name: NameOption = None,
    level: LevelOption = Level.FLOWS,
    capture: CaptureOption = None,
    threshold: ThresholdOption = None,
    store: StoreOption = None,
    table: TableOption = None,
) -> None:
    """Run a command and record what it and all it starts do, as one execution.

    Needs root, or CAP_BPF and CAP_PERFMON. The command keeps its terminal, its streams and its
    environment.
    """
    environment: Environment = context.obj
    url = store_url(environment, store, table)
    report = _trace(
        {
            "command": command,
            "name": name or Path(command[0]).name,
            "store": url,
            "environ": recording(level, capture, threshold),
        }
    )
    if "error" in report:
        failure = LambdatraceError(report["error"], report["hint"])
        failure.exit_code = report["exit_code"]
        raise failure
    _tell(environment, report, f" --store {shlex.quote(url)}" if store or table else "")
    raise typer.Exit(report["exit_code"])


def _trace(wanted: dict[str, Any]) -> dict[str, Any]:
    """Let the agent run the command; returns its report. Raises LambdatraceError."""
    read_end, write_end = os.pipe()
    argument = json.dumps({**wanted, "report_fd": write_end})
    # Ctrl-C is the command's to handle.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        agent = subprocess.Popen(
            [sys.executable, "-P", "-m", "lambdatrace.agent.run", argument], pass_fds=(write_end,)
        )
        signal.signal(signal.SIGTERM, lambda number, _: agent.send_signal(number))
        os.close(write_end)
        with os.fdopen(read_end, "rb") as file:
            line = file.readline()
    except OSError as error:
        raise UsageError(f"the command cannot be handed on: {error.strerror}") from error
    finally:
        signal.signal(signal.SIGINT, before)
    if not line:
        raise LambdatraceError(
            f"the agent ended without a report (exit code {agent.wait()})",
            "what it said stands above; please report it",
        )
    report: dict[str, Any] = json.loads(line)
    return report


def _tell(environment: Environment, report: dict[str, Any], options: str) -> None:
    summary = report["summary"]
    if report["lost"]:
        environment.warn(f"{report['lost']} items could not be stored; the reason stands above")
    dropped = sum(summary["dropped"].values())
    if dropped:
        environment.warn(f"{dropped} records were dropped; the trace is not complete")
    count = summary["connections"]
    plural = "" if count == 1 else "s"
    environment.note(f"{count} connection{plural} in {summary['duration_ns'] / 1e6:.1f} ms")
    # The summary is written last: with anything lost, it may well be what is missing.
    if not report["lost"]:
        environment.note(f"next: lambdatrace show {report['execution_id']}{options}")
