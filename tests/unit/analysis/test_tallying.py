"""What is read of an index row without reading all of it is what reading all of it tells."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as some

from lambdatrace.analysis import tallying
from lambdatrace.analysis.destinations import By, Tally
from lambdatrace.analysis.tallying import Tallied, read_destinations
from lambdatrace.analysis.times import Window
from lambdatrace.errors import CorruptItemError, NewerSchemaError
from lambdatrace.items import DICTIONARIES, row_of, summary_items

if TYPE_CHECKING:
    from lambdatrace.items import Row

WINDOW = Window(traces.STARTED_NS, traces.STARTED_NS + traces.HOUR_NS)
# What a name may hold, and what could be taken for JSON around it.
NAMES = some.text(min_size=1, max_size=8) | some.sampled_from(
    ['"', "\\", '],["', '"],["a', '],"destinations_left_out":9,', '"destinations":[', "é", "\ud800"]
)
TIMES = some.lists(some.integers(0, 10_000), max_size=9)
ROWS = some.builds(
    lambda host, address, port, connections, connect, wait: traces.destination(
        address, port, host=host, connections=connections, connect=connect, wait=wait
    ),
    some.none() | NAMES, NAMES, some.integers(0, 65_535), some.integers(0, 5), TIMES, TIMES,
)  # fmt: skip


def row(
    function: str = "checkout", destinations: list[Any] | None = None, left_out: int = 0
) -> Row:
    """An index row of an execution, its keys in the agent's order (recorder.py)."""
    summary = traces.summary(function=function)
    del summary["destinations"], summary["destinations_left_out"]
    summary |= {"destinations": destinations or [], "destinations_left_out": left_out, "chunks": 0}
    return row_of(summary_items(summary, 0)[1])


def tallied(*rows: Row, by: By = By.HOST) -> Tallied:
    found = Tallied(Tally(by, WINDOW))
    found.add(rows)
    return found


@given(some.lists(ROWS, max_size=4), NAMES, some.integers(0, 9))
def test_destinations_are_those_of_the_whole_summary(
    destinations: list[Any], function: str, left_out: int
) -> None:
    stored = row(function, destinations, left_out)
    found = tallied(stored, by=By.FUNCTION)
    whole = Tally(By.FUNCTION, WINDOW)
    whole.add(stored[1], function, destinations)
    assert found.tally.rows() == whole.rows()
    assert (found.executions, found.destinations_left_out, found.unreadable) == (1, left_out, [])
    assert found.tally.corrupt == whole.corrupt == 0


def rewritten(change: Any) -> Row:
    """An index row whose summary is what `change` makes of it."""
    stored = list(row(destinations=[traces.destination("a.example", connect=[1])]))
    text = zlib.decompressobj(zdict=DICTIONARIES[3]).decompress(stored[6][4:])
    deflate = zlib.compressobj(zdict=DICTIONARIES[3])
    stored[6] = stored[6][:4] + deflate.compress(change(text)) + deflate.flush()
    return tuple(stored)


def test_the_usual_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallying, "_read_whole", None)
    destinations = [traces.destination("10.0.0.1", host=host) for host in (None, "é.example")]
    name, rows, left_out = read_destinations(row("checkout", destinations, 3))
    assert (name, len(rows), left_out) == ("checkout", 2, 3)
    assert read_destinations(row("checkout", [])) == ("checkout", [], 0)


def test_another_order_or_layout_is_read_as_well() -> None:
    def spread(text: bytes) -> bytes:
        return json.dumps(dict(reversed(json.loads(text).items())), indent=1).encode()

    usual, other = rewritten(bytes), rewritten(spread)
    assert usual != other
    assert tallied(other).tally.rows() == tallied(usual).tally.rows() != []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-40],
        lambda text: text.replace(b'"destinations":', b'"destination":'),
        lambda text: text.replace(b'"destinations_left_out":0', b'"destinations_left_out":-1'),
        lambda text: text.replace(b'"function":"checkout"', b'"function":5'),
        lambda text: text + b" " * 400_000,
    ],
)
def test_what_is_no_summary_is_left_out_and_said(change: Any) -> None:
    found = tallied(rewritten(change), rewritten(bytes), by=By.FUNCTION)
    assert found.executions == 1
    assert len(found.unreadable) == 1


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [(4, 9, NewerSchemaError), (6, "text", CorruptItemError), (6, b"LTs3", CorruptItemError),
     (1, "soon", CorruptItemError), (6, b"", CorruptItemError)],
)  # fmt: skip
def test_rows_that_are_none(place: int, value: object, error: type[Exception]) -> None:
    stored = list(row())
    stored[place] = value
    with pytest.raises(error):
        read_destinations(tuple(stored))


def test_figures_that_run_into_one_another_are_corrupt() -> None:
    destinations = [traces.destination("a.example"), traces.destination("b.example")]
    found = tallied(
        row(destinations=destinations),
        rewritten(lambda text: text.replace(b']],"destinations_l', b'],[1]],"destinations_l')),
    )
    assert sum(each.connections for each in found.tally.rows()) == 2
    assert found.tally.corrupt == 1
