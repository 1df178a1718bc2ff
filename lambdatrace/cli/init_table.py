"""`lambdatrace init-table`: the table for the traces, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lambdatrace.cli.deploying import (
    DEFAULT_TABLE,
    DryRunOption,
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

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace init-table
  lambdatrace init-table --table traces --region eu-west-1 --yes
"""


def init_table(
    context: typer.Context,
    table: TraceTableOption = DEFAULT_TABLE,
    region: RegionOption = None,
    profile: ProfileOption = None,
    kms_key: KeyOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: PlanOutputOption = PlanOutput.TEXT,
) -> None:
    """Create the DynamoDB table if it is missing: on demand, encrypted, items expire."""
    from lambdatrace.layer.inventory import look_at_table
    from lambdatrace.layer.plan import Plan, table_steps
    from lambdatrace.store.url import parse

    environment: Environment = context.obj
    parse(f"dynamodb://{table}", environment.environ)
    account = chosen_account(environment, region, profile)
    plan = Plan(table_steps(table, kms_key, look_at_table(account, table)), ())
    carry_out(environment, account, plan, dry_run=dry_run, yes=yes, output=output)
