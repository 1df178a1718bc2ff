"""The DynamoDB store, reading side: queries on keys through boto3, never a scan.

Imported only when a DynamoDB table is read; boto3 takes half a second.
"""

from __future__ import annotations

import heapq
import json
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from lambdatrace.aws import error_code, one_line, setup_problem
from lambdatrace.errors import StoreError
from lambdatrace.items import HOUR_NS, INDEX_SHARDS, Item, index_buckets, row_of
from lambdatrace.store import attributes
from lambdatrace.store.attributes import HASH_KEY, RANGE_KEY
from lambdatrace.store.base import WithoutGlances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from types_boto3_dynamodb import DynamoDBClient

    from lambdatrace.items import Row
    from lambdatrace.store.url import StoreUrl

# Two hours of shards at a time: the second is under way while the first is shown.
_HOURS_AHEAD = 2
_THREADS = _HOURS_AHEAD * INDEX_SHARDS
# Executions cannot have begun later than now; a day is more than clocks are ever wrong.
_FUTURE_NS = 24 * HOUR_NS

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "max_attempts": 5},
    max_pool_connections=_THREADS,
)
_THROTTLED = (
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException",
)  # fmt: skip

Page = tuple[list[dict[str, Any]], dict[str, Any] | None]


class DynamoStore(WithoutGlances):
    """Items in one table. `now` gives s since the epoch.

    Raises StoreError from every method: what happened and what to do.
    """

    def __init__(
        self, client: DynamoDBClient, table: str, now: Callable[[], float] = time.time
    ) -> None:
        # Here and not in `connect`: whoever wants boto3's answers gets them.
        client.meta.events.register("before-parse.dynamodb.Query", _take_as_sent)
        self._client = client
        self._table = table
        self._now = now
        self._pool: ThreadPoolExecutor | None = None

    def get(self, execution_id: str) -> list[Item]:
        """Every item of one execution by key; empty if there is none. Raises StoreError."""
        if not execution_id:
            return []  # DynamoDB refuses an empty key
        query = {
            "KeyConditionExpression": f"{HASH_KEY} = :id",
            "ExpressionAttributeValues": {":id": {"S": execution_id}},
            # What has just been recorded is what one wants to see.
            "ConsistentRead": True,
        }
        found: list[Item] = []
        page: Page = ([], {})
        while page[1] is not None:
            page = self._page(query, page[1])
            found += self._alive(map(attributes.decode, page[0]))
        return found

    def server_time(self) -> float | None:
        """DynamoDB's clock (s since the epoch, whole ones), if it tells. Raises StoreError."""
        with explained(self._table):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression=f"{HASH_KEY} = :id AND {RANGE_KEY} >= :zero",
                ExpressionAttributeValues={":id": {"S": "doctor"}, ":zero": {"N": "0"}},
                Limit=1,
            )
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return None if told is None else parsedate_to_datetime(told).timestamp()

    def index(self, since_ns: int, until_ns: int) -> Iterator[Item]:
        """Index rows of executions begun in [since, until] (ns since the epoch), newest first.

        Reads 8 buckets for each hour, also for hours without executions. Raises StoreError.
        """
        for shards in self._hours(since_ns, until_ns):
            yield from heapq.merge(*map(chain.from_iterable, shards), key=_age, reverse=True)

    def batches(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """The rows of `index` (items.Row), quickly: those of one hour and shard one by one.

        The newest hour comes first. What is in a row has not been looked at. Raises StoreError.
        """
        for shards in self._hours(since_ns, until_ns):
            for page in chain.from_iterable(shards):
                yield [row_of(item) for item in page]

    def _hours(self, since_ns: int, until_ns: int) -> Iterator[list[Iterator[list[Item]]]]:
        """Each hour's shards, each of them its pages; those that come next are asked for."""
        since = max(0, since_ns)
        until = min(until_ns, int(self._now() * 1e9) + _FUTURE_NS)
        if since > until:
            return
        names = index_buckets(since, until)
        hours: deque[list[Iterator[list[Item]]]] = deque()
        while True:
            while len(hours) < _HOURS_AHEAD:
                shards = [
                    self._bucket(name, since, until)
                    for _, name in zip(range(INDEX_SHARDS), names, strict=False)
                ]
                if not shards:
                    break
                hours.append(shards)
            if not hours:
                return
            yield hours.popleft()

    def close(self) -> None:
        """Drop the connections."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._client.close()

    def _bucket(self, name: str, since: int, until: int) -> Iterator[list[Item]]:
        """Pages of one bucket, newest first. The first one is asked for at once."""
        query = {
            "KeyConditionExpression": f"{HASH_KEY} = :id AND {RANGE_KEY} BETWEEN :since AND :until",
            "ExpressionAttributeValues": {
                ":id": {"S": name},
                ":since": {"N": attributes.format_number(since, 0)},
                # The last nanosecond with all of its ties.
                ":until": {"N": attributes.format_number(until, attributes.MAX_TIE)},
            },
            "ScanIndexForward": False,
        }
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, "dynamodb")
        return self._pages(self._pool, query, self._pool.submit(self._page, query, {}))

    def _pages(
        self, pool: ThreadPoolExecutor, query: dict[str, Any], future: Future[Page]
    ) -> Iterator[list[Item]]:
        while True:
            rows, start = future.result()
            if start is not None:
                future = pool.submit(self._page, query, start)
            # One of many that is none does not hide the others.
            yield list(self._alive(map(attributes.decode_or_refuse, rows)))
            if start is None:
                return

    def _page(self, query: dict[str, Any], start: dict[str, Any]) -> Page:
        """One page of a query (1 MB at most) and where the next begins, None at the end."""
        options = {**query, "ExclusiveStartKey": start} if start else query
        with explained(self._table):
            answer = self._client.query(TableName=self._table, **options)
        return answer["Items"], answer.get("LastEvaluatedKey") or None

    def _alive(self, items: Iterable[Item]) -> Iterator[Item]:
        # TTL deletes within days (FACTS.md), so readers have to look as well.
        now = int(self._now())
        for item in items:
            if not 0 < item.expires_at <= now:
                yield item


def _take_as_sent(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Give a page's items as they are on the wire, which `attributes` reads as well.

    Botocore goes through every value of every item by the service's description, in Python: most of
    what reading a window takes. Raises ValueError for what is not JSON.
    """
    if response_dict["status_code"] == HTTPStatus.OK:
        customized_response_dict.update(json.loads(response_dict["body"]))
        response_dict["body"] = b"{}"


def connect(
    url: StoreUrl, environ: Mapping[str, str] = os.environ, profile: str | None = None
) -> DynamoDBClient:
    """A client for the region and endpoint of `url`; what it leaves open is boto3's to find.

    Raises StoreError when boto3 cannot make one (no region, an unknown profile, …).
    """
    # boto3 knows AWS_DEFAULT_REGION and its profiles only; Lambda and the agent have AWS_REGION.
    region = url.region or environ.get("AWS_REGION") or None
    with explained(url.table):
        return boto3.session.Session(region_name=region, profile_name=profile).client(
            "dynamodb", endpoint_url=url.endpoint, config=_CONFIG
        )


def open_table(url: StoreUrl, profile: str | None = None) -> DynamoStore:
    """The store `url` names. Nothing is asked of DynamoDB yet. Raises StoreError."""
    return DynamoStore(connect(url, profile=profile), url.table)


@contextmanager
def explained(table: str) -> Iterator[None]:
    """Turn whatever boto3 raises about `table` into a StoreError that says what to do."""
    try:
        yield
    except aws.NoRegionError as error:
        raise StoreError(
            f"no AWS region for the table {table}",
            f"set AWS_REGION, name one with --region, or write dynamodb://{table}?region=…",
        ) from error
    except (aws.ClientError, aws.BotoCoreError, ValueError) as error:
        if problem := setup_problem(error, "DynamoDB"):
            raise StoreError(*problem) from error
        if isinstance(error, aws.ClientError):
            raise _refusal(table, error) from error
        raise StoreError(
            f"the table {table} cannot be read: {one_line(error)}", "check the AWS configuration"
        ) from error


def _refusal(table: str, error: aws.ClientError) -> StoreError:
    code, message = error_code(error)
    if code == "ResourceNotFoundException":
        return StoreError(
            f"there is no table {table} in this account and region",
            f"check the name, or say where it is: dynamodb://{table}?region=…",
        )
    if code in ("AccessDeniedException", "AccessDenied"):
        return StoreError(
            f"AWS does not allow reading the table {table}: {message}",
            "the caller needs the permission dynamodb:Query on it",
        )
    if code in _THROTTLED:
        return StoreError(
            f"DynamoDB throttles reading the table {table}",
            "try again, with a shorter --since, or give the table more read capacity",
        )
    if code == "ValidationException":
        return StoreError(
            f"the table {table} is not one of lambdatrace: {message}",
            f"its keys have to be {HASH_KEY} (S, hash) and {RANGE_KEY} (N, range)",
        )
    return StoreError(f"DynamoDB refused: {code} {message}".rstrip(), "try again")


def _age(item: Item) -> tuple[int, int]:
    return item.timestamp_nano, item.tie
