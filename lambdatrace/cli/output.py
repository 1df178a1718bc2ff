r"""Documents as JSON, JSON lines and CSV.

JSON is written in ASCII: whatever a trace holds, a terminal shows it as `\u001b`. One document a
line, also inside arrays: readable, and fast with hundreds of thousands of them.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from lambdatrace.sanitize import cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lambdatrace.export.documents import Document

# Made once: `json.dumps` would make one for each document.
_encode = json.JSONEncoder(allow_nan=False).encode


def encoded(documents: Iterable[Document]) -> Iterator[str]:
    """Each document as one line of JSON, without its end."""
    return map(_encode, documents)


def write_array(documents: Iterable[Document], stream: TextIO) -> None:
    """A JSON array of documents."""
    _write_items(encoded(documents), stream, "")
    stream.write("\n")


def write_object(
    members: Mapping[str, Any], arrays: Mapping[str, Iterable[str]], stream: TextIO
) -> None:
    """A JSON object: plain members first, then arrays of encoded documents, as they are read."""
    separator = "{\n"
    for name, value in members.items():
        stream.write(f"{separator}  {_encode(name)}: {_encode(value)}")
        separator = ",\n"
    for name, lines in arrays.items():
        stream.write(f"{separator}  {_encode(name)}: ")
        _write_items(lines, stream, "  ")
        separator = ",\n"
    stream.write("\n}\n")


def write_lines(documents: Iterable[Document], stream: TextIO) -> None:
    """JSON lines: one document a line."""
    write_encoded(encoded(documents), stream)


def write_encoded(lines: Iterable[str], stream: TextIO) -> None:
    """JSON lines from documents that are encoded already."""
    stream.writelines(f"{line}\n" for line in lines)


def write_documents(
    documents: Iterable[Document], fields: Sequence[str], output: str, stream: TextIO
) -> None:
    """Documents in the form `output` (json, jsonl or csv, then of `fields`)."""
    if output == "json":
        write_array(documents, stream)
    elif output == "jsonl":
        write_lines(documents, stream)
    else:
        write_csv(documents, fields, stream)


def write_csv(
    documents: Iterable[Document], fields: Sequence[str], stream: TextIO, *, head: bool = True
) -> None:
    """CSV (RFC 4180, lines end in a newline only) of `fields`, under their names (`head`)."""
    writer = csv.writer(stream, lineterminator="\n")
    if head:
        writer.writerow(fields)
    for document in documents:
        writer.writerow([_cell(document[name]) for name in fields])


def _write_items(lines: Iterable[str], stream: TextIO, indent: str) -> None:
    separator = "[\n"
    for line in lines:
        stream.write(f"{separator}{indent}  {line}")
        separator = ",\n"
    stream.write("[]" if separator == "[\n" else f"\n{indent}]")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value))  # of numbers
    return cell(value) if isinstance(value, str) else value
