"""Takes the steps of a plan, and undoes a function's if one of them fails."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace.errors import LambdatraceError, LayerError
from lambdatrace.layer.account import AbsentError, BusyError
from lambdatrace.layer.build import MINORS
from lambdatrace.layer.inventory import configuration, function_state
from lambdatrace.layer.plan import (
    UNPUBLISHED,
    ChangePolicy,
    CreateTable,
    ExpireItems,
)
from lambdatrace.store.table import definition, expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lambdatrace.layer.account import Account
    from lambdatrace.layer.plan import (
        ChangeFunction,
        FunctionPlan,
        FunctionStep,
        Plan,
        PublishLayer,
        SharedStep,
    )

# Seconds: until a function that something else changes is left alone, until one that was changed
# has to be ready, until a new table has to be; and between two looks.
PATIENCE_S = 120.0
_LOOK_S = 1.0
_RUNTIMES = [f"python3.{minor}" for minor in MINORS]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the plan for one function. `left`: what could not be undone, in words."""

    function: str
    changed: bool
    error: LambdatraceError | None = None
    left: tuple[str, ...] = ()


class Deployment:
    """Takes the steps of one plan."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._published: dict[str, str] = {}  # name of a layer -> ARN of its new version
        self._done: set[tuple[str, str]] = set()  # (role, policy) that are as they should be

    def run(self, plan: Plan) -> list[Outcome]:
        """Take every step.

        Raises LayerError when one for all functions fails, with what was made before it; nothing of
        any function was changed then.
        """
        for number, shared in enumerate(plan.shared):
            try:
                self._take_shared(shared)
            except LambdatraceError as error:
                made = [_made(each) for each in plan.shared[:number]]
                kept = f"; made before, and kept: {', '.join(made)}" if made else ""
                raise LayerError(error.message, error.hint + kept) from error
        outcomes = [self._run_function(each) for each in plan.functions]
        # Policies go last: a function that could not be changed goes on to need its own.
        needed = {
            (step.role, step.name)
            for each, outcome in zip(plan.functions, outcomes, strict=True)
            for step in each.steps
            if outcome.error and isinstance(step, ChangePolicy)
        }
        return [
            outcome if outcome.error else self._remove_policies(each, outcome, needed)
            for each, outcome in zip(plan.functions, outcomes, strict=True)
        ]

    def _take_shared(self, step: SharedStep) -> None:
        if isinstance(step, CreateTable):
            self._create_table(step)
        elif isinstance(step, ExpireItems):
            self._account.call(
                "dynamodb", "update_time_to_live", f"table {step.table}", **expiry(step.table)
            )
        else:
            self._publish(step)

    def _create_table(self, step: CreateTable) -> None:
        what = f"table {step.table}"
        arguments = definition(step.table, step.kms_key)
        self._account.call("dynamodb", "create_table", what, **arguments)

        def is_there() -> bool:
            told = self._account.call("dynamodb", "describe_table", what, TableName=step.table)
            return bool(told["Table"]["TableStatus"] == "ACTIVE")

        self._wait(is_there, f"the {what} is not ready")

    def _publish(self, step: PublishLayer) -> None:
        layer = step.layer
        answer = self._account.call(
            "lambda",
            "publish_layer_version",
            f"layer {layer.name}",
            LayerName=layer.name,
            Description=layer.description,
            Content={"ZipFile": layer.content},
            CompatibleArchitectures=[layer.architecture.value],
            CompatibleRuntimes=_RUNTIMES,
            LicenseInfo="Apache-2.0 AND GPL-2.0-only",
        )
        self._published[layer.name] = answer["LayerVersionArn"]

    def _run_function(self, plan: FunctionPlan) -> Outcome:
        if plan.problem:
            return Outcome(plan.function, False, plan.problem)
        taken: list[FunctionStep] = []
        try:
            for step in plan.steps:
                if self._is_late(step):
                    continue
                if self._take(step):
                    taken.append(step)
                    self._check_taken(step)
        except LambdatraceError as error:
            left = self._undo(taken)
            return Outcome(plan.function, bool(left), error, left)
        return Outcome(plan.function, bool(plan.steps))

    def _remove_policies(
        self, plan: FunctionPlan, outcome: Outcome, needed: set[tuple[str, str]]
    ) -> Outcome:
        for step in plan.steps:
            if not isinstance(step, ChangePolicy) or not self._is_late(step):
                continue
            if (step.role, step.name) in needed:
                continue
            try:
                self._take(step)
            except LambdatraceError as error:
                left = (f"policy {step.name} of role {step.role}",)
                return Outcome(plan.function, True, error, left)
        return outcome

    @staticmethod
    def _is_late(step: FunctionStep) -> bool:
        return isinstance(step, ChangePolicy) and step.after is None

    def _take(self, step: FunctionStep) -> bool:
        """Take one step; False if a function before has taken it already."""
        if isinstance(step, ChangePolicy):
            if (step.role, step.name) in self._done:
                return False
            self._set_policy(step.role, step.name, step.after)
            self._done.add((step.role, step.name))
            return True
        layers = [self._resolved(arn) for arn in step.layers_after]
        self._change(step.function, layers, step.variables_after, meant_for=step)
        return True

    def _check_taken(self, step: FunctionStep) -> None:
        """Wait until a function has what it was given. Raises LayerError when that has failed."""
        if isinstance(step, ChangePolicy):
            return
        told = self._settled(step.function)
        if told.get("LastUpdateStatus") == "Failed":
            raise LayerError(
                f"Lambda could not change {step.function}",
                told.get("LastUpdateStatusReason") or "it gives no reason",
            )

    def _undo(self, taken: Sequence[FunctionStep]) -> tuple[str, ...]:
        """Take back what was done to one function; returns what could not be, in words."""
        left = []
        for step in reversed(taken):
            try:
                if isinstance(step, ChangePolicy):
                    self._set_policy(step.role, step.name, step.before)
                    self._done.discard((step.role, step.name))
                else:
                    self._change(step.function, step.layers_before, step.variables_before)
                    self._settled(step.function)
            except LambdatraceError:
                thing = (
                    f"policy {step.name} of role {step.role}"
                    if isinstance(step, ChangePolicy)
                    else f"layers and variables of {step.function}"
                )
                left.append(thing)
        return tuple(left)

    def _set_policy(self, role: str, name: str, document: Mapping[str, Any] | None) -> None:
        what = f"role {role}"
        if document is None:
            try:
                self._account.call(
                    "iam", "delete_role_policy", what, RoleName=role, PolicyName=name
                )
            except AbsentError:
                return
        else:
            self._account.call(
                "iam",
                "put_role_policy",
                what,
                RoleName=role,
                PolicyName=name,
                PolicyDocument=json.dumps(document),
            )

    def _resolved(self, arn: str) -> str:
        name, _, rest = arn.partition(":")
        return self._published[name] if rest == UNPUBLISHED else arn

    def _change(
        self,
        name: str,
        layers: Sequence[str],
        variables: Mapping[str, str],
        meant_for: ChangeFunction | None = None,
    ) -> None:
        """Have Lambda give a function these layers and variables.

        Raises LayerError when it is no longer what `meant_for` was planned for.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            told = self._settled(name)
            if meant_for is not None:
                _check_unchanged(told, meant_for)
            # Or what somebody else changes at this moment would be lost.
            revision = {"RevisionId": told["RevisionId"]} if told.get("RevisionId") else {}
            try:
                self._account.call(
                    "lambda",
                    "update_function_configuration",
                    f"function {name}",
                    FunctionName=name,
                    Layers=list(layers),
                    Environment={"Variables": dict(variables)},
                    **revision,
                )
                break
            except BusyError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_LOOK_S)

    def _settled(self, name: str) -> dict[str, Any]:
        """A function's configuration, once nothing changes it. Raises LayerError."""
        told: dict[str, Any] = {}

        def is_still() -> bool:
            told.clear()
            told.update(configuration(self._account, name))
            changing = told.get("LastUpdateStatus") == "InProgress"
            return not changing and told.get("State") != "Pending"

        self._wait(is_still, f"function {name} is still being changed")
        return told

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() >= until:
                raise LayerError(f"{what} after {PATIENCE_S:.0f} s", "run the command again")
            time.sleep(_LOOK_S)


def _made(step: SharedStep) -> str:
    if isinstance(step, CreateTable):
        return f"table {step.table}"
    if isinstance(step, ExpireItems):
        return f"expiry of table {step.table}"
    return f"layer {step.layer.name}"


def _check_unchanged(told: Mapping[str, Any], step: ChangeFunction) -> None:
    """Raise LayerError when a function is no longer as a step was planned for."""
    now = function_state(told)
    layers = tuple(layer.arn for layer in now.layers)
    if (layers, now.variables) != (step.layers_before, step.variables_before):
        raise LayerError(
            f"{step.function} was changed by somebody else meanwhile", "run the command again"
        )
