"""`lambdatrace deploy-layer`: from functions to traced functions."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.deploying import (
    DEFAULT_TABLE,
    DryRunOption,
    FunctionsOption,
    KeyOption,
    PlanOutput,
    PlanOutputOption,
    ProfileOption,
    RegionOption,
    TraceTableOption,
    YesOption,
    carry_out,
    chosen_account,
)
from lambdatrace.layer.contents import Architecture
from lambdatrace.model import Level

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace deploy-layer --function orders-import --dry-run
  lambdatrace deploy-layer --function orders-import --yes
  lambdatrace deploy-layer -f checkout -f thumbnails --table traces

\b
Without --function: the table and the layer only. What it needs to be
allowed: docs/deploy.md.
"""

ArchitectureOption = Annotated[
    Architecture | None,
    typer.Option("--arch", help="Insist on it.", show_default="each function's own"),
]
DeployLevelOption = Annotated[
    Level | None,
    typer.Option(
        "--level",
        help="Record connections, or each syscall on them as well.",
        show_default="as it is, else flows",
    ),
]


def deploy_layer(
    context: typer.Context,
    functions: FunctionsOption = None,
    table: TraceTableOption = DEFAULT_TABLE,
    region: RegionOption = None,
    profile: ProfileOption = None,
    architecture: ArchitectureOption = None,
    level: DeployLevelOption = None,
    kms_key: KeyOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: PlanOutputOption = PlanOutput.TEXT,
) -> None:
    """Have functions traced: their next invocation is.

    Creates the table and publishes the layer where they are missing, then gives each function the
    layer, three variables and its role one permission. What is right already is left alone.
    """
    from lambdatrace.layer import inventory
    from lambdatrace.layer.build import build, compiled_here
    from lambdatrace.layer.plan import Wish, plan_deployment
    from lambdatrace.store.url import parse

    environment: Environment = context.obj
    parse(f"dynamodb://{table}", environment.environ)  # or it is no name of a table
    account = chosen_account(environment, region, profile)
    bytecode = compiled_here()
    layers = {each: build(each, bytecode) for each in Architecture}
    wish = Wish(table, level and level.value, layers, kms_key, architecture)
    states = inventory.look_at_functions(account, functions or (), table)
    plan = plan_deployment(
        wish,
        inventory.look_at_table(account, table),
        inventory.published(account, layers),
        states,
    )
    done = carry_out(environment, account, plan, dry_run=dry_run, yes=yes, output=output)
    if done and output is PlanOutput.TEXT:
        store = shlex.quote(f"dynamodb://{table}?region={account.region}")
        environment.note(f"next: invoke a function, then: lambdatrace list --store {store}")
        environment.note(
            "where the platform refuses eBPF, a library traces instead, and sees less "
            "(docs/backends.md); lambdatrace doctor --function says what there is to see"
        )
