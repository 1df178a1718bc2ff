"""What of an index row can be told without reading all of it: there are very many.

A local store has it at a glance (glance.py); of other rows it is looked for in the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace import items as stored
from lambdatrace.analysis import glimpse
from lambdatrace.analysis.taken import glanced

if TYPE_CHECKING:
    from lambdatrace.items import Item


def function_of(row: Item) -> str:
    """The function of an index row. Raises NewerSchemaError or CorruptItemError."""
    if row.glance is not None:
        return row.glance[0]
    return glimpse.string(stored.summary_text(row), b"function")


def duration_ns_of(row: Item) -> int:
    """How long the execution of an index row took. Raises NewerSchemaError or CorruptItemError."""
    if row.glance is not None:
        _, status, taken = row.glance
        return glanced(status, taken)[0]
    value = glimpse.plain(stored.summary_text(row), b"duration_ns")
    if type(value) is not int:
        raise glimpse.corrupt("'duration_ns' is not a number")
    return value


def begins_with(row: Item, prefix: str) -> bool:
    """Whether the id of the execution of an index row begins so.

    Raises NewerSchemaError or CorruptItemError.
    """
    return glimpse.string(stored.summary_text(row), b"execution_id").startswith(prefix)
