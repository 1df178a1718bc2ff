"""deploy-layer, remove-layer, status and init-table: the real commands, against moto's AWS."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from support_aws import ACCOUNT, REGION, Aws, Ended, Fault, Meanwhile

from lambdatrace.agent.dynamodb import open_table
from lambdatrace.layer.build import build
from lambdatrace.layer.contents import Architecture
from lambdatrace.store import url as store_url

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITING = re.compile(r":(Create|Update|Put|Delete|Publish|Add|Remove|Attach|Tag)")
TABLE_ARN = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/lambdatrace"
LAYER_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:lambdatrace-x86_64"


def writes(aws: Aws) -> list[str]:
    return [call for call in aws.calls if WRITING.search(call)]


def deploy(aws: Aws, *functions: str, options: Sequence[str] = ("--yes",)) -> Ended:
    named = [word for name in functions for word in ("--function", name)]
    return aws.run("deploy-layer", *named, *options)


def remove(aws: Aws, *functions: str) -> Ended:
    return aws.run("remove-layer", *(f"--function={name}" for name in functions), "--yes")


def layers_of(aws: Aws, name: str) -> list[str]:
    return [layer["Arn"] for layer in aws.configuration(name)["Layers"]]


def test_a_first_deployment_and_a_second_that_changes_nothing(aws: Aws) -> None:
    aws.function("orders", Environment={"Variables": {"STAGE": "live"}})
    first = deploy(aws, "orders")
    assert first.code == 0, first.stderr
    assert "changed    orders" in first.stdout
    assert (
        f"next: invoke a function, then: lambdatrace list --store 'dynamodb://lambdatrace?region={REGION}'"
        in first.stderr
    )
    told = aws.configuration("orders")
    assert told["Environment"]["Variables"] == {
        "STAGE": "live",
        "LAMBDATRACE_STORE": "dynamodb://lambdatrace",
        "LAMBDATRACE_LEVEL": "flows",
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace/wrapper",
    }
    assert layers_of(aws, "orders") == [f"{LAYER_ARN}:1"]
    assert aws.policies("orders-role") == {
        "lambdatrace-lambdatrace": {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "dynamodb:BatchWriteItem", "Resource": TABLE_ARN}
            ],
        }
    }
    table = aws.client("dynamodb").describe_table(TableName="lambdatrace")["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    expiry = aws.client("dynamodb").describe_time_to_live(TableName="lambdatrace")
    assert expiry["TimeToLiveDescription"]["AttributeName"] == "ExpiresAt"

    before = aws.snapshot("orders")
    second = deploy(aws, "orders", options=())  # nobody has to be asked
    assert (second.code, second.stderr) == (0, "")
    assert second.stdout == "orders\n  nothing to change\n"
    assert writes(aws) == []
    assert aws.snapshot("orders") == before


def test_what_is_published_is_what_is_built(aws: Aws) -> None:
    aws.function("orders")
    deploy(aws, "orders")
    told = aws.client("lambda").get_layer_version(LayerName="lambdatrace-x86_64", VersionNumber=1)
    layer = build(Architecture.X86_64)
    assert base64.b64decode(told["Content"]["CodeSha256"]).hex() == layer.sha256
    assert told["Content"]["CodeSize"] == len(layer.content)
    assert told["CompatibleArchitectures"] == ["x86_64"]
    assert told["CompatibleRuntimes"] == ["python3.12", "python3.13", "python3.14"]
    assert layer.sha256 in told["Description"]


def test_a_dry_run_writes_nothing(aws: Aws) -> None:
    aws.function("orders")
    before = aws.snapshot("orders")
    text = deploy(aws, "orders", options=["--dry-run"])
    assert (text.code, writes(aws)) == (0, [])
    assert "+ variable LAMBDATRACE_STORE=dynamodb://lambdatrace" in text.stdout
    document = json.loads(deploy(aws, "orders", options=["--dry-run", "-o", "json"]).stdout)
    assert [step["step"] for step in document["shared"]] == [
        "create-table", "expire-items", "publish-layer",
    ]  # fmt: skip
    (each,) = document["functions"]
    assert (each["function"], each["status"]) == ("orders", "to change")
    assert [step["step"] for step in each["steps"]] == ["change-policy", "change-function"]
    assert aws.snapshot("orders") == before


def test_without_yes_and_without_a_terminal_nothing_is_changed(aws: Aws) -> None:
    aws.function("orders")
    ended = deploy(aws, "orders", options=())
    assert (ended.code, writes(aws)) == (2, [])
    assert "nothing was changed" in ended.error


def test_four_layers_and_five(aws: Aws) -> None:
    layers = aws.layers(5)
    aws.function("four", Layers=layers[:4])
    aws.function("five", Layers=layers)
    assert deploy(aws, "four").code == 0
    assert layers_of(aws, "four") == [*layers[:4], f"{LAYER_ARN}:1"]
    before = aws.snapshot("five")
    ended = deploy(aws, "five")
    assert ended.code == 1
    assert "five has 5 layers already" in ended.error
    assert writes(aws) == []
    assert aws.snapshot("five") == before


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"Architectures": ["arm64"]}, ["--arch", "x86_64"], "runs on arm64, not on x86_64"),
        ({"Runtime": "nodejs22.x"}, [], "the layer brings none yet"),
        ({"Runtime": "python3.11"}, [], "Amazon Linux 2"),
        ({"Environment": {"Variables": {"X": "x" * 4_050}}}, [], "4096"),
    ],
)
def test_functions_that_cannot_be_traced(
    aws: Aws, options: dict[str, Any], arguments: list[str], message: str
) -> None:
    aws.function("orders", **options)
    ended = deploy(aws, "orders", options=["--yes", *arguments])
    assert ended.code == 1
    assert message in ended.error
    assert ended.hint
    assert writes(aws) == []


def test_each_function_gets_the_layer_of_its_architecture(aws: Aws) -> None:
    aws.function("old", Architectures=["x86_64"])
    aws.function("new", Architectures=["arm64"])
    assert deploy(aws, "old", "new").code == 0
    assert layers_of(aws, "new") == [f"{LAYER_ARN.replace('x86_64', 'arm64')}:1"]
    assert layers_of(aws, "old") == [f"{LAYER_ARN}:1"]


def test_several_functions_with_one_that_fails(aws: Aws) -> None:
    for name in ("a", "b", "c"):
        aws.function(name)
    aws.faults = [Fault("lambda:UpdateFunctionConfiguration", "AccessDeniedException", about="/b/")]
    before = aws.snapshot("b")[:2]
    ended = deploy(aws, "a", "b", "nowhere", "c")
    assert ended.code == 1
    assert ended.error.startswith(
        "2 of 4 functions failed, the first: AWS does not allow "
        "lambda:UpdateFunctionConfiguration on function b"
    )
    assert "failed     b: " in ended.stdout
    assert "failed     nowhere: there is no function nowhere in eu-west-1" in ended.stdout
    assert layers_of(aws, "a") == layers_of(aws, "c") == [f"{LAYER_ARN}:1"]
    # Its role had got the permission already.
    assert "iam:DeleteRolePolicy" in aws.calls
    assert aws.snapshot("b")[:2] == before


def test_what_cannot_be_undone_is_named(aws: Aws) -> None:
    aws.function("orders")
    aws.faults = [
        Fault("lambda:UpdateFunctionConfiguration", "AccessDeniedException"),
        Fault("iam:DeleteRolePolicy", "AccessDenied"),
    ]
    ended = deploy(aws, "orders")
    assert ended.code == 1
    assert "left: policy lambdatrace-lambdatrace of role orders-role" in ended.stdout
    aws.faults = []
    assert deploy(aws, "orders").code == 0


def test_a_role_that_may_not_be_changed(aws: Aws) -> None:
    aws.function("orders")
    before = aws.snapshot("orders")[:2]
    aws.faults = [Fault("iam:PutRolePolicy", "AccessDenied", "no identity-based policy allows it")]
    ended = deploy(aws, "orders")
    assert ended.code == 1
    assert ended.error == "AWS does not allow iam:PutRolePolicy on role orders-role"
    assert "no identity-based policy allows it" in ended.hint
    assert aws.snapshot("orders")[:2] == before


def test_a_role_of_two_functions(aws: Aws) -> None:
    role = aws.role("shared")
    for name in ("a", "b"):
        aws.function(name, role=role)
    # The second fails; the first needs the permission that both would have got.
    aws.faults = [Fault("lambda:UpdateFunctionConfiguration", "AccessDeniedException", about="/b/")]
    assert deploy(aws, "a", "b").code == 1
    assert list(aws.policies("shared")) == ["lambdatrace-lambdatrace"]
    aws.faults = []
    assert deploy(aws, "a", "b").code == 0
    ended = remove(aws, "a")
    assert "keeps policy lambdatrace-lambdatrace" in ended.stdout
    assert list(aws.policies("shared")) == ["lambdatrace-lambdatrace"]
    assert remove(aws, "b").code == 0
    assert aws.policies("shared") == {}


def test_a_function_that_is_being_updated(aws: Aws) -> None:
    aws.function("orders")
    aws.faults = [
        Fault(
            "lambda:UpdateFunctionConfiguration", "ResourceConflictException", status=409, times=2
        )
    ]
    assert deploy(aws, "orders").code == 0
    assert aws.calls.count("lambda:UpdateFunctionConfiguration") == 3
    assert layers_of(aws, "orders") == [f"{LAYER_ARN}:1"]


def test_a_function_whose_update_takes_a_while(aws: Aws) -> None:
    aws.function("orders")
    answers = iter(["InProgress", "InProgress", "Successful", "InProgress"])

    def alter(action: str, answer: dict[str, Any]) -> None:
        if action == "lambda:GetFunctionConfiguration" and aws.calls.count(action) > 1:
            answer["LastUpdateStatus"] = next(answers, "Successful")
            answer["RevisionId"] = f"revision-{aws.calls.count(action)}"

    aws.alter = alter
    assert deploy(aws, "orders").code == 0
    # One look for the plan, three until it was at rest, two until it was changed.
    assert aws.calls.count("lambda:GetFunctionConfiguration") == 6
    assert aws.calls.index("lambda:UpdateFunctionConfiguration") == len(aws.calls) - 3
    assert (
        json.loads(aws.bodies["lambda:UpdateFunctionConfiguration"])["RevisionId"] == "revision-4"
    )


def test_an_update_that_lambda_cannot_make_is_undone(aws: Aws) -> None:
    aws.function("orders", Environment={"Variables": {"STAGE": "live"}})
    before = aws.snapshot("orders")[:2]

    def alter(action: str, answer: dict[str, Any]) -> None:
        updated = aws.calls.count("lambda:UpdateFunctionConfiguration") == 1
        if action == "lambda:GetFunctionConfiguration" and updated:
            answer.update(LastUpdateStatus="Failed", LastUpdateStatusReason="no subnet is left")

    aws.alter = alter
    ended = deploy(aws, "orders")
    assert (ended.code, ended.error) == (1, "Lambda could not change orders")
    assert ended.hint == "no subnet is left"
    aws.alter = lambda action, answer: None
    assert aws.snapshot("orders")[:2] == before


def test_variables_that_cannot_be_read_are_not_lost(aws: Aws) -> None:
    aws.function("orders", Environment={"Variables": {"STAGE": "live"}})

    def alter(action: str, answer: dict[str, Any]) -> None:
        if action == "lambda:GetFunctionConfiguration":
            answer["Environment"] = {"Error": {"ErrorCode": "x", "Message": "no kms:Decrypt"}}

    aws.alter = alter
    ended = deploy(aws, "orders")
    assert (ended.code, writes(aws)) == (1, [])
    assert "its environment variables cannot be read" in ended.error
    assert "no kms:Decrypt" in ended.hint


def test_a_function_that_somebody_else_changes_meanwhile(aws: Aws) -> None:
    aws.function("orders")

    def change() -> None:
        aws.client("lambda").update_function_configuration(
            FunctionName="orders", Environment={"Variables": {"NEW": "1"}}
        )

    aws.on_call = Meanwhile(("iam:PutRolePolicy", change))
    ended = deploy(aws, "orders")
    assert ended.code == 1
    assert "changed by somebody else meanwhile" in ended.error
    assert aws.configuration("orders")["Environment"]["Variables"] == {"NEW": "1"}
    assert aws.policies("orders-role") == {}
    assert deploy(aws, "orders").code == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "Environment": {"Variables": {"STAGE": "live", "LAMBDA": "1"}},
            "Description": "orders",
            "Timeout": 29,
            "MemorySize": 512,
            "Architectures": ["arm64"],
        },
    ],
)
def test_removal_restores_the_configuration_exactly(aws: Aws, options: dict[str, Any]) -> None:
    layers = aws.layers(2 if options else 0)
    aws.function("orders", Layers=layers, **options)
    before = aws.snapshot("orders")[:2]
    assert deploy(aws, "orders", options=["--yes", "--level", "syscalls"]).code == 0
    assert aws.snapshot("orders")[:2] != before
    ended = remove(aws, "orders")
    assert ended.code == 0, ended.stderr
    assert aws.snapshot("orders")[:2] == before
    assert "delete-table" in ended.stderr
    again = aws.run("remove-layer", "--function", "orders")
    assert (again.code, again.stdout) == (0, "orders\n  nothing to change\n")
    assert writes(aws) == []


def test_a_removal_that_fails_leaves_the_permission(aws: Aws) -> None:
    aws.function("orders")
    deploy(aws, "orders")
    before = aws.snapshot("orders")
    aws.faults = [Fault("lambda:UpdateFunctionConfiguration", "AccessDeniedException")]
    assert remove(aws, "orders").code == 1
    assert aws.snapshot("orders") == before
    aws.faults = [Fault("iam:DeleteRolePolicy", "AccessDenied")]
    ended = remove(aws, "orders")
    assert ended.code == 1
    assert "left: policy lambdatrace-lambdatrace of role orders-role" in ended.stdout
    aws.faults = []
    assert remove(aws, "orders").code == 0
    assert aws.policies("orders-role") == {}


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "error", "hint"),
    [
        (["deploy-layer", "-f", "x", "--yes"], {}, 3, "there is no function x in", "--region"),
        (["remove-layer", "-f", "x", "--yes"], {}, 3, "there is no function x in", "--region"),
        (["status", "-f", "x"], {}, 3, "there is no function x in", "--region"),
        (["remove-layer", "--yes"], {}, 2, "which functions?", "lambdatrace status"),
        (["status"], {"AWS_REGION": None}, 1, "no AWS region is set", "--region"),
        (
            ["deploy-layer"],
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            1, "there are no AWS credentials", "aws configure",
        ),
        (["init-table", "--profile", "me"], {}, 1, "profile (me) could not be found", "--profile"),
        (["init-table"], {"AWS_PROFILE": "me"}, 1, "profile (me)", "AWS_PROFILE"),
        (["deploy-layer", "--table", "x"], {}, 2, "'x' is not the name of a", "3 to 255"),
        (["deploy-layer", "--region", "not a region"], {}, 1, "not a region", "configuration"),
        (
            ["status", "--region", "eu-west-1"],
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            1, "Lambda cannot be reached", "check the network",
        ),
    ],
)  # fmt: skip
def test_what_a_person_can_get_wrong(
    aws: Aws, arguments: list[str], environ: dict[str, str | None], code: int, error: str, hint: str
) -> None:
    ended = aws.run(*arguments, environ=environ)
    assert ended.code == code
    assert error in ended.error
    assert hint in ended.hint
    assert len(ended.stderr.splitlines()) == 2
    assert writes(aws) == []


@pytest.mark.parametrize(
    ("fault", "error", "hint"),
    [
        (
            Fault("lambda:GetFunctionConfiguration", "ExpiredTokenException"),
            "the AWS session has expired", "aws sso login",
        ),
        (
            Fault("lambda:GetFunctionConfiguration", "UnrecognizedClientException", "bad token"),
            "AWS does not accept the credentials: bad token", "aws sso login",
        ),
        (
            Fault("lambda:GetFunctionConfiguration", "AccessDeniedException"),
            "AWS does not allow lambda:GetFunctionConfiguration on function orders", "docs/deploy",
        ),
        (
            Fault("dynamodb:CreateTable", "AccessDeniedException"),
            "AWS does not allow dynamodb:CreateTable on table lambdatrace", "docs/deploy",
        ),
        (
            Fault("lambda:PublishLayerVersion", "AccessDeniedException"),
            "AWS does not allow lambda:PublishLayerVersion on layer lambdatrace-x86_64",
            "made before, and kept: table lambdatrace, expiry of table lambdatrace",
        ),
        (
            Fault("lambda:PublishLayerVersion", "CodeStorageExceededException", "75 GB", 400),
            "Lambda refused lambda:PublishLayerVersion", "75 GB",
        ),
    ],
)  # fmt: skip
def test_what_aws_refuses(aws: Aws, fault: Fault, error: str, hint: str) -> None:
    aws.function("orders")
    before = aws.snapshot("orders")[:2]
    aws.faults = [fault]
    ended = deploy(aws, "orders")
    aws.faults = []
    assert ended.code == 1
    assert error in ended.error
    assert hint in ended.hint
    assert aws.snapshot("orders")[:2] == before


def test_the_table_alone(aws: Aws) -> None:
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    ended = aws.run("init-table", "--table", "Traces", "--kms-key", key, "--yes")
    assert ended.code == 0, ended.stderr
    table = aws.client("dynamodb").describe_table(TableName="Traces")["Table"]
    assert table["SSEDescription"]["KMSMasterKeyArn"] == key
    again = aws.run("init-table", "--table", "Traces")
    assert (again.code, again.stdout) == (0, "nothing to change\n")


def test_a_table_of_somebody_else(aws: Aws) -> None:
    aws.client("dynamodb").create_table(
        TableName="Orders",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    aws.function("orders")
    ended = deploy(aws, "orders", options=["--table", "Orders", "--yes"])
    assert ended.code == 1
    assert "the table Orders is not one of lambdatrace" in ended.error
    assert writes(aws) == []


def test_status(aws: Aws) -> None:
    empty = aws.run("status")
    assert (empty.code, empty.stdout) == (0, "")
    assert "no function here is traced" in empty.stderr
    for name in ("orders", "checkout", "untouched"):
        aws.function(name)
    deploy(aws, "orders", "checkout", options=["--yes", "--table", "Traces"])
    # Published by an older lambdatrace.
    old = aws.client("lambda").publish_layer_version(
        LayerName="lambdatrace-x86_64", Content={"ZipFile": b"PK\x05\x06" + bytes(18)}
    )
    aws.client("lambda").update_function_configuration(
        FunctionName="orders", Layers=[old["LayerVersionArn"]]
    )
    url = store_url.parse(f"dynamodb://Traces?region={REGION}&endpoint={aws.endpoint}", {})
    environ = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test"}
    writer = open_table(url, environ)
    written = [
        item
        for number in range(3)
        for item in traces.execution(
            execution_id=f"id-{number}",
            function="checkout",
            started_ns=traces.STARTED_NS + number,
            dropped={"events": 2},
        )
    ]
    assert writer.write(written, time.monotonic() + 60) == 0
    writer.close()
    text = aws.run("status", "--since", "2026-11-22T00:00:00Z")
    assert text.code == 0, text.stderr
    assert "another layer than this lambdatrace's" in text.stderr
    assert "untouched" not in text.stdout
    ended = aws.run("status", "--since", "2026-11-22T00:00:00Z", "--output", "json")
    checkout, orders = json.loads(ended.stdout)
    assert (checkout["function"], orders["function"]) == ("checkout", "orders")
    assert checkout == {
        "schema_version": 1,
        "function": "checkout",
        "runtime": "python3.13",
        "architecture": "x86_64",
        "layer": f"{LAYER_ARN}:1",
        "up_to_date": True,
        "table": "Traces",
        "level": "flows",
        "executions": 3,
        "last_started_at": "2026-11-22T07:00:00.000000002Z",
        "dropped": 6,
    }
    assert (orders["up_to_date"], orders["executions"], orders["last_started_at"]) == (
        False, 0, None,
    )  # fmt: skip
    # An update brings it back.
    assert deploy(aws, "orders", options=["--yes", "--table", "Traces"]).code == 0
    assert layers_of(aws, "orders") == [f"{LAYER_ARN}:1"]
    named = aws.run("status", "-f", "untouched", "-o", "csv").stdout.splitlines()
    assert named[1].startswith("1,untouched,python3.13,x86_64,,,")


def test_status_when_the_table_cannot_be_read(aws: Aws) -> None:
    aws.function("orders")
    deploy(aws, "orders")
    aws.faults = [Fault("dynamodb:Query", "AccessDeniedException")]
    ended = aws.run("status", "-o", "json", "--since", "1h")
    (orders,) = json.loads(ended.stdout)
    assert (ended.code, orders["executions"], orders["dropped"]) == (0, None, None)
    assert "dynamodb:Query" in ended.stderr
