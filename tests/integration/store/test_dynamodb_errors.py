"""What a reader is told when DynamoDB cannot be read: what happened, and what to do."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from faulty_proxy import FaultyProxy, cuts_before, passes, refuses
from samples import START_NS, execution

from lambdatrace.agent.writer import open_writer
from lambdatrace.errors import StoreError
from lambdatrace.store import dynamodb, open_store
from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

if TYPE_CHECKING:
    from faulty_proxy import Fault


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt only: boto3's waits are not what is tested here."""
    once = dynamodb._CONFIG.merge(dynamodb.Config(retries={"total_max_attempts": 1}))
    monkeypatch.setattr(dynamodb, "_CONFIG", once)


def told(url: str, environ: dict[str, str]) -> StoreError:
    """What either way of reading says; both have to say the same, up to AWS's own words."""

    def read(index: bool) -> None:
        store = open_store(url, environ=environ)
        try:
            list(store.index(START_NS, START_NS)) if index else store.get("id")
        finally:
            store.close()

    errors = []
    for index in (False, True):
        with pytest.raises(StoreError) as caught:
            read(index)
        errors.append(caught.value)
    one, other = (error.message.partition(":")[0] for error in errors)
    assert one == other
    assert errors[0].hint
    assert "\n" not in errors[0].message + errors[0].hint
    assert errors[0].exit_code == 1
    return errors[0]


def test_a_table_that_is_not_there(dynamodb_local: str, aws_environ: dict[str, str]) -> None:
    error = told(f"dynamodb://Nowhere?region=eu-west-1&endpoint={dynamodb_local}", aws_environ)
    assert error.message == "there is no table Nowhere in this account and region"


def test_a_table_with_other_keys(dynamodb_local: str, aws_environ: dict[str, str]) -> None:
    target = store_url.parse(f"dynamodb://Other?region=eu-west-1&endpoint={dynamodb_local}", {})
    dynamodb.connect(target).create_table(
        TableName="Other",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "Id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "Id", "KeyType": "HASH"}],
    )
    error = told(str(target), aws_environ)
    assert "not one of lambdatrace" in error.message
    assert "ExecutionID" in error.hint


def test_no_credentials(
    table: str, aws_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert told(table, aws_environ).message == "there are no AWS credentials"


def test_half_of_the_credentials(
    table: str, aws_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert told(table, aws_environ).message == "there are no AWS credentials"


def test_no_region(aws_environ: dict[str, str]) -> None:
    error = told("dynamodb://Traces", aws_environ)
    assert "no AWS region" in error.message
    assert "AWS_REGION" in error.hint


def test_an_unknown_profile(aws_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    error = told("dynamodb://Traces?region=eu-west-1", aws_environ)
    assert "nobody" in error.message
    assert "AWS_PROFILE" in error.hint


def test_nobody_listens(aws_environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"dynamodb://Traces?region=eu-west-1&endpoint=http://127.0.0.1:{port}"
    assert "cannot be reached" in told(url, aws_environ).message


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (refuses("AccessDeniedException"), "does not allow", "dynamodb:Query"),
        (refuses("ExpiredTokenException"), "session has expired", "log in again"),
        (refuses("UnrecognizedClientException"), "does not accept", "log in again"),
        (refuses("ProvisionedThroughputExceededException"), "throttles", "shorter --since"),
        (refuses("InternalServerError", 500), "InternalServerError", "try again"),
        (cuts_before, "cannot be reached", "check the network"),
    ],
    ids=["forbidden", "expired", "unknown", "throttled", "500", "cut"],
)
def test_refusals(
    fault: Fault, message: str, hint: str, table: str, aws_environ: dict[str, str]
) -> None:
    target = store_url.parse(table, {})
    with FaultyProxy(target.endpoint or "", then=fault) as proxy:
        target.endpoint = proxy.endpoint
        error = told(str(target), aws_environ)
    assert message in error.message
    assert hint in error.hint


def test_trouble_between_two_pages_is_told_too(table: str, aws_environ: dict[str, str]) -> None:
    writer = open_writer(table, aws_environ)
    assert writer.write(execution("id", connections=20_000), time.monotonic() + 60) == 0
    target = store_url.parse(table, {})
    denied = refuses("AccessDeniedException")
    with FaultyProxy(target.endpoint or "", [passes], then=denied) as proxy:
        target.endpoint = proxy.endpoint
        with pytest.raises(StoreError, match="does not allow"):
            open_store(str(target), environ=aws_environ).get("id")


def test_a_table_cannot_be_made_where_nobody_listens(aws_environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"dynamodb://Traces?region=eu-west-1&endpoint=http://127.0.0.1:{port}"
    with pytest.raises(StoreError, match="cannot be reached"):
        create_table(store_url.parse(url, {}))
