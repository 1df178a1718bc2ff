"""docs/deploy.md lists what a person has to be allowed: held against the calls really made."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from support_aws import ACCOUNT, REGION, ROOT

if TYPE_CHECKING:
    from support_aws import Aws

# Lambda asks for it itself when a layer is attached.
NOT_CALLED = {"lambda:GetLayerVersion"}
COMMANDS = (
    ("deploy-layer", "--function", "orders", "--yes"),
    ("deploy-layer", "--function", "orders", "--yes"),
    ("init-table",),
    ("status",),
    ("remove-layer", "--function", "orders", "--yes"),
)


def documented() -> set[tuple[str, str]]:
    """(action, resource) of everything the documented policy allows."""
    text = (ROOT / "docs/deploy.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    for name, value in (
        ("REGION", REGION),
        ("ACCOUNT", ACCOUNT),
        ("TABLE", "lambdatrace"),
        ("FUNCTION", "orders"),
        ("role/ROLE", "role/service/orders-role"),
    ):
        block = block.replace(name, value)
    policy = json.loads(block)
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    return {
        (action, resource)
        for statement in policy["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_they_are_enough_and_none_is_too_many(aws: Aws) -> None:
    aws.function("orders")
    allowed = documented()
    used = set()
    for command in COMMANDS:
        ended = aws.run(*command)
        assert ended.code == 0, ended.stderr
        for action, resource in aws.resources:
            by = {
                (each, pattern)
                for each, pattern in allowed
                if each == action and fnmatchcase(resource, pattern)
            }
            assert by, f"{action} on {resource} is not in docs/deploy.md"
            used |= by
    assert {action for action, _ in allowed - used} == NOT_CALLED
