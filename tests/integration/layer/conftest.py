"""An AWS account for the tests of deploying."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support_aws import Aws

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def account() -> Iterator[Aws]:
    """One server for all tests."""
    with Aws() as running:
        yield running


@pytest.fixture
def aws(account: Aws) -> Aws:
    """An empty account."""
    account.reset()
    return account
