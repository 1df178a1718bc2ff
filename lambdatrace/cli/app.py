"""The typer application: which commands there are, and what `--help` teaches."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from lambdatrace import __version__
from lambdatrace.cli.grouping import grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambdatrace.cli.environment import Environment

HELP = """Where the time of one slow Lambda execution went, seen from the kernel.

A function is slow or times out sometimes. lambdatrace records the connections of each single
execution, without a change to its code, and shows which of them took the time.

\b
Start here:
  lambdatrace run -- CMD         trace a command on this machine, as root
  lambdatrace list --since 1h    the executions of the last hour
  lambdatrace show @slowest      the slowest of them, connection by connection
  lambdatrace compare --slow     what the slowest did and the usual did not
  lambdatrace top-destinations   where all of them spent their time

\b
For functions at AWS:
  lambdatrace deploy-layer --function NAME
"""

EPILOG = """
\b
Exit codes: 0 done, 1 it failed, 2 it was asked for wrongly, 3 not found,
4 a limit of --slo was broken.
"""


class _Command(NamedTuple):
    """Where a command is, and what is said of it in the list of all."""

    module: str
    function: str
    summary: str


# In the order in which they are used for the first time.
COMMANDS = {
    "run": _Command("run", "run", "Run any command, traced."),
    "invoke": _Command("invoke", "invoke", "Run a Python handler as Lambda would."),
    "list": _Command("list", "list_executions", "The executions of a window."),
    "show": _Command("show", "show", "One execution in detail."),
    "tail": _Command("tail", "tail", "Executions as they arrive."),
    "stats": _Command("stats", "stats", "How durations are distributed."),
    "compare": _Command("compare", "compare", "What two executions did differently."),
    "top-destinations": _Command(
        "top_destinations", "top_destinations", "Destinations over many executions."
    ),
    "doctor": _Command("doctor", "doctor", "What can be seen here, and what is in the way."),
    "export": _Command("export", "export", "Executions as a file for other tools."),
    "import": _Command("import_", "import_", "Exported executions into a store."),
    "deploy-layer": _Command("deploy_layer", "deploy_layer", "Have Lambda functions traced."),
    "status": _Command("status", "status", "Which functions are traced."),
    "remove-layer": _Command("remove_layer", "remove_layer", "Have them traced no longer."),
    "init-table": _Command("init_table", "init_table", "Create the table."),
    "template": _Command("template", "template", "Infrastructure as code."),
    "build-layer": _Command("build_layer", "build_layer", "Build the layer's zip."),
}


def make_app(arguments: Sequence[str] | None = None) -> typer.Typer:
    """The application; of its commands only the one that `arguments` name is loaded.

    Where they begin with it, the others are not there, else by name. Loading all (None) takes
    several times as long as any needs.
    """
    wanted = next((word for word in arguments or () if not word.startswith("-")), None)
    alone = wanted in COMMANDS and arguments is not None and arguments[0] == wanted
    app = typer.Typer(
        name="lambdatrace",
        help=HELP,
        epilog=EPILOG,
        invoke_without_command=True,  # for `--version`
        # Plain help: rich would take as long to load as everything else together.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        # --install-completion and --show-completion stand before any command.
        add_completion=not alone,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # Not for groups of options, of which it has none: types that are spelt as text cost typer more.
    app.callback()(grouped(lambdatrace))
    for name, command in COMMANDS.items():
        if alone and wanted != name:
            continue
        call: Callable[..., None] = _not_loaded
        examples = None
        if arguments is None or name == wanted:
            module = import_module(f"lambdatrace.cli.{command.module}")
            call, examples = getattr(module, command.function), module.EXAMPLES
        app.command(
            name,
            short_help=command.summary,
            epilog=examples,
            # What follows the command to run is that command's: `run ls -l` needs no `--`.
            context_settings={"allow_interspersed_args": name != "run"},
        )(call)
    return app


def _not_loaded() -> None:
    raise AssertionError("only the command that was named is called")


def _version_lines(verbose: bool) -> list[str]:
    if not verbose:
        return [f"lambdatrace {__version__}"]
    from lambdatrace.cli.versions import version_lines

    return version_lines()


def lambdatrace(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show lambdatrace's version and exit.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="With --version: also those of what it stands on."),
    ] = False,
) -> None:
    """Take the options that belong to no command."""
    if version:
        environment: Environment = context.obj
        print(*_version_lines(verbose), sep="\n", file=environment.stdout)
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.fail("Missing command.")
