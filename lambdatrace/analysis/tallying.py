"""Reads the destinations of a window's executions into a tally, and no more of them than that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lambdatrace import items as stored
from lambdatrace.analysis import glimpse
from lambdatrace.analysis.destinations import By, add_executions, written_row
from lambdatrace.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lambdatrace.analysis.destinations import StoredRow, Tally
    from lambdatrace.analysis.lookup import WindowContents
    from lambdatrace.glance import StoredGlance
    from lambdatrace.items import Row
    from lambdatrace.model import Execution

_DESTINATIONS = b'"destinations":['
_END = b'],"destinations_left_out":'
# A destination as the agent writes it: its place, in two texts without a backslash, and figures.
_ROW = re.compile(
    rb'\[((?:"[^"\\]*"|null),"[^"\\]*",[0-9]{1,5},"[a-z]+"),([0-9,\[\]]*)\](?=,\["|,\[null|\Z)'
)
_LEFT_OUT = re.compile(rb"([0-9]{1,18})[,}]")


class Tallied:
    """What a window holds; of one function only, if `function` is not None."""

    __slots__ = ("destinations_left_out", "executions", "function", "tally", "unreadable")

    def __init__(self, tally: Tally, function: str | None = None) -> None:
        self.tally = tally
        self.function = function
        self.executions = 0
        self.destinations_left_out = 0  # destinations for which the summaries had no room
        self.unreadable: list[StoreError] = []  # one for each row left out

    def add(self, rows: Iterable[Row]) -> None:
        """Add index rows, as far as they can be read."""
        named = self.function is not None or self.tally.by is By.FUNCTION
        for row in rows:
            try:
                name, destinations, left_out = read_destinations(row, named=named)
            except StoreError as error:
                self.unreadable.append(error)
                continue
            if self.function is None or name == self.function:
                self.executions += 1
                self.destinations_left_out += left_out
                self.tally.add_stored(row[1], name, destinations)

    def add_glances(self, glances: Iterable[StoredGlance]) -> None:
        """Add what is counted of executions (glance.py)."""
        for started_ns, function, _, _, _, left_out, shapes, figures in glances:
            if self.function is None or function == self.function:
                self.executions += 1
                self.destinations_left_out += left_out
                self.tally.add_glance(started_ns, function, shapes, figures)

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


def read_destinations(row: Row, *, named: bool = True) -> tuple[str, list[StoredRow], int]:
    """(function, destinations, how many more there were) of an index row.

    The function is only looked for if it is to be `named`.

    Raises NewerSchemaError or CorruptItemError; figures have not been looked at yet.
    """
    text = stored.row_text(row)
    begin = text.find(_DESTINATIONS) + len(_DESTINATIONS)
    end = text.find(_END, begin)
    rows: list[StoredRow] = _ROW.findall(text, begin, end)
    left_out = _LEFT_OUT.match(text, end + len(_END))
    # With two brackets and a comma each, and commas in between: was anything passed over?
    found = sum([len(place) + len(figures) + 4 for place, figures in rows]) - bool(rows)
    if not len(_DESTINATIONS) <= begin <= end or found != end - begin or left_out is None:
        return _read_whole(row)
    name = glimpse.string(text, b"function") if named else ""
    return name, rows, int(left_out[1])


def _read_whole(row: Row) -> tuple[str, list[StoredRow], int]:
    """As `read_destinations`, of a summary that does not look as the agent writes them."""
    item = stored.item_of(row)
    summary = stored.read_summary(item)
    name, destinations, left_out = map(
        summary.get, ("function", "destinations", "destinations_left_out")
    )
    if (
        not isinstance(name, str)
        or not isinstance(destinations, list)
        or type(left_out) is not int
        or left_out < 0
    ):
        raise glimpse.corrupt("it has no destinations")
    return name, [written_row(each) for each in destinations], left_out
