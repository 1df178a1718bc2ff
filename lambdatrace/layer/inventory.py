"""What an account has: the table, functions with their roles' policies, published layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lambdatrace.errors import LambdatraceError, LayerError
from lambdatrace.layer.account import AbsentError, function_missing
from lambdatrace.layer.build import layer_name
from lambdatrace.layer.plan import (
    POLICY_PREFIX,
    AttachedLayer,
    FunctionPlan,
    FunctionState,
    TableState,
    policy_name,
    role_name,
)
from lambdatrace.store.attributes import EXPIRES_AT
from lambdatrace.store.table import definition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambdatrace.layer.account import Account
    from lambdatrace.layer.build import Layer
    from lambdatrace.layer.contents import Architecture


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
    return [function_state(each) for each in listed]


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


def configuration(account: Account, name: str) -> dict[str, Any]:
    """All that Lambda says of a function. Raises NotFoundError when there is none."""
    try:
        return account.call(
            "lambda", "get_function_configuration", f"function {name}", FunctionName=name
        )
    except AbsentError as error:
        raise function_missing(name, account.region) from error


def function_state(told: Mapping[str, Any]) -> FunctionState:
    """What counts of it; the role's policies are not in there."""
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


def _function(account: Account, name: str, policies_of: str | None) -> FunctionState:
    told = configuration(account, name)
    state = function_state(told)
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
