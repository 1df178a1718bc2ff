"""`lambdatrace remove-layer`: functions as they were before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lambdatrace.cli.deploying import (
    DryRunOption,
    FunctionsOption,
    PlanOutput,
    PlanOutputOption,
    ProfileOption,
    RegionOption,
    YesOption,
    carry_out,
    chosen_account,
)
from lambdatrace.errors import UsageError

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace remove-layer --function orders-import --dry-run
  lambdatrace remove-layer --function orders-import --yes
"""


def remove_layer(
    context: typer.Context,
    functions: FunctionsOption = None,
    region: RegionOption = None,
    profile: ProfileOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: PlanOutputOption = PlanOutput.TEXT,
) -> None:
    """Take the layer, its variables and its permission away from functions.

    The table with its traces, and the published layer, stay.
    """
    from lambdatrace.layer import inventory
    from lambdatrace.layer.plan import FunctionState, plan_removal

    environment: Environment = context.obj
    if not functions:
        raise UsageError(
            "which functions?", "name them with --function; lambdatrace status lists those traced"
        )
    account = chosen_account(environment, region, profile)
    states = inventory.look_at_functions(account, functions, policies_of=None)
    found = [each for each in states if isinstance(each, FunctionState)]
    arns = {each.arn for each in found}
    # A role may be another function's, too.
    others = inventory.list_functions(account) if any(each.policies for each in found) else []
    plan = plan_removal(states, [each for each in others if each.arn not in arns])
    done = carry_out(environment, account, plan, dry_run=dry_run, yes=yes, output=output)
    tables = {each.table for each in found if each.table}
    if done and tables and output is PlanOutput.TEXT:
        kept = ", ".join(sorted(tables))
        environment.note(
            f"the traces (table {kept}) and the published layer stay; aws dynamodb delete-table "
            "and aws lambda delete-layer-version remove them"
        )
