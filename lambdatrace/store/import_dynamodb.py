"""Writing executions to a DynamoDB table through boto3: for imports; the agent has its own way."""

from __future__ import annotations

import binascii
import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lambdatrace.aws import error_code
from lambdatrace.errors import StoreError
from lambdatrace.store import attributes
from lambdatrace.store.dynamodb import connect, explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from types_boto3_dynamodb import DynamoDBClient

    from lambdatrace.items import Item
    from lambdatrace.store.url import StoreUrl

_MOST = 25  # items of one BatchWriteItem: its documented limit
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_DENIED = ("AccessDeniedException", "AccessDenied")


class TableWriter:
    """`Destination` of store/base.py. Raises StoreError for what AWS refuses."""

    def __init__(
        self, client: DynamoDBClient, table: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.last_error = ""
        self._client = client
        self._table = table
        self._sleep = sleep
        self.close = client.close

    def write(self, items: Iterable[Item], deadline: float) -> int:
        """Write items until `deadline` (s, time.monotonic); how many were not written."""
        left: list[Any] = [{"PutRequest": {"Item": _attributes(item)}} for item in items]
        pause = _PAUSE_S
        self.last_error = ""
        while left:
            batch, left = left[:_MOST], left[_MOST:]
            refused = self._batch(batch)
            left = [*refused, *left]
            if not refused:
                pause = _PAUSE_S
                continue
            if time.monotonic() + pause > deadline:
                self.last_error = f"DynamoDB throttles writing to the table {self._table}"
                return len(left)
            self._sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)
        return 0

    def _batch(self, requests: list[Any]) -> list[Any]:
        """What DynamoDB did not take, and may take later."""
        with explained(self._table):
            try:
                answer = self._client.batch_write_item(RequestItems={self._table: requests})
            except ClientError as error:
                code, message = error_code(error)
                if code not in _DENIED:
                    raise
                raise StoreError(
                    f"AWS does not allow writing to the table {self._table}: {message}",
                    "the caller needs the permission dynamodb:BatchWriteItem on it",
                ) from error
        unprocessed: list[Any] = answer.get("UnprocessedItems", {}).get(self._table, [])
        return unprocessed


def _attributes(item: Item) -> dict[str, Any]:
    """The item as boto3's client takes it: binary as bytes."""
    return {
        name: {kind: binascii.a2b_base64(value) if kind == "B" else value}
        for name, typed in attributes.encode(item).items()
        for kind, value in typed.items()
    }


def open_table_writer(url: StoreUrl, profile: str | None = None) -> TableWriter:
    """The table that `url` names. Nothing is asked of DynamoDB yet. Raises StoreError."""
    return TableWriter(connect(url, profile=profile), url.table)
