"""Templates: accepted by the tools that read them, and the same in substance as deploy-layer."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from support_cli import run

from lambdatrace.layer.contents import Architecture
from lambdatrace.layer.plan import (
    LEVEL_VARIABLE,
    STORE_VARIABLE,
    WRAPPER,
    WRAPPER_VARIABLE,
    policy_document,
)
from lambdatrace.layer.template import TemplateFormat
from lambdatrace.store.table import definition, expiry

EACH = [(wanted, each) for wanted in TemplateFormat for each in Architecture]
YAML = [(wanted, each) for wanted, each in EACH if wanted in ("sam", "cloudformation")]


def text(wanted: str, architecture: str = "x86_64", table: str = "Traces") -> str:
    result = run("template", "--format", wanted, "--arch", architecture, "--table", table)
    assert (result.code, result.stderr) == (0, "")
    return result.stdout


class _Loader(yaml.SafeLoader):
    """Knows CloudFormation's short functions."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    assert isinstance(node, yaml.ScalarNode)
    value: Any = loader.construct_scalar(node)
    if suffix == "Ref":
        return {"Ref": value}
    return {f"Fn::{suffix}": value.split(".") if suffix == "GetAtt" else value}


_Loader.add_multi_constructor("!", _function)


def resources(wanted: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(text(wanted), _Loader)["Resources"]
    return found


@pytest.mark.parametrize(("wanted", "architecture"), EACH)
def test_names_are_filled_in(wanted: TemplateFormat, architecture: Architecture) -> None:
    content = text(wanted, architecture)
    assert "Traces" in content
    assert f"lambdatrace-{architecture}.zip" in content
    assert not re.search(r"@[A-Z_]+@", content)
    other = {"x86_64": "arm64", "arm64": "x86_64"}[architecture]
    assert other not in content.lower()


@pytest.mark.parametrize(("wanted", "architecture"), YAML)
def test_cfn_lint_finds_nothing(
    tmp_path: Path, wanted: TemplateFormat, architecture: Architecture
) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(text(wanted, architecture))
    assert lint(path) == ""


def test_cfn_lint_would_find_something(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(text("cloudformation").replace("PAY_PER_REQUEST", "PAY_PER_REQUES"))
    assert "PAY_PER_REQUES" in lint(path)


def lint(path: Path) -> str:
    """What cfn-lint says: errors, warnings and remarks."""
    command = [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_sam_takes_its_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    document = yaml.load(text("sam"), _Loader)
    # As the SAM CLI does before it validates: what is local is uploaded first.
    document["Resources"]["Agent"]["Properties"]["ContentUri"] = "s3://bucket/layer"
    document["Resources"]["Example"]["Properties"]["CodeUri"] = "s3://bucket/code"
    translated = Translator({}, Parser()).translate(document, {})["Resources"]
    kinds = sorted(each["Type"] for each in translated.values())
    assert kinds == [
        "AWS::DynamoDB::Table", "AWS::IAM::Role", "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
    ]  # fmt: skip
    del document["Resources"]["Agent"]["Properties"]["ContentUri"]
    with pytest.raises(InvalidDocumentException):
        Translator({}, Parser()).translate(document, {})
    (role,) = [each for each in translated.values() if each["Type"] == "AWS::IAM::Role"]
    (policy,) = role["Properties"]["Policies"]
    assert policy["PolicyDocument"]["Statement"][0]["Action"] == "dynamodb:BatchWriteItem"


@pytest.mark.parametrize("wanted", ["sam", "cloudformation"])
def test_they_deploy_what_the_command_deploys(wanted: str) -> None:
    found = resources(wanted)
    table = found["Traces"]["Properties"]
    meant = definition("Traces")
    assert {name: table[name] for name in meant} == meant
    assert table["TimeToLiveSpecification"] == expiry("Traces")["TimeToLiveSpecification"]
    variables = found["Example"]["Properties"]["Environment"]["Variables"]
    assert variables == {
        STORE_VARIABLE: {"Fn::Sub": "dynamodb://${Traces}"},
        LEVEL_VARIABLE: "flows",
        WRAPPER_VARIABLE: WRAPPER,
    }
    holder = found["Role" if wanted == "cloudformation" else "Example"]["Properties"]
    (policy,) = holder["Policies"]
    arn: Any = {"Fn::GetAtt": ["Traces", "Arn"]}
    assert policy.get("PolicyDocument", policy) == policy_document(arn)


def test_terraform_deploys_the_same() -> None:
    content = re.sub(r"\s+", " ", text("terraform"))
    for part in (
        'hash_key = "ExecutionID"', 'range_key = "TimestampNano"', 'attribute_name = "ExpiresAt"',
        'Action = "dynamodb:BatchWriteItem"', "Resource = aws_dynamodb_table.traces.arn",
        'LAMBDATRACE_STORE = "dynamodb://${aws_dynamodb_table.traces.name}"',
    ):  # fmt: skip
        assert part in content
    assert content.count("{") == content.count("}")


@pytest.mark.parametrize(("architecture", "constant"), [("x86_64", "X86_64"), ("arm64", "ARM_64")])
def test_the_cdk_snippet_is_python(architecture: str, constant: str) -> None:
    content = text("cdk-snippet", architecture)
    ast.parse(content)
    assert f"lambda_.Architecture.{constant}]" in content
    for part in ("ExecutionID", "TimestampNano", "ExpiresAt", '"dynamodb:BatchWriteItem"'):
        assert part in content


def test_a_table_that_cannot_be(tmp_path: Path) -> None:
    result = run("template", "--table", "x: y\nResources: {}")
    assert (result.code, result.stdout) == (2, "")
    assert "is not the name of a DynamoDB table" in result.stderr
