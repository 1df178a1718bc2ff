"""Item <-> DynamoDB attributes: the one place that knows their names and types.

    ExecutionID   S   hash key
    TimestampNano N   range key: nanoseconds since the epoch, the tie as nine decimals
    Kind          S   summary, chunk or index
    Schema        N
    ExpiresAt     N   seconds since the epoch (the table's TTL attribute); absent: kept for ever
    Summary       B   the body of a summary or index row; in schema 1 S, its JSON
    Records       B   the body of a chunk

The agent imports this module at cold start: standard library only.
"""

from __future__ import annotations

import binascii

from lambdatrace.errors import CorruptItemError
from lambdatrace.items import CHUNK, SCHEMA_VERSION, TIE_DIGITS, Item, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HASH_KEY = "ExecutionID"
RANGE_KEY = "TimestampNano"
EXPIRES_AT = "ExpiresAt"

MAX_TIMESTAMP_NANO = 2**63 - 1
MAX_TIE: int = 10**TIE_DIGITS - 1


def format_number(timestamp_nano: int, tie: int) -> str:
    """The range key as DynamoDB is sent it: an exact decimal of at most 28 digits (it takes 38).

    Raises ValueError when either part is outside its range.
    """
    if not (0 <= timestamp_nano <= MAX_TIMESTAMP_NANO and 0 <= tie <= MAX_TIE):
        raise ValueError(f"no range key: {timestamp_nano}, {tie}")
    return f"{timestamp_nano}.{tie:0{TIE_DIGITS}d}" if tie else str(timestamp_nano)


def parse_number(text: object) -> tuple[int, int]:
    """A range key as (ns, tie). DynamoDB drops trailing zeros, so decimals are filled up again.

    Raises CorruptItemError when it is not one.
    """
    if isinstance(text, str) and len(text) <= 40 and text.isascii():
        whole, point, decimals = text.partition(".")
        if whole.isdigit() and (decimals.isdigit() if point else not decimals):
            decimals = decimals.rstrip("0")
            timestamp = int(whole)
            if len(decimals) <= TIE_DIGITS and timestamp <= MAX_TIMESTAMP_NANO:
                return timestamp, int(decimals.ljust(TIE_DIGITS, "0"))
    raise CorruptItemError(f"an item's {RANGE_KEY} is not a time")


def encode(item: Item) -> dict[str, dict[str, str]]:
    """The item as DynamoDB's JSON has it on the wire, binary as base64.

    Raises ValueError for a key outside its range and for a schema 1 summary that is not UTF-8.
    """
    attributes = {
        HASH_KEY: {"S": item.execution_id},
        RANGE_KEY: {"N": format_number(item.timestamp_nano, item.tie)},
        "Kind": {"S": item.kind},
        "Schema": {"N": str(item.schema)},
    }
    if item.expires_at:
        attributes[EXPIRES_AT] = {"N": str(item.expires_at)}
    name = "Records" if item.kind == CHUNK else "Summary"
    if item.kind != CHUNK and item.schema == 1:
        attributes[name] = {"S": item.body.decode()}
    else:
        attributes[name] = {"B": binascii.b2a_base64(item.body, newline=False).decode()}
    return attributes


def decode(attributes: Mapping[str, Any]) -> Item:
    """The item in DynamoDB's JSON, binary as base64 (the wire) or as bytes (boto3's client).

    An item of a newer schema comes through with what is known of it, for `items.check_schema` to
    refuse in words. Raises CorruptItemError on anything else that `encode` did not write.
    """
    execution_id = _text(attributes, HASH_KEY)
    timestamp_nano, tie = parse_number(_typed(attributes, RANGE_KEY, "N"))
    kind = _text(attributes, "Kind")
    schema = _integer(attributes, "Schema")
    if schema > SCHEMA_VERSION:
        return Item(execution_id, timestamp_nano, tie, kind, b"", 0, schema)
    expires_at = _integer(attributes, EXPIRES_AT) if EXPIRES_AT in attributes else 0
    if kind == CHUNK:
        body = _binary(attributes, "Records")
    elif schema > 1:
        body = _binary(attributes, "Summary")
    else:
        try:
            body = _text(attributes, "Summary").encode()
        except UnicodeEncodeError as error:
            raise CorruptItemError("an item's Summary is not text") from error
    return Item(execution_id, timestamp_nano, tie, kind, body, expires_at, schema)


def decode_or_refuse(attributes: Mapping[str, Any]) -> Item:
    """As `decode`; what `encode` did not write as an item that `items.check_schema` refuses.

    Raises CorruptItemError if it does not stand under a key of ours either.
    """
    try:
        return decode(attributes)
    except CorruptItemError:
        key = parse_number(_typed(attributes, RANGE_KEY, "N"))
        return refused(_text(attributes, HASH_KEY), *key)


def _typed(attributes: Mapping[str, Any], name: str, kind: str) -> object:
    value = attributes.get(name)
    if not isinstance(value, dict) or kind not in value:
        raise CorruptItemError(
            f"an item has no attribute {name} of type {kind}", "was it written by lambdatrace?"
        )
    return value[kind]


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = _typed(attributes, name, "S")
    if not isinstance(value, str):
        raise CorruptItemError(f"an item's {name} is not text")
    return value


def _integer(attributes: Mapping[str, Any], name: str) -> int:
    value = _typed(attributes, name, "N")
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18):
        raise CorruptItemError(f"an item's {name} is not a whole number")
    return int(value)


def _binary(attributes: Mapping[str, Any], name: str) -> bytes:
    value = _typed(attributes, name, "B")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except ValueError as error:
            raise CorruptItemError(f"an item's {name} is not base64") from error
    raise CorruptItemError(f"an item's {name} is not binary")
