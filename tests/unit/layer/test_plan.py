"""What a plan decides, from what is there: pure, no AWS."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.errors import LayerError
from lambdatrace.layer import plan as planning
from lambdatrace.layer.build import Layer
from lambdatrace.layer.contents import Architecture
from lambdatrace.layer.plan import (
    AttachedLayer,
    ChangeFunction,
    ChangePolicy,
    CreateTable,
    ExpireItems,
    FunctionPlan,
    FunctionState,
    Plan,
    PublishLayer,
    TableState,
    Wish,
    plan_deployment,
    plan_removal,
)

ARN = "arn:aws:lambda:eu-west-1:123456789012"
LAYERS = {each: Layer(each, b"x" * 1_000_000, "ab" * 32, "cd" * 32) for each in Architecture}
OWN = f"{ARN}:layer:lambdatrace-x86_64:3"
OLD = f"{ARN}:layer:lambdatrace-x86_64:2"
PUBLISHED = {Architecture.X86_64: OWN, Architecture.ARM64: f"{ARN}:layer:lambdatrace-arm64:1"}
TABLE = TableState(fits=True, expires=True)
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Traces"
WISH = Wish("Traces", None, LAYERS)


def others(count: int, size: int = 0) -> tuple[AttachedLayer, ...]:
    return tuple(AttachedLayer(f"{ARN}:layer:other-{n}:1", size) for n in range(count))


def function(**changes: Any) -> FunctionState:
    state = FunctionState(
        name="orders",
        arn=f"{ARN}:function:orders",
        runtime="python3.13",
        package_type="Zip",
        architecture="x86_64",
        version="$LATEST",
        role="arn:aws:iam::123456789012:role/service/orders-role",
        code_size=1_000,
        layers=(),
        variables={"STAGE": "live"},
    )
    return dataclasses.replace(state, **changes)


def deployed(state: FunctionState, wish: Wish = WISH) -> FunctionPlan:
    (found,) = plan_deployment(wish, TABLE, PUBLISHED, [state]).functions
    return found


def removed(state: FunctionState) -> FunctionPlan:
    (found,) = plan_removal([state], []).functions
    return found


def after(state: FunctionState, plan: FunctionPlan) -> FunctionState:
    """The function once the steps have been taken."""
    policies = dict(state.policies)
    for step in plan.steps:
        if isinstance(step, ChangeFunction):
            layers = tuple(AttachedLayer(arn) for arn in step.layers_after)
            state = dataclasses.replace(state, layers=layers, variables=step.variables_after)
        elif step.after is None:
            del policies[step.name]
        else:
            policies[step.name] = step.after
    return dataclasses.replace(state, policies=policies)


def test_a_first_deployment() -> None:
    plan = plan_deployment(WISH, None, {}, [function()])
    assert plan.shared == (
        CreateTable("Traces", None),
        ExpireItems("Traces"),
        PublishLayer(LAYERS[Architecture.X86_64]),
    )
    (each,) = plan.functions
    assert each.steps == (
        ChangePolicy(
            "orders-role", "lambdatrace-Traces", None, planning.policy_document(TABLE_ARN)
        ),
        ChangeFunction(
            "orders",
            (),
            ("lambdatrace-x86_64:(new)",),
            {"STAGE": "live"},
            {
                "STAGE": "live",
                "LAMBDATRACE_STORE": "dynamodb://Traces",
                "LAMBDATRACE_LEVEL": "flows",
                "AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace/wrapper",
            },
        ),
    )


def test_a_second_deployment_changes_nothing() -> None:
    state = after(function(), deployed(function()))
    plan = plan_deployment(WISH, TABLE, PUBLISHED, [state])
    assert plan == Plan((), (FunctionPlan("orders"),))
    assert not plan.changes


NAMES = st.sampled_from(["STAGE", "TOKEN", "EMPTY", "lambdatrace_store"])


@given(
    st.integers(0, 4), st.dictionaries(NAMES, st.text(max_size=9)), st.sampled_from(Architecture)
)
def test_removal_restores_what_was(
    count: int, variables: dict[str, str], architecture: Architecture
) -> None:
    before = function(layers=others(count), variables=variables, architecture=architecture.value)
    there = after(before, deployed(before))
    assert there.traced
    assert there.table == "Traces"
    (removal,) = plan_removal([there], [before]).functions
    assert after(there, removal) == before
    (again,) = plan_removal([before], []).functions
    assert again.steps == ()


def test_a_newer_layer_takes_the_place_of_the_older() -> None:
    first, last = others(2)
    state = function(layers=(first, AttachedLayer(OLD), last, AttachedLayer(f"{OLD}1")))
    steps = deployed(state).steps
    change = steps[-1]
    assert isinstance(change, ChangeFunction)
    assert change.layers_after == (first.arn, OWN, last.arn)


def test_four_layers_leave_room_and_five_do_not() -> None:
    assert deployed(function(layers=others(4))).problem is None
    problem = deployed(function(layers=others(5))).problem
    assert problem is not None
    assert "has 5 layers already" in problem.message
    with_own = (*others(4), AttachedLayer(OLD))
    assert deployed(function(layers=with_own)).problem is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime": "python3.11"}, "Amazon Linux 2"),
        ({"runtime": "nodejs22.x"}, "has no Python for the agent, and the layer brings none yet"),
        ({"runtime": "provided.al2023"}, "brings none yet"),
        ({"package_type": "Image", "runtime": ""}, "container image"),
        ({"version": "7"}, "published version or an alias"),
        ({"code_size": 249 << 20, "layers": others(1, 1 << 20)}, "250 MB"),
        ({"variables": {"BIG": "x" * 4_060}}, "environment variables would be"),
    ],
)
def test_what_cannot_be_traced(changes: dict[str, Any], message: str) -> None:
    plan = plan_deployment(WISH, None, {}, [function(**changes)])
    (each,) = plan.functions
    assert each.problem is not None
    assert message in each.problem.message
    assert each.problem.hint
    assert each.steps == ()
    # And nothing is made for it.
    assert plan.shared == ()


def test_a_runtime_of_tomorrow() -> None:
    assert deployed(function(runtime="python3.15")).problem is None


def test_an_architecture_that_was_insisted_on() -> None:
    wish = dataclasses.replace(WISH, architecture=Architecture.ARM64)
    problem = deployed(function(), wish).problem
    assert problem is not None
    assert problem.message == "orders runs on x86_64, not on arm64"
    assert deployed(function(architecture="arm64"), wish).problem is None


def test_one_function_that_cannot_does_not_keep_others() -> None:
    states = [function(name="a", runtime="ruby3.4"), function(name="b", architecture="arm64")]
    failed = FunctionPlan("c", problem=LayerError("there is no function c"))
    plan = plan_deployment(WISH, TABLE, {}, [*states, failed])
    assert [each.problem is None for each in plan.functions] == [False, True, False]
    assert plan.shared == (PublishLayer(LAYERS[Architecture.ARM64]),)


def test_the_level_stays_unless_it_is_named() -> None:
    state = function(variables={"LAMBDATRACE_LEVEL": "syscalls"})
    for wish, level in (
        (WISH, "syscalls"),
        (dataclasses.replace(WISH, level="flows"), "flows"),
    ):
        change = deployed(state, wish).steps[-1]
        assert isinstance(change, ChangeFunction)
        assert change.variables_after["LAMBDATRACE_LEVEL"] == level


def test_without_a_function_the_table_and_one_layer() -> None:
    wish = dataclasses.replace(WISH, kms_key="arn:aws:kms:eu-west-1:1:key/k")
    plan = plan_deployment(wish, None, {}, [])
    assert plan.shared == (
        CreateTable("Traces", "arn:aws:kms:eu-west-1:1:key/k"),
        ExpireItems("Traces"),
        PublishLayer(LAYERS[Architecture.X86_64]),
    )
    wish = dataclasses.replace(WISH, architecture=Architecture.ARM64)
    plan = plan_deployment(wish, TABLE, {}, [])
    assert plan.shared == (PublishLayer(LAYERS[Architecture.ARM64]),)


def test_tables() -> None:
    assert planning.table_steps("T", None, TABLE) == ()
    unexpiring = dataclasses.replace(TABLE, expires=False)
    assert planning.table_steps("T", None, unexpiring) == (ExpireItems("T"),)
    foreign = dataclasses.replace(TABLE, fits=False)
    with pytest.raises(LayerError, match="not one of lambdatrace"):
        planning.table_steps("T", None, foreign)


def test_a_policy_that_another_function_needs_stays() -> None:
    state = after(function(), deployed(function()))
    other = dataclasses.replace(state, name="other", policies={})
    untraced = dataclasses.replace(other, layers=())
    elsewhere = dataclasses.replace(other, variables={"LAMBDATRACE_STORE": "dynamodb://Other"})
    (kept,) = plan_removal([state], [other]).functions
    assert [type(step) for step in kept.steps] == [ChangeFunction]
    assert "other traced functions" in kept.notes[0]
    (removed,) = plan_removal([state], [untraced, elsewhere]).functions
    assert [type(step) for step in removed.steps] == [ChangeFunction, ChangePolicy]


def test_policies_allow_one_action_on_one_table_in_every_partition() -> None:
    for partition in ("aws", "aws-cn", "aws-us-gov"):
        arn = planning.table_arn(f"arn:{partition}:lambda:x-y-1:1:function:f", "T.a_b-c")
        assert arn == f"arn:{partition}:dynamodb:x-y-1:1:table/T.a_b-c"
        (statement,) = planning.policy_document(arn)["Statement"]
        assert json.dumps(statement["Action"]) == '"dynamodb:BatchWriteItem"'
        assert statement["Resource"] == arn


def test_names_of_policies_are_short_enough_and_tell_tables_apart() -> None:
    names = {planning.policy_name("t" * length) for length in range(3, 256)}
    assert len(names) == 253
    assert max(len(name) for name in names) <= 128  # IAM's limit


@pytest.mark.parametrize(
    ("arn", "own"),
    [
        (OWN, True),
        (f"{ARN}:layer:lambdatrace-arm64:12", True),
        (f"{ARN}:layer:lambdatrace-arm64-mine:12", False),
        (f"{ARN}:layer:other:1", False),
        ("lambdatrace-x86_64:1", False),
        ("", False),
    ],
)
def test_whose_a_layer_is(arn: str, own: bool) -> None:
    assert planning.is_own(arn) is own


def test_the_runtime_starts_through_the_wrapper_until_the_layer_goes() -> None:
    before = function()
    with_it = after(before, deployed(before))
    assert with_it.variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/lambdatrace/wrapper"
    assert not deployed(with_it).steps
    assert after(with_it, removed(with_it)).variables == before.variables


def test_a_wrapper_that_is_there_is_started_by_ours_and_comes_back() -> None:
    before = function(variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-handler"})
    plan = deployed(before)
    assert any("/opt/otel-handler" in note for note in plan.notes)
    with_it = after(before, plan)
    assert with_it.variables["LAMBDATRACE_EXEC_WRAPPER"] == "/opt/otel-handler"
    again = deployed(with_it)
    assert not again.steps
    assert not again.notes
    assert after(with_it, removed(with_it)).variables == before.variables
