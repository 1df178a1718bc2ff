"""Runtimes and HTTP libraries with the preloaded library: the same outcomes, and all recorded.

A choice with a few hundred requests each; `make preload-clients` makes a thousand with every Python
that it is given, and gRPC.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support import require
from support_clients import JAVA, NODE, Field, check_boto3, python_client

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 200
CALLS = 100


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    require(os.geteuid() == 0, "a resolver of its own needs root")
    for program in ("openssl", "unshare"):
        require(shutil.which(program), f"{program} is not installed")
    with Field(tmp_path_factory.mktemp("clients"), REQUESTS) as field:
        yield field


@pytest.mark.parametrize("name", ["stdlib", "requests", "httpx", "aiohttp"])
def test_python(field: Field, name: str) -> None:
    compared = field.check(python_client(name))
    assert compared.answers > REQUESTS * 0.8
    assert 1 < compared.connections < compared.answers


def test_node(field: Field) -> None:
    require(shutil.which("node"), "Node is not installed")
    assert field.check(NODE).answers > REQUESTS * 0.8


def test_java(field: Field) -> None:
    require(shutil.which("javac"), "no JDK is installed")
    assert field.check(JAVA).answers > REQUESTS * 0.8


def test_boto3(field: Field, dynamodb_local: str) -> None:
    assert check_boto3(field, python_client("boto3"), {}, dynamodb_local, CALLS).answers == CALLS
