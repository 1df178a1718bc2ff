"""What has to change so that functions are traced, or no longer are.

Pure: from what is there (inventory.py) to a list of steps (deployment.py takes them).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lambdatrace.errors import LambdatraceError, LayerError
from lambdatrace.layer import contents
from lambdatrace.layer.build import MINORS, layer_name
from lambdatrace.layer.contents import Architecture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace.layer.build import Layer

# Lambda's quotas: layers of a function, bytes of all its variables' names and values, bytes of code
# and layers. Lambda counts the last unpacked and tells packed sizes only: that is a lower bound.
MOST_LAYERS = 5
MOST_VARIABLE_BYTES = 4096
MOST_CODE_BYTES = 250 << 20

VARIABLE_PREFIX = "LAMBDATRACE_"
STORE_VARIABLE = "LAMBDATRACE_STORE"
LEVEL_VARIABLE = "LAMBDATRACE_LEVEL"
# What Lambda starts in the runtime's place, and where that finds the one it stands before.
WRAPPER_VARIABLE = "AWS_LAMBDA_EXEC_WRAPPER"
CHAINED_VARIABLE = "LAMBDATRACE_EXEC_WRAPPER"
WRAPPER = f"/opt/{contents.WRAPPER}"
POLICY_PREFIX = "lambdatrace-"
_MOST_POLICY_NAME = 128
# Of a layer version that a step before is going to publish.
UNPUBLISHED = "(new)"


@dataclass(frozen=True, slots=True)
class AttachedLayer:
    """One layer version of a function; `size` in bytes, packed."""

    arn: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class FunctionState:
    """What Lambda says of a function. `code_size` in bytes, packed; `role` is an ARN.

    `policies` are the inline policies of its role that are lambdatrace's, by name.
    """

    name: str
    arn: str
    runtime: str
    package_type: str
    architecture: str
    version: str
    role: str
    code_size: int
    layers: tuple[AttachedLayer, ...]
    variables: Mapping[str, str]
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def traced(self) -> bool:
        """Whether it has a layer of lambdatrace."""
        return any(is_own(layer.arn) for layer in self.layers)

    @property
    def table(self) -> str:
        """The DynamoDB table that its agent writes to; empty if it is told of none."""
        engine, _, rest = self.variables.get(STORE_VARIABLE, "").partition("://")
        return rest.partition("?")[0] if engine == "dynamodb" else ""


@dataclass(frozen=True, slots=True)
class TableState:
    """A table that is there: whether it has the right keys, and forgets expired items."""

    fits: bool
    expires: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be: the table, how to encrypt it, the level, the layer for each architecture.

    `architecture` is the only one that is wanted, if it was named; `level` None: as it is.
    """

    table: str
    level: str | None
    layers: Mapping[Architecture, Layer]
    kms_key: str | None = None
    architecture: Architecture | None = None


@dataclass(frozen=True, slots=True)
class CreateTable:
    """A table paid by request, encrypted with AWS's key or `kms_key`."""

    table: str
    kms_key: str | None


@dataclass(frozen=True, slots=True)
class ExpireItems:
    """Have the table forget items by their ExpiresAt."""

    table: str


@dataclass(frozen=True, slots=True)
class PublishLayer:
    """One more version of lambdatrace's layer in the account."""

    layer: Layer


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """An inline policy of a role: from `before` to `after`; None: it is not there."""

    role: str
    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ChangeFunction:
    """Layers (ARNs) and variables of a function, all of them."""

    function: str
    layers_before: tuple[str, ...]
    layers_after: tuple[str, ...]
    variables_before: Mapping[str, str]
    variables_after: Mapping[str, str]


SharedStep = CreateTable | ExpireItems | PublishLayer
FunctionStep = ChangePolicy | ChangeFunction


@dataclass(frozen=True, slots=True)
class FunctionPlan:
    """The steps for one function, or why there can be none. `notes` are for the person."""

    function: str
    steps: tuple[FunctionStep, ...] = ()
    problem: LambdatraceError | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps for all functions, to be taken first, and those for each of them."""

    shared: tuple[SharedStep, ...]
    functions: tuple[FunctionPlan, ...]

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.shared) or any(each.steps for each in self.functions)


def plan_deployment(
    wish: Wish,
    table: TableState | None,
    published: Mapping[Architecture, str],
    functions: Sequence[FunctionState | FunctionPlan],
) -> Plan:
    """The steps to `wish`. `published`: ARN of the version with the wished content, where it is.

    A FunctionPlan among `functions` stands for a function that could not be looked at. Raises
    LayerError for a table that is no table of lambdatrace.
    """
    plans = [
        each if isinstance(each, FunctionPlan) else _deployed(wish, published, each)
        for each in functions
    ]
    wanted = {
        Architecture(state.architecture)
        for state, plan in zip(functions, plans, strict=True)
        if isinstance(state, FunctionState) and not plan.problem
    }
    if not functions:
        wanted = {wish.architecture or Architecture.X86_64}
    shared: list[SharedStep] = []
    # Nothing for functions of which none can be traced.
    if wanted:
        shared += table_steps(wish.table, wish.kms_key, table)
    shared += [
        PublishLayer(wish.layers[architecture])
        for architecture in Architecture
        if architecture in wanted and architecture not in published
    ]
    return Plan(tuple(shared), tuple(plans))


def plan_removal(
    functions: Sequence[FunctionState | FunctionPlan], others: Iterable[FunctionState]
) -> Plan:
    """The steps after which nothing of lambdatrace is left of the functions' configuration.

    `others` are functions of the account that keep it: a policy that they need stays.
    """
    kept = {
        (role_name(other.role), policy_name(other.table))
        for other in others
        if other.traced and other.table
    }
    plans = [each if isinstance(each, FunctionPlan) else _removed(each, kept) for each in functions]
    return Plan((), tuple(plans))


def table_steps(
    table: str, kms_key: str | None, state: TableState | None
) -> tuple[SharedStep, ...]:
    """The steps to a table for executions. Raises LayerError for one that has other keys."""
    if state is None:
        return (CreateTable(table, kms_key), ExpireItems(table))
    if not state.fits:
        raise LayerError(
            f"the table {table} is not one of lambdatrace: it has other keys",
            "name another with --table; one that is not there is created",
        )
    return () if state.expires else (ExpireItems(table),)


def is_own(layer_arn: str) -> bool:
    """Whether an ARN is that of a version of lambdatrace's layer."""
    words = layer_arn.split(":")
    return len(words) > 6 and words[6] in {layer_name(each) for each in Architecture}


def policy_name(table: str) -> str:
    """The inline policy that lets a role write to `table`."""
    name = f"{POLICY_PREFIX}{table}"
    if len(name) <= _MOST_POLICY_NAME:
        return name
    digest = hashlib.sha256(table.encode()).hexdigest()[:16]
    return f"{name[: _MOST_POLICY_NAME - 17]}-{digest}"


def policy_document(table_arn: str) -> dict[str, Any]:
    """The one permission the agent needs."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "dynamodb:BatchWriteItem", "Resource": table_arn}
        ],
    }


def role_name(role_arn: str) -> str:
    """The name in a role's ARN, without its path."""
    return role_arn.rpartition("/")[2]


def table_arn(function_arn: str, table: str) -> str:
    """The ARN of `table` in a function's account and region."""
    _, partition, _, region, account, *_ = function_arn.split(":")
    return f"arn:{partition}:dynamodb:{region}:{account}:table/{table}"


def _deployed(
    wish: Wish, published: Mapping[Architecture, str], function: FunctionState
) -> FunctionPlan:
    try:
        architecture = _check_kind(wish, function)
        layer = wish.layers[architecture]
        arn = published.get(architecture) or f"{layer.name}:{UNPUBLISHED}"
        layers = _with_own([each.arn for each in function.layers], arn)
        variables = {
            **function.variables,
            STORE_VARIABLE: f"dynamodb://{wish.table}",
            LEVEL_VARIABLE: wish.level or function.variables.get(LEVEL_VARIABLE) or "flows",
            WRAPPER_VARIABLE: WRAPPER,
        }
        chained = function.variables.get(WRAPPER_VARIABLE, "")
        notes: tuple[str, ...] = ()
        if chained not in ("", WRAPPER):
            variables[CHAINED_VARIABLE] = chained
            notes = (f"{function.name} has an exec wrapper, {chained}: lambdatrace's starts it",)
        _check_limits(function, layers, variables, len(layer.content))
    except LayerError as problem:
        return FunctionPlan(function.name, problem=problem)
    steps: list[FunctionStep] = []
    document = policy_document(table_arn(function.arn, wish.table))
    name = policy_name(wish.table)
    if function.policies.get(name) != document:
        before = function.policies.get(name)
        steps.append(ChangePolicy(role_name(function.role), name, before, document))
    steps += _changed(function, layers, variables)
    return FunctionPlan(function.name, tuple(steps), notes=notes if steps else ())


def _removed(function: FunctionState, kept: set[tuple[str, str]]) -> FunctionPlan:
    layers = tuple(each.arn for each in function.layers if not is_own(each.arn))
    variables = {
        name: value
        for name, value in function.variables.items()
        if not name.startswith(VARIABLE_PREFIX)
    }
    if variables.get(WRAPPER_VARIABLE) == WRAPPER:
        del variables[WRAPPER_VARIABLE]
        if chained := function.variables.get(CHAINED_VARIABLE):
            variables[WRAPPER_VARIABLE] = chained
    role = role_name(function.role)
    notes = []
    steps: list[FunctionStep] = [*_changed(function, layers, variables)]
    for name, document in sorted(function.policies.items()):
        if (role, name) in kept:
            notes.append(f"role {role} keeps policy {name}: other traced functions have that role")
        else:
            steps.append(ChangePolicy(role, name, document, None))
    return FunctionPlan(function.name, tuple(steps), notes=tuple(notes))


def _changed(
    function: FunctionState, layers: tuple[str, ...], variables: Mapping[str, str]
) -> tuple[ChangeFunction, ...]:
    before = tuple(layer.arn for layer in function.layers)
    if layers == before and variables == function.variables:
        return ()
    return (ChangeFunction(function.name, before, layers, function.variables, variables),)


def _with_own(layers: Sequence[str], arn: str) -> tuple[str, ...]:
    """`layers` with `arn` in the place of lambdatrace's, else behind the others."""
    own = [layer for layer in layers if is_own(layer)]
    if not own:
        return (*layers, arn)
    kept = [layer for layer in layers if layer == own[0] or not is_own(layer)]
    return tuple(arn if layer == own[0] else layer for layer in kept)


def _check_kind(wish: Wish, function: FunctionState) -> Architecture:
    """Whether the layer can run in `function`. Raises LayerError."""
    name = function.name
    if function.version != "$LATEST":
        raise LayerError(
            f"{name} is a published version or an alias, which cannot be changed",
            "name the function alone, and publish a version afterwards",
        )
    if function.package_type == "Image":
        raise LayerError(
            f"{name} is a container image, which takes no layers",
            "put the agent into the image: examples/container has a Dockerfile",
        )
    _check_runtime(function)
    if wish.architecture not in (None, function.architecture):
        raise LayerError(
            f"{name} runs on {function.architecture}, not on {wish.architecture}",
            "leave --arch out: each function gets the layer for its architecture",
        )
    return Architecture(function.architecture)


def _check_runtime(function: FunctionState) -> None:
    language, _, minor = function.runtime.partition("3.")
    if language != "python" or not minor.isdigit():
        raise LayerError(
            f"{function.name}: its runtime {function.runtime} has no Python for the agent, "
            "and the layer brings none yet",
            "a container image can have one: see examples/container",
        )
    if int(minor) < MINORS[0]:
        raise LayerError(
            f"{function.name}: {function.runtime} runs on Amazon Linux 2, which is too old for the "
            "agent's libraries",
            "change the function's runtime to python3.12 or newer",
        )


def _check_limits(
    function: FunctionState,
    layers: Sequence[str],
    variables: Mapping[str, str],
    size: int,
) -> None:
    name = function.name
    if len(layers) > MOST_LAYERS:
        raise LayerError(
            f"{name} has {MOST_LAYERS} layers already, and Lambda allows no more",
            "merge two of them, or put the agent into a container image (examples/container)",
        )
    kept = sum(layer.size for layer in function.layers if not is_own(layer.arn))
    if function.code_size + kept + size > MOST_CODE_BYTES:
        raise LayerError(
            f"{name}: with its code and layers, lambdatrace's {size / 1e6:.1f} MB are more than "
            "the 250 MB that Lambda allows",
            "make the function or one of its layers smaller",
        )
    length = sum(len(key.encode()) + len(value.encode()) for key, value in variables.items())
    if length > MOST_VARIABLE_BYTES:
        raise LayerError(
            f"{name}: its environment variables would be {length} bytes, and Lambda allows "
            f"{MOST_VARIABLE_BYTES}",
            "shorten or remove some of them",
        )
