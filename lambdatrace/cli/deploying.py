"""What the commands that change an AWS account share: options, asking first, telling what came."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.errors import LambdatraceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.cli.environment import Environment
    from lambdatrace.export.documents import Document
    from lambdatrace.layer.account import Account
    from lambdatrace.layer.deployment import Outcome
    from lambdatrace.layer.plan import Plan

DEFAULT_TABLE = "lambdatrace"


def chosen_account(environment: Environment, region: str | None, profile: str | None) -> Account:
    """The account that is meant: typed, else the environment's, else configured.

    Raises LayerError, UsageError.
    """
    from lambdatrace.cli.config import read_config, region_and_profile
    from lambdatrace.layer.account import Account

    environ = environment.environ
    return Account(*region_and_profile(read_config(environ), environ, region, profile), environ)


class PlanOutput(StrEnum):
    """Forms in which a plan and what became of it can be written."""

    TEXT = "text"
    JSON = "json"


FunctionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--function", "-f", metavar="NAME", help="A function; more than once for several."
    ),
]
TraceTableOption = Annotated[
    str, typer.Option("--table", metavar="NAME", help="The DynamoDB table for the traces.")
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="Default: $AWS_REGION, else configured, else the profile's.",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Of ~/.aws/config. Default: $AWS_PROFILE, else configured.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--kms-key",
        metavar="ARN",
        help="Encrypt a new table with this key of yours. Default: DynamoDB's own.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing.")]
PlanOutputOption = Annotated[
    PlanOutput, typer.Option("--output", "-o", help="For people (text) or for programs (json).")
]


def carry_out(
    environment: Environment,
    account: Account,
    plan: Plan,
    *,
    dry_run: bool,
    yes: bool,
    output: PlanOutput,
) -> bool:
    """Show the plan, ask, take its steps, say what became of them; returns whether there was any.

    Raises LambdatraceError when anything failed, after all was said.
    """
    from lambdatrace.cli.views.deployment import outcome_lines, plan_lines
    from lambdatrace.layer.deployment import Deployment

    as_text = output is PlanOutput.TEXT
    if as_text:
        environment.write(plan_lines(plan), end="")
    outcomes: Sequence[Outcome] = ()
    failed: Sequence[LambdatraceError]
    if dry_run:
        failed = [each.problem for each in plan.functions if each.problem]
    else:
        if plan.changes and not yes:
            _ask(environment, as_text)
        outcomes = Deployment(account).run(plan)
        failed = [each.error for each in outcomes if each.error]
        if as_text and plan.changes:
            environment.write(outcome_lines(outcomes), end="")
    if not as_text:
        _write(environment, plan, outcomes, dry_run)
    if failed:
        raise _summed_up(failed, len(plan.functions))
    return plan.changes and not dry_run


def _ask(environment: Environment, as_text: bool) -> None:
    """Raises UsageError when nobody can be asked, LambdatraceError when the answer is no."""
    if not (as_text and environment.interactive):
        raise UsageError(
            "nothing was changed: nobody can be asked", "look with --dry-run, then add --yes"
        )
    if not environment.confirm("make these changes?"):
        raise LambdatraceError("nothing was changed")


def _summed_up(errors: Sequence[LambdatraceError], functions: int) -> LambdatraceError:
    """The one that there is; else how many, and the first."""
    if len(errors) == 1:
        return errors[0]
    first = errors[0]
    summary = LambdatraceError(
        f"{len(errors)} of {functions} functions failed, the first: {first.message}", first.hint
    )
    summary.exit_code = first.exit_code
    return summary


def _write(
    environment: Environment, plan: Plan, outcomes: Sequence[Outcome], dry_run: bool
) -> None:
    import json

    from lambdatrace.export.documents import SCHEMA_VERSION

    by_name = {outcome.function: outcome for outcome in outcomes}
    document: Document = {
        "schema_version": SCHEMA_VERSION,
        "dry_run": dry_run,
        "shared": [step_document(step) for step in plan.shared],
        "functions": [
            {
                "function": each.function,
                "status": _status(each.problem, by_name.get(each.function), bool(each.steps)),
                "steps": [step_document(step) for step in each.steps],
                **_trouble(each.problem, by_name.get(each.function)),
            }
            for each in plan.functions
        ],
    }
    environment.stdout.write(json.dumps(document, indent=2) + "\n")


def _status(problem: LambdatraceError | None, outcome: Outcome | None, steps: bool) -> str:
    if problem or (outcome and outcome.error):
        return "failed"
    if not steps:
        return "unchanged"
    return "changed" if outcome else "to change"


def _trouble(problem: LambdatraceError | None, outcome: Outcome | None) -> Document:
    error = outcome.error if outcome else problem
    return {
        "error": error.message if error else None,
        "hint": error.hint if error else None,
        "left": list(outcome.left) if outcome else [],
    }


def step_document(step: object) -> Document:
    """One step of a plan: its kind, and what it changes."""
    from lambdatrace.layer import plan as steps

    if isinstance(step, steps.CreateTable):
        return {"step": "create-table", "table": step.table, "kms_key": step.kms_key}
    if isinstance(step, steps.ExpireItems):
        return {"step": "expire-items", "table": step.table}
    if isinstance(step, steps.PublishLayer):
        layer = step.layer
        return {
            "step": "publish-layer",
            "layer": layer.name,
            "sha256": layer.sha256,
            "bytes": len(layer.content),
        }
    if isinstance(step, steps.ChangePolicy):
        return {
            "step": "change-policy",
            "role": step.role,
            "policy": step.name,
            "before": step.before,
            "after": step.after,
        }
    assert isinstance(step, steps.ChangeFunction)  # noqa: S101  # there are no others
    # Variables may hold secrets: those that stay as they are, are not named.
    names = step.variables_before.keys() | step.variables_after.keys()
    changed = {
        name: [step.variables_before.get(name), step.variables_after.get(name)]
        for name in sorted(names)
        if step.variables_before.get(name) != step.variables_after.get(name)
    }
    return {
        "step": "change-function",
        "layers_before": list(step.layers_before),
        "layers_after": list(step.layers_after),
        "variables": changed,
    }
