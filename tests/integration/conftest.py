"""Real services for the tests that need them."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import require

from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support_aws import Aws

REPOSITORY = Path(__file__).parents[2]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDLOCAL", "AWS_SECRET_ACCESS_KEY": "local"}
_START_SECONDS = 60


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
    folder = Path(
        os.environ.get("LAMBDATRACE_DYNAMODB_LOCAL") or REPOSITORY / ".tools" / "dynamodb"
    )
    jar = folder / "DynamoDBLocal.jar"
    require(jar.exists(), f"no {jar.name} in {folder}: make setup, or LAMBDATRACE_DYNAMODB_LOCAL")
    require(_runs("java", "-version"), "DynamoDB Local needs a Java runtime, version 17 or newer")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("dynamodb-local") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                "java", "-Djava.library.path=DynamoDBLocal_lib", "-Xmx512m", "-jar", jar.name,
                "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port),
            ],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(_START_SECONDS * 10):
            if process.poll() is not None:
                pytest.fail(f"DynamoDB Local ended: {log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"DynamoDB Local does not listen: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


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


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
