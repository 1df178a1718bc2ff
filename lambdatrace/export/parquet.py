"""Parquet: a row for each record, for pandas, DuckDB, Athena; and read back (docs/export.md).

What the store holds stands in rows of its own (`record` is `item`), as in JSON lines. In each row
group rows stand by kind, so that whoever wants one kind reads little else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lambdatrace import interchange
from lambdatrace.export.columns import (
    BOOLEAN,
    COLUMNS,
    COMMON,
    FLOAT,
    INTEGER,
    JSON,
    MOMENT,
    TEXT,
    TEXTS,
    columns,
    flat_rows,
)
from lambdatrace.export.records import EXECUTION
from lambdatrace.parquet import ITEM_COLUMNS, METADATA_KEY, pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.export.stored import StoredExecution
    from lambdatrace.items import Item

pa = pyarrow()

# Rows of a row group: some MB, and few enough groups for a million records.
_GROUP_ROWS = 10_000
_TYPES = {
    TEXT: pa.string(),
    JSON: pa.string(),
    INTEGER: pa.int64(),
    FLOAT: pa.float64(),
    BOOLEAN: pa.bool_(),
    MOMENT: pa.timestamp("us", tz="UTC"),
    TEXTS: pa.list_(pa.string()),
}
_ITEM_TYPES = dict(
    zip(
        ITEM_COLUMNS,
        (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int16(), pa.binary()),
        strict=True,
    )
)


def write(executions: Iterable[StoredExecution], only: str | None = None) -> Iterator[bytes]:
    """The file, piece by piece; with the records of one kind, or all and what the store holds.

    Raises CorruptItemError.
    """
    import pyarrow.parquet as parquet

    types = {name: _TYPES[kind] for name, kind in columns(only).items()}
    metadata = {}
    if only is None:
        types |= _ITEM_TYPES
        metadata[METADATA_KEY] = interchange.header_line().strip().encode()
    schema = pa.schema(types, metadata=metadata)
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        group = _Group(only)
        for stored in executions:
            for kind, row in flat_rows(stored, only):
                group.add(kind, row)
                if kind == EXECUTION and only is None:
                    for item in stored.items:
                        group.add(interchange.ITEM, _item_row(stored, item))
                if group.count >= _GROUP_ROWS:
                    writer.write_table(group.table(schema))
                    group = _Group(only)
                    yield sink.take()
        if group.count:
            writer.write_table(group.table(schema))
    yield sink.take()


def _item_row(stored: StoredExecution, item: Item) -> dict[str, Any]:
    values = (
        item.kind, item.execution_id, item.timestamp_nano, item.tie, item.schema, item.body,
    )  # fmt: skip
    return {
        "record": interchange.ITEM,
        "execution_id": stored.execution.execution_id,
        **dict(zip(ITEM_COLUMNS, values, strict=True)),
    }


class _Group:
    """Rows until there are enough of them for a row group."""

    def __init__(self, only: str | None) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {
            kind: [] for kind in (*COLUMNS, interchange.ITEM) if only in (None, kind)
        }
        self.count = 0

    def add(self, kind: str, row: dict[str, Any]) -> None:
        self._rows[kind].append(row)
        self.count += 1

    def table(self, schema: Any) -> Any:
        """The rows by kind, with the columns of a schema."""
        parts = []
        for kind, rows in self._rows.items():
            own = {**COMMON, **COLUMNS.get(kind, dict.fromkeys(ITEM_COLUMNS, ""))}
            arrays = [
                pa.array([_value(row.get(field.name), own[field.name]) for row in rows], field.type)
                if field.name in own
                else pa.nulls(len(rows), field.type)
                for field in schema
            ]
            parts.append(pa.Table.from_arrays(arrays, schema=schema))
        return pa.concat_tables(parts)


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == TEXT:
        return _text(value)
    if kind == TEXTS:
        return [_text(each) for each in value]
    if kind == MOMENT:
        return datetime.strptime(value[:26], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    return value


def _text(text: str) -> str:
    # Lone surrogates are no UTF-8, and UTF-8 is what a Parquet text is.
    return text.encode("utf-8", "backslashreplace").decode()


class _Sink:
    """What pyarrow writes to, and pieces are taken from."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held open."""

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces = []
        return taken
