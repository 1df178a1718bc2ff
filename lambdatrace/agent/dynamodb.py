"""The slim DynamoDB writer: signed BatchWriteItem calls, retried within a time budget.

boto3 would cost the function 0.5 s of CPU and 30 MB (FACTS.md); this is what of it the agent needs.
"""

from __future__ import annotations

import os
import time

from lambdatrace import plain_json
from lambdatrace.agent import sigv4
from lambdatrace.agent.breaker import TRIAL_S
from lambdatrace.agent.credentials import CredentialSource
from lambdatrace.agent.http import HttpClient, HttpError, NoAddressError, Response
from lambdatrace.errors import CorruptItemError, StoreError
from lambdatrace.store import attributes
from lambdatrace.store.url import Endpoint, StoreUrl, parse_endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lambdatrace.items import Item

# BatchWriteItem's documented limit, and a request body (bytes) well below its 16 MB: the agent
# holds one batch twice (items and JSON) beside a function that pays for the memory.
MAX_BATCH_ITEMS = 25
MAX_BATCH_BYTES = 1_000_000
_ITEM_OVERHEAD_BYTES = 1_000  # names, keys and numbers of one item in JSON, generously
# What a gateway in front of DynamoDB may say to a batch: its halves may be small enough.
TOO_LARGE = 413
# No batch consumes more than one unit for each kilobyte.
MAX_UNITS = 1_000_000

# Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog):
# a wait is drawn evenly from 0 to BACKOFF_FIRST * 2**n, at most BACKOFF_MAX (s).
BACKOFF_FIRST = 0.05
BACKOFF_MAX = 2.0
# An attempt may take half of what is left (s, within these bounds): a connection that hangs
# must leave time for another one. Not less than the time in which a store that was down is asked
# (breaker.py), or one that is slow, or a handshake on a slow CPU, would never be found to be back.
ATTEMPT_MIN = TRIAL_S
ATTEMPT_MAX = 5.0
# DynamoDB and NAT gateways (350 s, Amazon VPC user guide) forget idle connections without a word.
MAX_IDLE = 60.0

_TRANSIENT = frozenset(
    (
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
    )
)
_EXPIRED = frozenset(
    ("ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException")
)
# What to do about the troubles that do not pass by themselves.
_ADVICE = {
    "AccessDeniedException": "the role needs dynamodb:BatchWriteItem on the table {table}",
    "ResourceNotFoundException": "is there a table {table} in {region}?",
    "ExpiredTokenException": "the credentials have expired",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "no address": "is {region} the right region, and is there a way to it?",
    "InvalidSignatureException": "AWS does not take these credentials, or the clock is wrong",
}
# botocore's endpoints.json: partitions whose names do not end in amazonaws.com.
_SUFFIXES = (
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
)
_TARGET = "DynamoDB_20120810.BatchWriteItem"
_CONTENT_TYPE = "application/x-amz-json-1.0"
_MAX_ERROR_CHARACTERS = 200


class _FailedError(Exception):
    """An attempt that failed; `kind` is a name that equal troubles share."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class _TransientError(_FailedError):
    """Worth another attempt."""


class _RefusedError(_FailedError):
    """Something in this very request is not valid."""


class _PermanentError(_FailedError):
    """No attempt will fare better."""


class DynamoWriter:
    """Writes items to one table. One thread, one kept connection.

    Attributes
    ----------
    retries : int
        Attempts after the first of a batch.
    bytes_sent : int
        Request heads and bodies, without TLS's own.
    write_units : float
        What DynamoDB says it consumed.
    last_error : str
        What went wrong in the latest `write`, the last of it, in one short line; "" if nothing did.
    last_kind : str
        AWS's name of that failure, else `unreachable`, `credentials`, `unprocessed`, `answer`,
        `time` or `inexpressible`.
    left : list[Item]
        What the latest `write` did not write and might be written later.
    """

    def __init__(
        self,
        table: str,
        region: str,
        endpoint: Endpoint,
        credentials: CredentialSource,
        *,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] | None = None,
    ) -> None:
        self.retries = 0
        self.write_units = 0.0
        self.last_error = ""
        self.last_kind = ""
        self.left: list[Item] = []
        self._table = table
        self._region = region
        self._host = endpoint.authority
        self._credentials = credentials
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._random = random or _random
        self._http = HttpClient(
            endpoint.host, endpoint.port, endpoint.tls, max_idle=MAX_IDLE, ca_file=ca_file
        )

    @property
    def bytes_sent(self) -> int:
        """Bytes of all requests so far, those of retries included."""
        return self._http.bytes_sent

    def prepare(self, deadline: float) -> None:
        """Raise StoreError if it can be said already that nothing can be written.

        Asks for credentials only: the agent's role may well allow BatchWriteItem and no more.
        """
        try:
            self._credentials.get(deadline)
        except HttpError as error:
            raise StoreError(
                f"no AWS credentials: {error}", "is the endpoint reachable?"
            ) from error

    def write(self, items: Iterable[Item], deadline: float, along: Iterable[Item] = ()) -> int:
        """Write items until `deadline` (s on the clock); of equal keys the last one stays.

        Those `along` go with them, but once the others are done nobody waits for another attempt.
        Returns how many were not written; `last_error` then says why, and `left` has those that
        were not refused for good.
        """
        self.left = []
        self.last_error = self.last_kind = ""
        unique: dict[tuple[str, int, int], Item] = {}
        for item in items:
            unique.pop(item.key, None)
            unique[item.key] = item
        own = set(unique)
        for item in along:
            unique.setdefault(item.key, item)
        unwritten = len(unique)
        lost = 0  # refused for good
        failures = 0  # in a row
        work = [*batches(unique.values())][::-1]
        while work:
            batch = work.pop()
            if self._clock() >= deadline:
                if not self.last_error:
                    self.last_error, self.last_kind = "no time left", "time"
                self.left = _flat([batch, *work[::-1]])
                return unwritten + lost
            try:
                left = self._attempt(batch, deadline)
            except _PermanentError as error:
                self._note(error)
                self.left = _flat([batch, *work[::-1]])
                return unwritten + lost
            except _RefusedError as error:
                self._note(error)
                if len(batch) == 1:
                    unwritten -= 1
                    lost += 1
                else:  # only the item that is at fault is to be lost
                    middle = len(batch) // 2
                    work += [batch[middle:], batch[:middle]]
                continue
            except _TransientError as error:
                self._note(error)
                left = batch
            unwritten -= len(batch) - len(left)
            if not left:
                failures = 0
                continue
            work.append(left)
            if own.isdisjoint(item.key for item in _flat(work)):
                self.left = _flat(work[::-1])
                return unwritten + lost
            if len(left) < len(batch):
                failures = 0
            self.retries += 1
            longest = min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(failures, 10))
            failures += 1
            self._sleep(min(self._random() * longest, max(0.0, deadline - self._clock())))
        return lost

    def close(self) -> None:
        """Drop the kept connection."""
        self._http.close()

    def _note(self, error: _FailedError) -> None:
        self.last_error, self.last_kind = _line(error), error.kind
        if advice := _ADVICE.get(error.kind):
            advice = advice.format(table=self._table, region=self._region)
            self.last_error = f"{self.last_error} ({advice})"

    def _attempt(self, batch: list[Item], deadline: float) -> list[Item]:
        """Send one batch; what DynamoDB leaves unprocessed comes back."""
        left = max(0.0, deadline - self._clock())
        try:
            # All the time there is: another attempt would find the same endpoint.
            credentials = self._credentials.get(time.monotonic() + left)
        except StoreError as error:
            raise _PermanentError(error.message, "credentials") from error
        except HttpError as error:
            raise _TransientError(str(error), "credentials") from error
        try:
            body = request_body(self._table, batch)
        except ValueError as error:
            raise _RefusedError(f"an item cannot be written: {error}", "inexpressible") from error
        headers = {"Content-Type": _CONTENT_TYPE, "X-Amz-Target": _TARGET}
        left = max(0.0, deadline - self._clock())
        attempt_end = time.monotonic() + min(left, max(ATTEMPT_MIN, min(ATTEMPT_MAX, left / 2)))
        try:
            headers |= sigv4.sign(
                credentials, self._region, "dynamodb", self._host, headers, body, self._now()
            )
            response = self._http.request("POST", "/", headers, body, attempt_end)
        except ValueError as error:
            # It would quote what may be a secret.
            raise _PermanentError("a request cannot be written", type(error).__name__) from None
        except HttpError as error:
            kind = "no address" if isinstance(error, NoAddressError) else "unreachable"
            raise _TransientError(str(error), kind) from error
        if response.status != 200:
            self._raise_for(response)
        return self._unprocessed(response, batch)

    def _raise_for(self, response: Response) -> None:
        try:
            answer = plain_json.loads(response.body)
            name = str(answer["__type"]).rpartition("#")[2]
            message = str(answer.get("message") or answer.get("Message") or "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            name, message = "", ""
        text = f"DynamoDB answered {response.status} {name} {message}".rstrip()
        kind = name or str(response.status)
        if name in _TRANSIENT or response.status >= 500 or response.status in (408, 429):
            raise _TransientError(text, kind)
        if name == "ValidationException" or response.status == TOO_LARGE:
            raise _RefusedError(text, kind)
        if name in _EXPIRED:
            self._credentials.forget()
        raise _PermanentError(text, kind)

    def _unprocessed(self, response: Response, batch: list[Item]) -> list[Item]:
        try:
            answer = plain_json.loads(response.body)
            consumed = answer.get("ConsumedCapacity") or ()
            units = sum(float(entry["CapacityUnits"]) for entry in consumed)
            if not 0 <= units <= MAX_UNITS:
                raise ValueError(units)
            puts = (answer.get("UnprocessedItems") or {}).get(self._table) or ()
            by_key = {item.key: item for item in batch}
            left = [by_key[_key(put["PutRequest"]["Item"])] for put in puts]
        except (
            ValueError, TypeError, KeyError, AttributeError, RecursionError, CorruptItemError,
        ) as error:  # fmt: skip
            # Not known what is left: puts can be repeated, so all of it is.
            raise _TransientError("DynamoDB's answer cannot be understood", "answer") from error
        self.write_units += units
        if left:
            self.last_error = f"DynamoDB left {len(left)} items unprocessed"
            self.last_kind = "unprocessed"
        return left


def _flat(batches: list[list[Item]]) -> list[Item]:
    return [item for batch in batches for item in batch]


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items in their order, cut so that each batch makes one valid request."""
    batch: list[Item] = []
    total = 0
    for item in items:
        # An upper bound: base64 makes 4 bytes of 3.
        size = _ITEM_OVERHEAD_BYTES + len(item.body) * 4 // 3 + 4
        if batch and (len(batch) == MAX_BATCH_ITEMS or total + size > MAX_BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def request_body(table: str, batch: Iterable[Item]) -> bytes:
    """The JSON of one BatchWriteItem call that puts `batch`."""
    puts = [{"PutRequest": {"Item": attributes.encode(item)}} for item in batch]
    request = {"RequestItems": {table: puts}, "ReturnConsumedCapacity": "TOTAL"}
    return plain_json.dumps(request).encode()


def open_table(url: StoreUrl, environ: Mapping[str, str]) -> DynamoWriter:
    """A writer for the table `url` names; what it leaves open comes from `environ`.

    Endpoint: the URL, `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL`, else AWS's own. Region: the
    URL, `AWS_REGION`, `AWS_DEFAULT_REGION`. Raises StoreError without a region, UsageError for an
    endpoint that is none.
    """
    region = url.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise StoreError(
            f"no AWS region for the table {url.table}",
            f"set AWS_REGION or write dynamodb://{url.table}?region=…",
        )
    endpoint = (
        url.endpoint
        or environ.get("AWS_ENDPOINT_URL_DYNAMODB")
        or environ.get("AWS_ENDPOINT_URL")
        or default_endpoint(region)
    )
    return DynamoWriter(
        url.table,
        region,
        parse_endpoint(endpoint.rstrip("/")),
        CredentialSource(environ),
        ca_file=environ.get("AWS_CA_BUNDLE") or None,
    )


def default_endpoint(region: str) -> str:
    """AWS's own DynamoDB endpoint in `region`."""
    for prefix, suffix in _SUFFIXES:
        if region.startswith(prefix):
            return f"https://dynamodb.{region}.{suffix}"
    return f"https://dynamodb.{region}.amazonaws.com"


def _key(item: Mapping[str, Mapping[str, str]]) -> tuple[str, int, int]:
    return (
        item[attributes.HASH_KEY]["S"],
        *attributes.parse_number(item[attributes.RANGE_KEY]["N"]),
    )


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "".join(filter(str.isprintable, text))[:_MAX_ERROR_CHARACTERS]


def _random() -> float:
    # The system's: `random` would be seeded before a SnapStart snapshot, alike in every restore.
    return int.from_bytes(os.urandom(4), "big") / 2**32
