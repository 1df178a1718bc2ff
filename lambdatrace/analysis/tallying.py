"""Reads the destinations of a window's executions into a tally, and no more of them than that."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from lambdatrace import items as stored
from lambdatrace.analysis.destinations import add_executions
from lambdatrace.errors import CorruptItemError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.analysis.destinations import Tally
    from lambdatrace.analysis.lookup import WindowContents
    from lambdatrace.items import Item
    from lambdatrace.model import Execution

# A quote within a text has a backslash before it, so these can only be keys.
_FUNCTION = '"function":'
_DESTINATIONS = '"destinations":'
_LEFT_OUT = re.compile(r'"destinations_left_out":([0-9]{1,18})[,}]')
_NONE_LEFT_OUT = ',"destinations_left_out":0,'
_decode = json.JSONDecoder().raw_decode


class Tallied:
    """What a window holds; of one function only, if `function` is not None."""

    __slots__ = ("destinations_left_out", "executions", "function", "tally", "unreadable")

    def __init__(self, tally: Tally, function: str | None = None) -> None:
        self.tally = tally
        self.function = function
        self.executions = 0
        self.destinations_left_out = 0  # destinations for which the summaries had no room
        self.unreadable: list[StoreError] = []  # one for each row left out

    def add(self, row: Item) -> None:
        """Add an index row, as far as it can be read."""
        try:
            name, destinations, left_out = read_destinations(row)
        except StoreError as error:
            self.unreadable.append(error)
            return
        if self.function is None or name == self.function:
            self.executions += 1
            self.destinations_left_out += left_out
            self.tally.add(row.timestamp_nano, name, destinations)

    def add_chosen(
        self, contents: WindowContents, chosen: Callable[[Execution], Execution | None]
    ) -> None:
        """Add what `chosen` makes of executions that have been read; None: nothing of it."""
        executions = [one for one in map(chosen, contents.executions) if one is not None]
        add_executions(self.tally, executions)
        self.executions += len(executions)
        self.destinations_left_out += contents.destinations_left_out
        self.unreadable += contents.unreadable

    def portable(self) -> list[Any]:
        """Everything it knows, in types that `marshal` takes."""
        errors = [(error.message, error.hint) for error in self.unreadable]
        return [self.executions, self.destinations_left_out, errors, self.tally.portable()]

    def merge(self, portable: list[Any]) -> None:
        """Add what another one knows of other executions of the window."""
        executions, left_out, errors, tally = portable
        self.executions += executions
        self.destinations_left_out += left_out
        self.unreadable += [StoreError(message, hint) for message, hint in errors]
        self.tally.merge(tally)


def read_destinations(row: Item) -> tuple[str, list[Any], int]:
    """(function, destinations as they are stored, how many more there were) of an index row.

    Raises NewerSchemaError or CorruptItemError; figures have not been looked at yet.
    """
    text = stored.summary_text(row).decode("utf-8", "surrogatepass")
    try:
        destinations, end = _decode(text, text.index(_DESTINATIONS) + len(_DESTINATIONS))
        name, _ = _decode(text, text.index(_FUNCTION) + len(_FUNCTION))
        # The usual case first: searching takes a while.
        left_out = 0 if text.startswith(_NONE_LEFT_OUT, end) else int(_left_out(text))
    except (ValueError, RecursionError) as error:
        raise CorruptItemError(f"the summary of {row.execution_id!r} is corrupt") from error
    if not isinstance(destinations, list) or not isinstance(name, str):
        raise CorruptItemError(f"the summary of {row.execution_id!r} has no destinations")
    return name, destinations, left_out


def _left_out(text: str) -> str:
    found = _LEFT_OUT.search(text)
    if found is None:
        raise ValueError(text)
    return found[1]
