"""Finds out what an account has, and takes the steps of a plan; undoes a function's if it fails."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lambdatrace.errors import LambdatraceError, LayerError
from lambdatrace.layer.account import AbsentError, BusyError, function_missing
from lambdatrace.layer.build import layer_name
from lambdatrace.layer.plan import (
    OLDEST_RUNTIME,
    POLICY_PREFIX,
    UNPUBLISHED,
    AttachedLayer,
    ChangePolicy,
    CreateTable,
    ExpireItems,
    FunctionPlan,
    FunctionState,
    Plan,
    PublishLayer,
    TableState,
    policy_name,
    role_name,
)
from lambdatrace.store.attributes import EXPIRES_AT
from lambdatrace.store.table import definition, expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lambdatrace.layer.account import Account
    from lambdatrace.layer.build import Layer
    from lambdatrace.layer.contents import Architecture
    from lambdatrace.layer.plan import ChangeFunction, FunctionStep, SharedStep

# Seconds: until a function that something else changes is left alone, until one that was changed
# has to be ready, until a new table has to be; and between two looks.
PATIENCE_S = 120.0
_LOOK_S = 1.0
_RUNTIMES = [f"python3.{minor}" for minor in range(OLDEST_RUNTIME[1], 15)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the plan for one function. `left`: what could not be undone, in words."""

    function: str
    changed: bool
    error: LambdatraceError | None = None
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look_at_table(account: Account, table: str) -> TableState | None:
    """The table; None where there is none."""
    what = f"table {table}"
    try:
        found = account.call("dynamodb", "describe_table", what, TableName=table)["Table"]
    except AbsentError:
        return None
    wanted = definition(table)
    fits = found["KeySchema"] == wanted["KeySchema"] and all(
        each in found["AttributeDefinitions"] for each in wanted["AttributeDefinitions"]
    )
    told = account.call("dynamodb", "describe_time_to_live", what, TableName=table)
    expiry_state = told["TimeToLiveDescription"]
    expires = (
        expiry_state.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        and expiry_state.get("AttributeName") == EXPIRES_AT
    )
    return TableState(fits, expires)


def look_at_functions(
    account: Account, names: Iterable[str], policies_of: str | None
) -> list[FunctionState | FunctionPlan]:
    """Each function, or a plan that says why it cannot be looked at.

    `policies_of` is the table whose policy is looked for on its role; None: all of lambdatrace's.
    """
    found: list[FunctionState | FunctionPlan] = []
    for name in dict.fromkeys(names):
        try:
            found.append(_function(account, name, policies_of))
        except LambdatraceError as error:
            found.append(FunctionPlan(name, problem=error))
    return found


def list_functions(account: Account) -> list[FunctionState]:
    """Every function of the account in the region."""
    listed = account.pages("lambda", "list_functions", "all functions", "Functions")
    return [_state(each) for each in listed]


def published(account: Account, layers: Mapping[Architecture, Layer]) -> dict[Architecture, str]:
    """For each architecture whose layer is there with the same content, its version's ARN."""
    found = {}
    for architecture, layer in layers.items():
        for version in layer_versions(account, architecture):
            if version.get("Description") == layer.description:
                found[architecture] = str(version["LayerVersionArn"])
                break
    return found


def layer_versions(account: Account, architecture: Architecture) -> Iterable[dict[str, Any]]:
    """The published versions of lambdatrace's layer, the newest first."""
    name = layer_name(architecture)
    try:
        yield from account.pages(
            "lambda", "list_layer_versions", f"layer {name}", "LayerVersions", LayerName=name
        )
    except AbsentError:
        return


class Deployment:
    """Takes the steps of one plan. `sleep` and `clock` are in s."""

    def __init__(
        self,
        account: Account,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._sleep = sleep
        self._clock = clock
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
        return Outcome(plan.function, bool(plan.steps), notes=plan.notes)

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
        until = self._clock() + PATIENCE_S
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
                if self._clock() >= until:
                    raise
                self._sleep(_LOOK_S)

    def _settled(self, name: str) -> dict[str, Any]:
        """A function's configuration, once nothing changes it. Raises LayerError."""
        told: dict[str, Any] = {}

        def is_still() -> bool:
            told.clear()
            told.update(_configuration(self._account, name))
            changing = told.get("LastUpdateStatus") == "InProgress"
            return not changing and told.get("State") != "Pending"

        self._wait(is_still, f"function {name} is still being changed")
        return told

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        until = self._clock() + PATIENCE_S
        while not condition():
            if self._clock() >= until:
                raise LayerError(f"{what} after {PATIENCE_S:.0f} s", "run the command again")
            self._sleep(_LOOK_S)


def _function(account: Account, name: str, policies_of: str | None) -> FunctionState:
    told = _configuration(account, name)
    state = _state(told)
    refused = (told.get("Environment") or {}).get("Error")
    if refused:
        raise LayerError(
            f"{name}: its environment variables cannot be read",
            f"they have to be kept; Lambda says: {refused.get('Message') or refused}",
        )
    role, what = role_name(state.role), f"role {role_name(state.role)}"
    if policies_of is None:
        listed = account.pages("iam", "list_role_policies", what, "PolicyNames", RoleName=role)
        names = [each for each in listed if each.startswith(POLICY_PREFIX)]
    else:
        names = [policy_name(policies_of)]
    policies = {}
    for each in names:
        try:
            answer = account.call("iam", "get_role_policy", what, RoleName=role, PolicyName=each)
        except AbsentError:
            continue
        policies[each] = answer["PolicyDocument"]
    return replace(state, policies=policies)


def _made(step: SharedStep) -> str:
    if isinstance(step, CreateTable):
        return f"table {step.table}"
    if isinstance(step, ExpireItems):
        return f"expiry of table {step.table}"
    return f"layer {step.layer.name}"


def _check_unchanged(told: Mapping[str, Any], step: ChangeFunction) -> None:
    """Raise LayerError when a function is no longer as a step was planned for."""
    now = _state(told)
    layers = tuple(layer.arn for layer in now.layers)
    if (layers, now.variables) != (step.layers_before, step.variables_before):
        raise LayerError(
            f"{step.function} was changed by somebody else meanwhile", "run the command again"
        )


def _configuration(account: Account, name: str) -> dict[str, Any]:
    try:
        return account.call(
            "lambda", "get_function_configuration", f"function {name}", FunctionName=name
        )
    except AbsentError as error:
        raise function_missing(name, account.region) from error


def _state(told: Mapping[str, Any]) -> FunctionState:
    return FunctionState(
        name=told["FunctionName"],
        arn=told["FunctionArn"],
        runtime=told.get("Runtime") or "",
        package_type=told.get("PackageType") or "Zip",
        architecture=(told.get("Architectures") or ["x86_64"])[0],
        version=told.get("Version") or "$LATEST",
        role=told["Role"],
        code_size=int(told.get("CodeSize") or 0),
        layers=tuple(
            AttachedLayer(layer["Arn"], int(layer.get("CodeSize") or 0))
            for layer in told.get("Layers") or ()
        ),
        variables=(told.get("Environment") or {}).get("Variables") or {},
    )
