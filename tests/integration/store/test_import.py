"""Exports into AWS's own DynamoDB engine and back, and what DynamoDB may answer meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import support_exports as exports
from botocore.exceptions import ClientError
from support_cli import run

from lambdatrace.errors import StoreError
from lambdatrace.store.import_dynamodb import TableWriter

if TYPE_CHECKING:
    from pathlib import Path


def test_through_dynamodb_and_back(tmp_path: Path, table: str, aws_environ: dict[str, str]) -> None:
    local = exports.store(tmp_path / "store.db")
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert run("export", "--store", local, "-o", str(first)).code == 0
    result = run("import", str(first), "--store", table, environ=aws_environ)
    assert (result.code, result.stderr.split(" put into ")[0]) == (
        0,
        f"note: {len(exports.kinds())} executions",
    )
    window = ("--since", "2026-11-22T07:00:00Z", "--until", "2026-11-22T08:00:00Z")
    result = run("export", "--store", table, *window, "-o", str(second), environ=aws_environ)
    assert (result.code, result.stderr) == (0, "")
    assert second.read_bytes() == first.read_bytes()
    for execution in ("00000001", "00000004"):
        command = ["show", execution, *window, "--events"]
        assert run(*command, "--from", str(first)) == run(
            *command, "--store", table, environ=aws_environ
        )


class _Client:
    """DynamoDB as it may be: takes `takes` items of each request, or refuses all."""

    def __init__(self, takes: int = 25, code: str = "") -> None:
        self.takes = takes
        self.code = code
        self.sizes: list[int] = []
        self.got: list[Any] = []

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803
        if self.code:
            raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, "BatchWriteItem")
        ((table, requests),) = RequestItems.items()
        self.sizes.append(len(requests))
        self.got += requests[: self.takes]
        left = requests[self.takes :]
        return {"UnprocessedItems": {table: left} if left else {}}

    def close(self) -> None:
        """Nothing is open."""


def test_what_is_not_taken_is_written_again() -> None:
    items = [item for each in exports.kinds().values() for item in each]
    slept: list[float] = []
    client = _Client(takes=7)
    writer = TableWriter(client, "Traces", slept.append)  # type: ignore[arg-type]
    assert writer.write(items, time.monotonic() + 600) == 0
    assert len(client.got) == len(items)
    assert max(client.sizes) == 25
    assert slept[:3] == [0.05, 0.1, 0.2]
    assert all(isinstance(each["PutRequest"]["Item"]["Schema"]["N"], str) for each in client.got)


def test_what_is_never_taken_ends_at_the_deadline() -> None:
    items = exports.kinds()["plain"]
    writer = TableWriter(_Client(takes=0), "Traces", lambda _: None)  # type: ignore[arg-type]
    assert writer.write(items, time.monotonic() - 1) == len(items)
    assert "throttles" in writer.last_error


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "does not allow writing to the table Traces"),
        ("ResourceNotFoundException", "there is no table Traces"),
        ("ExpiredTokenException", "the AWS session has expired"),
    ],
)
def test_what_is_refused_is_said(code: str, said: str) -> None:
    writer = TableWriter(_Client(code=code), "Traces")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=said):
        writer.write(exports.kinds()["plain"], time.monotonic() + 10)
