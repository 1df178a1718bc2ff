"""A plan as a diff, and what became of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lambdatrace.cli.views.styled import Text
from lambdatrace.layer.plan import (
    ChangeFunction,
    ChangePolicy,
    CreateTable,
    ExpireItems,
    PublishLayer,
)
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lambdatrace.layer.deployment import Outcome
    from lambdatrace.layer.plan import Plan

_STYLES = {"+": "green", "-": "red", "!": "bold red"}
_DIGEST = 12  # of a SHA-256 shown


def plan_lines(plan: Plan) -> Text:
    """Every step: `+` what comes, `-` what goes, `!` why there is none."""
    text = Text()
    for step in plan.shared:
        _add(text, "+", _shared(step))
    for each in plan.functions:
        text.append(f"{clean(each.function)}\n", style="bold")
        if each.problem:
            _add(text, "!", each.problem.message, indent=2)
        elif not each.steps:
            text.append("  nothing to change\n")
        for function_step in each.steps:
            for sign, line in _function(function_step):
                _add(text, sign, line, indent=2)
        for note in each.notes:
            _add(text, " ", note, indent=2)
    if not plan.functions and not plan.shared:
        text.append("nothing to change\n")
    return text


def outcome_lines(outcomes: Sequence[Outcome]) -> Text:
    """One line a function."""
    text = Text()
    for outcome in outcomes:
        if outcome.error:
            text.append("failed     ", style="bold red")
            text.append(f"{clean(outcome.function)}: {clean(outcome.error.message)}")
            text.append("; left: " if outcome.left else "; it is as it was")
            text.append(clean(", ".join(outcome.left)))
        else:
            done = "changed    " if outcome.changed else "unchanged  "
            text.append(done, style="green" if outcome.changed else "")
            text.append(clean(outcome.function))
        text.append("\n")
    return text


def _shared(step: object) -> str:
    if isinstance(step, CreateTable):
        key = f"with {step.kms_key}" if step.kms_key else "with DynamoDB's own key"
        return f"table {step.table}, paid by request, encrypted {key}"
    if isinstance(step, ExpireItems):
        return f"table {step.table}: items expire by ExpiresAt"
    assert isinstance(step, PublishLayer)  # noqa: S101  # there are no others
    size, digest = len(step.layer.content) / 1e6, step.layer.sha256[:_DIGEST]
    return f"layer {step.layer.name}: a version of {size:.2f} MB, SHA-256 {digest}…"


def _function(step: ChangePolicy | ChangeFunction) -> Iterator[tuple[str, str]]:
    if isinstance(step, ChangePolicy):
        for sign, document in (("-", step.before), ("+", step.after)):
            if document is not None:
                allowed = json.dumps(document.get("Statement"))
                yield sign, f"policy {step.name} of role {step.role}: {allowed}"
        return
    yield from _difference("layer", step.layers_before, step.layers_after)
    before, after = _pairs(step.variables_before), _pairs(step.variables_after)
    yield from _difference("variable", before, after)


def _difference(
    what: str, before: Sequence[str], after: Sequence[str]
) -> Iterator[tuple[str, str]]:
    yield from (("-", f"{what} {each}") for each in before if each not in after)
    yield from (("+", f"{what} {each}") for each in after if each not in before)


def _pairs(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(variables.items())]


def _add(text: Text, sign: str, line: str, indent: int = 0) -> None:
    text.append(f"{' ' * indent}{sign} {clean(line)}\n", style=_STYLES.get(sign, ""))
