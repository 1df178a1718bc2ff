"""What those who write Parquet and those who read it share: pyarrow, and where items stand."""

from __future__ import annotations

from typing import Any

from lambdatrace.errors import UsageError

# Where a file says that it is an export (interchange.py), and which version.
METADATA_KEY = b"lambdatrace"
# The members of an item: its kind, the rest of its key, its schema and body.
ITEM_COLUMNS = (
    "item_kind", "item_execution_id", "item_timestamp_ns", "item_tie", "item_schema", "item_body",
)  # fmt: skip


def pyarrow() -> Any:
    """The library. Raises UsageError, in words, where it is not installed."""
    try:
        import pyarrow as library
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed",
            "pip install 'lambdatrace[parquet]', or take jsonl",
        ) from error
    return library
