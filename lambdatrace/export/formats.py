"""Which forms there are; each is a module of its own, loaded when it is wanted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Write = Callable[..., Iterator[bytes]]


class Format(NamedTuple):
    """One form: where `write` is that makes pieces of a file of executions, and what is said of it.

    `write(executions)` takes StoredExecutions one by one and raises StoreError for what is corrupt;
    of a table with `only=`, the records of one kind.
    """

    module: str
    summary: str
    suffixes: tuple[str, ...]  # of files that cannot be of another form
    is_binary: bool = False
    is_table: bool = False

    def load(self) -> Write:
        """`write`. Raises UsageError where what it needs is not installed."""
        write: Write = import_module(f"lambdatrace.export.{self.module}").write
        return write


# The place where another form is added, with a part in docs/export.md.
FORMATS = {
    "jsonl": Format("jsonl", "everything, to be read back", (".jsonl", ".ndjson")),
    "chrome": Format("chrome", "Perfetto and chrome://tracing", ()),
    "otlp": Format("otlp", "OpenTelemetry", ()),
    "har": Format("har", "browsers' developer tools", (".har",)),
    "csv": Format("csv", "a row a record", (".csv",), is_table=True),
    "parquet": Format(
        "parquet", "a row a record, and to be read back", (".parquet",), is_binary=True,
        is_table=True,
    ),
    "html": Format("html", "a page to look at, to mail, to print", (".html", ".htm")),
}  # fmt: skip
