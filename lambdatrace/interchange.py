"""The file that executions travel in: JSON lines, of which those about items are read back.

    {"record": "header", "format": "lambdatrace", "version": 1, "lambdatrace": "0.1.0"}
    {"record": "execution", …}                   what was decoded, for other programs
    {"record": "item", …, "body": base64}        what the store holds of it: an item a line
    {"record": "connection", …}, …
    {"record": "end", "executions": 1, "items": 2}

docs/export.md describes it. Which executions a file holds, items tell alone. Files may stand one
behind the other in one, and items may come twice: the last one counts.
"""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING, Any

from lambdatrace import __version__
from lambdatrace.errors import CorruptItemError, StoreError
from lambdatrace.items import (
    CHUNK,
    INDEX,
    INDEX_PREFIX,
    INDEX_SHARDS,
    SUMMARY,
    Item,
    index_bucket,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT = "lambdatrace"
VERSION = 1
HEADER, ITEM, END = "header", "item", "end"

# A stored item has 400 kB at most (items.py), in base64 533 kB; a line of another kind holds some
# texts, each of which a summary had room for.
MAX_LINE_BYTES = 4_000_000
# Where a line says of which record it is, and where nothing else has room.
_HEAD_BYTES = 24
_KINDS = (SUMMARY, CHUNK, INDEX)
_MOST = 2**63 - 1

_encode = json.JSONEncoder(allow_nan=False).encode


def header_line() -> str:
    """The first line of a file, with its end."""
    return _line(record=HEADER, format=FORMAT, version=VERSION, lambdatrace=__version__)


def item_line(item: Item) -> str:
    """An item as a line. When it expires is the business of the store that it was in."""
    return _line(
        record=ITEM, execution_id=item.execution_id, timestamp_ns=item.timestamp_nano,
        tie=item.tie, kind=item.kind, schema=item.schema,
        body=binascii.b2a_base64(item.body, newline=False).decode(),
    )  # fmt: skip


def end_line(executions: int, items: int) -> str:
    """The last line: without it a file has been cut short."""
    return _line(record=END, executions=executions, items=items)


def _line(**members: Any) -> str:
    return f"{_encode(members)}\n"


def item_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """(offset in bytes, line) of each item of a file, whose `lines` these are, in order.

    `name` is what errors call it. Raises StoreError for what is no such file, is cut short, or is
    of a later version.
    """
    offset = number = 0
    is_open = False
    for number, line in enumerate(lines, 1):
        head = line[:_HEAD_BYTES]
        if len(line) > MAX_LINE_BYTES:
            raise StoreError(f"{name}, line {number}: longer than any that lambdatrace writes")
        if b'"item"' in head:
            if not is_open:
                raise _no_export(name)
            yield offset, line
        elif b'"header"' in head:
            check_header(line, name)
            is_open = True
        elif b'"end"' in head:
            is_open = False
        elif not is_open:
            raise _no_export(name)
        offset += len(line)
    if is_open:
        raise StoreError(f"{name} is cut short: its last line is missing", "export it once more")
    if not number:
        raise _no_export(name)


def _no_export(name: str) -> StoreError:
    return StoreError(
        f"{name} is no export of lambdatrace that can be read back",
        "jsonl and parquet can: lambdatrace export --since 1h -o traces.jsonl",
    )


def check_header(line: bytes, name: str) -> None:
    """Whether a header is that of an export that can be read. Raises StoreError."""
    try:
        header = json.loads(line)
        version = header["version"] if header["format"] == FORMAT else None
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _no_export(name) from error
    if type(version) is not int or version < 1:
        raise _no_export(name)
    if version > VERSION:
        raise StoreError(
            f"{name} was written in version {version} of its format, "
            f"this lambdatrace reads up to {VERSION}",
            "upgrade it: pip install --upgrade lambdatrace",
        )


def read_item(line: bytes, name: str) -> Item:
    """The item of a line. Raises CorruptItemError.

    Whether its schema is known, and its body what it should be, shows when it is read.
    """
    try:
        members = json.loads(line)
        return make_item(
            members["execution_id"], members["timestamp_ns"], members["tie"], members["kind"],
            members["schema"], binascii.a2b_base64(members["body"], strict_mode=True),
        )  # fmt: skip
    except (ValueError, RecursionError, KeyError, TypeError, UnicodeError) as error:
        raise CorruptItemError(f"{name} holds an item that is none: {error!r}"[:300]) from error


def make_item(
    execution_id: object, timestamp_ns: object, tie: object, kind: object, schema: object,
    body: object,
) -> Item:  # fmt: skip
    """An item from what a file says of it. Raises ValueError where that cannot be."""
    if not isinstance(execution_id, str) or not isinstance(body, bytes) or kind not in _KINDS:
        raise ValueError("a value of a wrong kind")
    if not execution_id:
        raise ValueError("an empty id")  # which no store takes
    for number in (timestamp_ns, tie, schema):
        if type(number) is not int or not 0 <= number <= _MOST:
            raise ValueError("a number out of its range")
    item = Item(execution_id, timestamp_ns, tie, str(kind), body, 0, schema)  # type: ignore[arg-type]
    if item.kind == INDEX:
        shards = (index_bucket(item.timestamp_nano, shard) for shard in range(INDEX_SHARDS))
        is_in_place = execution_id in shards
    else:
        is_in_place = not execution_id.startswith(INDEX_PREFIX)
    if not is_in_place:
        raise ValueError("an item where it does not belong")
    return item
