"""CSV: a row for each record, for spreadsheets (docs/export.md)."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from lambdatrace.export.columns import COLUMNS, JSON, TEXTS, columns, flat_rows
from lambdatrace.export.pieces import batches
from lambdatrace.sanitize import cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.export.stored import StoredExecution


def write(executions: Iterable[StoredExecution], only: str | None = None) -> Iterator[bytes]:
    """The file, piece by piece; with the records of one kind, or all. Raises CorruptItemError."""
    return batches(line.encode() for line in _lines(executions, only))


def _lines(executions: Iterable[StoredExecution], only: str | None) -> Iterator[str]:
    """Lines as RFC 4180 has them; they end in a newline only."""
    names = list(columns(only))
    # Of a hundred columns a row has a few: where each of them stands, and its type.
    own = {
        kind: [(names.index(name), name, each) for name, each in columns(kind).items()]
        for kind in COLUMNS
        if only in (None, kind)
    }
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for stored in executions:
        for kind, row in flat_rows(stored, only):
            cells = [""] * len(names)
            for place, name, type_ in own[kind]:
                cells[place] = _cell(row.get(name), type_)
            writer.writerow(cells)
            if buffer.tell() > 8_192:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind == TEXTS:
        return cell(" ".join(value))
    # JSON begins with a bracket and is ASCII: no formula, and nothing to escape.
    return cell(value) if isinstance(value, str) and kind != JSON else value
