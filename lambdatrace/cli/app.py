"""The typer application: which commands there are, and what `--help` teaches."""

from __future__ import annotations

from typing import Annotated

import typer

from lambdatrace import __version__
from lambdatrace.cli import build_layer as build_layer_command
from lambdatrace.cli import deploy_layer as deploy_layer_command
from lambdatrace.cli import init_table as init_table_command
from lambdatrace.cli import invoke as invoke_command
from lambdatrace.cli import list as list_command
from lambdatrace.cli import remove_layer as remove_layer_command
from lambdatrace.cli import run as run_command
from lambdatrace.cli import show as show_command
from lambdatrace.cli import status as status_command
from lambdatrace.cli import template as template_command
from lambdatrace.cli import top_destinations as top_destinations_command

HELP = """Where the time of one slow Lambda execution went, seen from the kernel.

A function is slow or times out sometimes. lambdatrace records the connections of each single
execution, without a change to its code, and shows which of them took the time.

\b
Start here:
  lambdatrace list --since 1h         the executions of the last hour
  lambdatrace show @slowest           the slowest of them, connection by connection
  lambdatrace top-destinations        where all of them spent their time

\b
For functions at AWS:
  lambdatrace deploy-layer --function NAME
"""

EPILOG = """
\b
Exit codes: 0 done, 1 it failed, 2 it was asked for wrongly, 3 not found.
"""

app = typer.Typer(
    name="lambdatrace",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    # Plain help: rich would take as long to load as everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lambdatrace {__version__}")
        raise typer.Exit


@app.callback()
def lambdatrace(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show lambdatrace's version and exit.",
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


# In the order in which they are used for the first time.
for _name, _command, _summary, _module in (
    ("run", run_command.run, "Run any command, traced.", run_command),
    ("invoke", invoke_command.invoke, "Run a Python handler as Lambda would.", invoke_command),
    ("list", list_command.list_executions, "The executions of a window.", list_command),
    ("show", show_command.show, "One execution in detail.", show_command),
    (
        "top-destinations",
        top_destinations_command.top_destinations,
        "Destinations over many executions.",
        top_destinations_command,
    ),
    (
        "deploy-layer",
        deploy_layer_command.deploy_layer,
        "Have Lambda functions traced.",
        deploy_layer_command,
    ),
    ("status", status_command.status, "Which functions are traced.", status_command),
    (
        "remove-layer",
        remove_layer_command.remove_layer,
        "Have them traced no longer.",
        remove_layer_command,
    ),
    ("init-table", init_table_command.init_table, "Create the table.", init_table_command),
    ("template", template_command.template, "Infrastructure as code.", template_command),
    ("build-layer", build_layer_command.build_layer, "Build the layer's zip.", build_layer_command),
):
    app.command(
        _name,
        short_help=_summary,
        epilog=_module.EXAMPLES,
        # What follows the command to run is that command's: `run ls -l` needs no `--`.
        context_settings={"allow_interspersed_args": _name != "run"},
    )(_command)
