"""Real services for the tests that need them."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest
import support_dynamodb
from support_dynamodb import CREDENTIALS

from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_aws import Aws


@pytest.fixture
def aws_environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Credentials that DynamoDB Local takes, and nothing of the AWS set-up of this machine."""
    return _local_credentials(monkeypatch)


@pytest.fixture(scope="module")
def module_aws_environ() -> Iterator[dict[str, str]]:
    """The same for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        yield _local_credentials(patch)


def _local_credentials(patch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in list(os.environ):
        if name.startswith("AWS_") and name != "AWS_CA_BUNDLE":
            patch.delenv(name)
    environ = {
        **CREDENTIALS,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environ.items():
        patch.setenv(name, value)
    return environ


@pytest.fixture(scope="session")
def dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of AWS's own engine, running on this machine."""
    with support_dynamodb.dynamodb_local(tmp_path_factory.mktemp("dynamodb-local") / "log") as url:
        yield url


_numbers = itertools.count(1)


@pytest.fixture
def table(dynamodb_local: str, aws_environ: dict[str, str]) -> str:
    """The URL of a new, empty table."""
    url = f"dynamodb://Traces{next(_numbers)}?region=eu-west-1&endpoint={dynamodb_local}"
    assert create_table(store_url.parse(url, {}))
    return url


@pytest.fixture(scope="session")
def account() -> Iterator[Aws]:
    """One server of an AWS account for all tests."""
    from support_aws import Aws

    with Aws() as running:
        yield running


@pytest.fixture
def aws(account: Aws) -> Aws:
    """An empty account."""
    account.reset()
    return account
