"""The items of a Parquet export (docs/export.md). Loads pyarrow, which takes some 100 ms."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lambdatrace import interchange
from lambdatrace.errors import CorruptItemError, StoreError
from lambdatrace.parquet import ITEM_COLUMNS, METADATA_KEY, pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.items import Item

_ROW_BITS = 32


class ParquetItems:
    """`ItemFile` of store/file.py. Raises StoreError from every method."""

    def __init__(self, path: str) -> None:
        self._arrow = pyarrow()
        self._path = path
        import pyarrow.compute as compute
        import pyarrow.parquet as parquet

        self._compute = compute
        with self._explained():
            self._file = parquet.ParquetFile(path)
            metadata = self._file.schema_arrow.metadata or {}
        interchange.check_header(metadata.get(METADATA_KEY, b""), path)
        self._group: tuple[int, list[Any]] = (-1, [])

    def items(self) -> Iterator[tuple[int, Item]]:
        """(row group and row in it, item), from the beginning to the end."""
        for group in range(self._file.num_row_groups):
            for row, values in enumerate(self._rows(group)):
                yield group << _ROW_BITS | row, self._item(values)

    def read(self, place: int) -> Item:
        """The item at a place that `items` gave."""
        rows = self._rows(place >> _ROW_BITS)
        return self._item(rows[place & (1 << _ROW_BITS) - 1])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rows(self, group: int) -> list[Any]:
        """The values of each item of a row group; the latest group is held."""
        if self._group[0] != group:
            with self._explained():
                table = self._file.read_row_group(group, columns=["record", *ITEM_COLUMNS])
                is_item = self._compute.equal(table["record"], interchange.ITEM)
                found = table.filter(is_item).select(ITEM_COLUMNS).to_pydict()
            self._group = group, list(zip(*(found[name] for name in ITEM_COLUMNS), strict=True))
        return self._group[1]

    def _item(self, values: Any) -> Item:
        kind, execution_id, timestamp_ns, tie, schema, body = values
        try:
            return interchange.make_item(execution_id, timestamp_ns, tie, kind, schema, body)
        except ValueError as error:
            raise CorruptItemError(f"{self._path} holds an item that is none: {error}") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self._arrow.ArrowException, OSError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise StoreError(
                f"{self._path} cannot be read: {reason}", "export it once more"
            ) from error
