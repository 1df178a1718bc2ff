"""Exported executions as a store: a file is searched once, and then read where it has to be.

Of each item only its place is held. What a file has of one key twice, the last one is.
"""

from __future__ import annotations

import stat
from array import array
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from zlib import crc32

from lambdatrace import interchange
from lambdatrace.errors import StoreError
from lambdatrace.items import INDEX, row_of
from lambdatrace.store.base import WithoutGlances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.items import Item, Row

PARQUET_MAGIC = b"PAR1"  # the Parquet format's documentation, "File format"
_BATCH = 250
_LONGEST_LINE = interchange.MAX_LINE_BYTES + 1


class ItemFile(Protocol):
    """The items of a file in one of its formats. Raises StoreError from every method."""

    def items(self) -> Iterator[tuple[int, Item]]:
        """(where it is, item), from the beginning to the end."""

    def read(self, place: int) -> Item:
        """The item at a place that `items` gave."""

    def close(self) -> None:
        """Close the file."""


class JsonLines:
    """The items of an export as JSON lines (interchange.py). Raises StoreError."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self.close = file.close

    def items(self) -> Iterator[tuple[int, Item]]:
        """(offset of its line in bytes, item), from the beginning to the end."""
        lines = iter(lambda: self._file.readline(_LONGEST_LINE), b"")
        try:
            for offset, line in interchange.item_lines(lines, self._name):
                yield offset, interchange.read_item(line, self._name)
        except OSError as error:
            raise _unreadable(self._name, error) from error

    def read(self, place: int) -> Item:
        """The item of the line at an offset."""
        try:
            self._file.seek(place)
            line = self._file.readline(_LONGEST_LINE)
        except OSError as error:
            raise _unreadable(self._name, error) from error
        return interchange.read_item(line, self._name)


def open_items(path: str) -> ItemFile:
    """The items of an export, as JSON lines or Parquet. Raises StoreError."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise StoreError(f"{path} is not a file", "write what comes through a pipe into one")
        with Path(path).open("rb") as file:
            start = file.read(len(PARQUET_MAGIC))
        if start != PARQUET_MAGIC:
            return JsonLines(Path(path).open("rb"), path)  # close() does
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    from lambdatrace.store.parquet import ParquetItems

    return ParquetItems(path)


def _unreadable(path: str, error: Exception) -> StoreError:
    reason = getattr(error, "strerror", None) or error
    return StoreError(f"{path} cannot be read: {reason}", "check the name and its permissions")


class FileStore(WithoutGlances):
    """A store that is read only: `Store` of store/base.py. Raises StoreError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open_items(path)
        # Of summaries and chunks: which execution (a hash), where.
        self._hashes, self._places = array("I"), array("Q")
        # Of index rows: their keys, and where.
        self._starts, self._ties, self._rows = array("Q"), array("Q"), array("Q")
        try:
            for place, item in self._file.items():
                self._note(place, item)
        except BaseException:
            self._file.close()
            raise
        keys = sorted(range(len(self._starts)), key=self._key, reverse=True)
        self._newest_first = array("Q", keys)

    def _note(self, place: int, item: Item) -> None:
        if item.kind == INDEX:
            self._starts.append(item.timestamp_nano)
            self._ties.append(item.tie)
            self._rows.append(place)
        else:
            self._hashes.append(_hash(item.execution_id))
            self._places.append(place)

    def _key(self, number: int) -> tuple[int, int, int]:
        return self._starts[number], self._ties[number], self._rows[number]

    def get(self, execution_id: str) -> list[Item]:
        """Every item of one execution by key; empty if there is none. Raises StoreError."""
        wanted = _hash(execution_id)
        found: dict[tuple[str, int, int], Item] = {}
        for place in (
            place for each, place in zip(self._hashes, self._places, strict=True) if each == wanted
        ):
            item = self._file.read(place)
            if item.execution_id == execution_id:
                found[item.key] = item
        return [found[key] for key in sorted(found)]

    def index(self, since_ns: int, until_ns: int) -> Iterator[Item]:
        """Index rows of executions begun in [since, until] (ns since the epoch), newest first.

        Raises StoreError.
        """
        seen: set[str] = set()
        before = (-1, -1)
        for number in self._newest_first:
            start, tie, place = self._key(number)
            if start > until_ns:
                continue
            if start < since_ns:
                return
            item = self._file.read(place)
            seen = seen if before == (start, tie) else set()
            before = (start, tie)
            if item.execution_id not in seen:
                seen.add(item.execution_id)
                yield item

    def batches(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """The rows of `index` (items.Row), some hundred at a time. Raises StoreError."""
        rows = map(row_of, self.index(since_ns, until_ns))
        while batch := list(islice(rows, _BATCH)):
            yield batch

    def bounds(self) -> tuple[int, int] | None:
        """When the first and the last execution began, ns since the epoch; None: there is none."""
        return (min(self._starts), max(self._starts)) if self._starts else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _hash(execution_id: str) -> int:
    return crc32(execution_id.encode("utf-8", "surrogatepass"))


def execution_batches(file: ItemFile) -> Iterator[list[Item]]:
    """The items of an export, those that belong together in one list, an index row last.

    Raises StoreError.
    """
    batch: list[Item] = []
    for _, item in file.items():
        if batch and (
            batch[-1].kind == INDEX
            or item.timestamp_nano != batch[-1].timestamp_nano
            or (item.kind != INDEX and item.execution_id != batch[-1].execution_id)
        ):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
