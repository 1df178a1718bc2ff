"""What a local store keeps beside its index rows counts to the digit what reading the rows does."""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces

from lambdatrace.analysis.destinations import By, Tally
from lambdatrace.analysis.lookup import recent
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.taken import Taken
from lambdatrace.analysis.tallying import Tallied
from lambdatrace.analysis.times import Window
from lambdatrace.glance import glance_of
from lambdatrace.items import INDEX, Item, row_of, summary_items
from lambdatrace.store import sqlite
from lambdatrace.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.analysis.usual import Usual

WINDOW = Window(traces.STARTED_NS, traces.STARTED_NS + traces.HOUR_NS)
DROP = "DROP TABLE glances; DROP TRIGGER items_written; DROP TRIGGER items_deleted;"
PARTS = [1_000_000, 2, None, 4, 0, 0, 0, 0, 5_000, 0, None, 0]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def soon() -> float:
    return time.monotonic() + 60


def index_row(number: int = 0, **changes: Any) -> Item:
    """The index row of an execution."""
    moment = WINDOW.since_ns + number * 7_000_000_000
    changed = {"execution_id": f"e{number}", "started_ns": moment, "partition": PARTS, **changes}
    return summary_items(traces.summary(**changed), 0)[1]


def filled(path: str, rows: list[Item]) -> SqliteStore:
    store = SqliteStore(path, lambda: 0)
    assert store.write(rows, soon()) == 0
    return store


def executed(path: str, sql: str, *values: Any) -> None:
    """Run SQL as a process does that knows nothing of glances."""
    connection = sqlite3.connect(path)
    with connection:
        if values:
            connection.execute(sql, values)
        else:
            connection.executescript(sql)
    connection.close()


def counted(
    store: SqliteStore, by: By = By.HOST, function: str | None = None, *, glances: bool = True
) -> list[Any]:
    """All that `top-destinations` and `stats` make of what is in a store."""
    tallied, taken = Tallied(Tally(by, WINDOW), function), Taken(function)
    limits = WINDOW.since_ns, WINDOW.until_ns
    for found in (tallied, taken):
        if glances:
            for batch in store.glances(*limits):
                found.add_glances(batch)
        for rows in store.unglanced(*limits) if glances else store.batches(*limits):
            found.add(rows)
    columns = sorted(zip(*taken.columns.values(), strict=True))
    return [
        tallied.tally.rows(), tallied.executions, tallied.destinations_left_out,
        len(tallied.unreadable), tallied.tally.corrupt,
        columns, taken.functions, taken.statuses, taken.cold_starts, len(taken.unreadable),
    ]  # fmt: skip


def any_destination(generator: random.Random) -> list[Any]:
    """A destination as busy executions have them: few or many connections, quick or slow ones."""
    made = generator.choice([0, 1, 3, 32])
    reused = generator.choice([0, 0, 2])
    # A summary keeps no more than eight times: of more requests, each stands for several.
    requests = generator.choice([0, 1, 8, 8, 30])

    def times(count: int) -> list[float]:
        return sorted(generator.lognormvariate(1, 2) for _ in range(count))

    return traces.destination(
        f"10.0.0.{generator.randrange(3)}", generator.choice([80, 443]),
        host=generator.choice([None, "a.example", 'é"\\\n\t\u2028.example']),
        connections=made + reused + generator.choice([0, 40]), errors=generator.randrange(3),
        bytes_in=generator.choice([0, 9_000, 2**33]), time=generator.choice([0, 3.3, 90_000]),
        connect=times(made), reused=reused, requests=requests, wait=times(min(8, requests)),
        tls=times(generator.choice([0, 1, 8])), dns=times(generator.choice([0, 1])),
    )  # fmt: skip


@pytest.fixture(scope="module")
def many() -> list[Item]:
    """Executions of all kinds, and some that cannot be read."""
    generator = random.Random(5)
    rows = []
    for number in range(500):
        known = [generator.randrange(2**40) for _ in PARTS[:6]]
        partition = known + [generator.choice([None, 0, 2**40]) for _ in PARTS[6:]]
        changes: dict[str, Any] = {
            "destinations": [any_destination(generator) for _ in range(generator.randrange(5))],
            "destinations_left_out": generator.randrange(3),
            "function": generator.choice([*4 * ["checkout", "überweisung"], "\ud800"]),
            "status": generator.choice(["ok", "timeout"]),
            "cold_start": generator.random() < 0.1,
            "partition": generator.choice([None, partition]),
            **generator.choice(60 * [{}] + ODD),
        }
        rows.append(index_row(number, **changes))
    rows[7].body = b"{"
    return rows


ODD: list[dict[str, Any]] = [
    {"function": None}, {"status": "fine"}, {"status": 1}, {"cold_start": 1},
    {"duration_ns": -1}, {"duration_ns": None}, {"partition": [1]}, {"partition": [0.5] * 12},
    {"destinations_left_out": -1}, {"destinations": None}, {"destinations": ["tcp"]},
    {"destinations": [[None, "10.0.0.1", 70_000, "tcp", 1, 0, 1, 1, 1, [3]]]},
    {"destinations": [[None, "10.0.0.1", 443, "carrier pigeon", 1, 0, 1, 1, 1, [3]]]},
    {"destinations": [[None, "10.0.0.1", 443, "tcp", 1, 0, -1, 1, 1, [3]]]},
    {"destinations": [[None, "10.0.0.1", 443, "tcp", 1, 0, 1, 1, 1, [2**64]]]},
    {"destinations": [[None, "10.0.0.1", 443, "tcp", 1, 0, 1, 1]]},
]  # fmt: skip


# What words and numbers of parts there are, and where a destination can be, readers know.
WORDS = [ODD[1], ODD[6], ODD[11], ODD[12]]


@pytest.mark.parametrize("function", [None, "checkout"])
@pytest.mark.parametrize("by", list(By))
def test_a_glance_tells_what_reading_does(
    path: str, many: list[Item], by: By, function: str | None
) -> None:
    store = filled(path, many)
    read = counted(store, by, function, glances=False)
    assert counted(store, by, function) == read
    assert read[3]  # some cannot be read,
    assert read[4]  # and some of what was read is corrupt
    seen = sum(map(len, store.glances(WINDOW.since_ns, WINDOW.until_ns)))
    assert 300 < seen < len(many)


@pytest.mark.parametrize("times", [0, 1, 7, 8, 32])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 31, 32, 33])
def test_any_number_of_executions_that_are_alike(path: str, count: int, times: int) -> None:
    wait = [float(n + 1) for n in range(min(8, times))]
    alike = traces.destination(
        "10.0.0.1", connections=40, connect=[float(n + 1) for n in range(times)], tls=wait,
        wait=wait, requests=30 if times else 0,
    )  # fmt: skip
    store = filled(path, [index_row(number, destinations=[alike]) for number in range(count)])
    assert counted(store) == counted(store, glances=False)


def test_each_index_row_is_counted_once(path: str, many: list[Item]) -> None:
    store = filled(path, many)
    limits = many[100].timestamp_nano, many[200].timestamp_nano
    count = sum(map(len, store.glances(*limits))) + sum(map(len, store.unglanced(*limits)))
    assert count == 101
    assert list(store.glances(5, 4)) == list(store.unglanced(5, 4)) == []


def test_a_store_that_an_older_version_wrote_is_counted_all_the_same(
    path: str, many: list[Item]
) -> None:
    filled(path, many[:300]).close()
    executed(path, DROP)
    reader = SqliteStore(path, lambda: 0)
    read = counted(reader, glances=False)
    assert counted(reader) == read
    reader.close()
    # The next writer notes which rows it knows nothing of, and its own.
    store = filled(path, many[300:])
    whole = counted(store, glances=False)
    assert counted(store) == whole != read
    # An older version goes on writing.
    for item in many[40:60]:
        changed = index_row(0).body
        row = (*row_of(item)[:-1], changed)
        executed(path, f"INSERT OR REPLACE INTO items VALUES ({','.join('?' * 7)})", *row)
    changed_whole = counted(store, glances=False)
    assert counted(store) == changed_whole != whole
    executed(path, "DELETE FROM items WHERE timestamp_nano < ?", many[99].timestamp_nano)
    assert counted(store) == counted(store, glances=False) != changed_whole
    assert counted(store)[1] <= len(many) - 99


def test_written_again_a_row_counts_as_it_is_then(path: str) -> None:
    store = filled(path, [index_row(destinations=[traces.destination()])])
    store.write([index_row(function="later", destinations=[traces.destination(port=80)])], soon())
    found = counted(store)
    assert found == counted(store, glances=False)
    assert [row.port for row in found[0]] == [80]
    assert found[6] == {"later": 1}


def test_what_has_expired_is_not_counted(path: str) -> None:
    now = [0]
    store = SqliteStore(path, lambda: now[0])
    rows = [index_row(0), index_row(1)]
    rows[0].expires_at = 200
    store.write(rows, soon())
    assert counted(store)[1] == 2
    now[0] = 200
    assert counted(store)[1] == 1
    store.write([], soon())  # deletes it
    count = sqlite3.connect(path).execute("SELECT count(*) FROM glances").fetchone()
    assert count == (1,)


@pytest.mark.parametrize(
    "change",
    [
        "shapes = 'a'", "shapes = '1,2'", "shapes = x'ff'", "shapes = shapes || shapes",
        """shapes = '"a","b",1,"tcp",-7,0,0,0,"I"'""", """shapes = '"a","b",1,"tcp",9,0,0,0,"d"'""",
        "figures = x''", "figures = 7", "figures = NULL", "taken = x'00'", "taken = x''",
        "taken = zeroblob(80000)", "taken = x'ffffffffffffff8f'", "status = 'fine'",
        "function = x'ff'", "left_out = 'many'", "cold_start = NULL",
    ],
)  # fmt: skip
def test_a_damaged_glance_is_not_counted_or_read_in_full(path: str, change: str) -> None:
    rows = [
        index_row(number, destinations=[traces.destination(wait=[3], port=port)])
        for number, port in enumerate((80, 443))
    ]
    filled(path, rows).close()
    executed(path, f"UPDATE glances SET {change} WHERE timestamp_nano = {rows[0].timestamp_nano}")
    store = SqliteStore(path, lambda: 0)
    found = counted(store)
    whole = counted(store, glances=False)
    assert found == whole or found[4] == 1 or found[-1] == 1
    assert 443 in [row.port for row in found[0]]  # the other one's


def test_glances_are_searched_by_time(path: str) -> None:
    filled(path, [index_row()]).close()
    values = {"since": 0, "until": 1, "now": 0}
    with sqlite3.connect(path) as connection:
        for select in (sqlite.SELECT_GLANCES, sqlite.SELECT_UNGLANCED):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {select}", values)]
            assert not [step for step in plan if step.startswith("SCAN")], plan
            assert any("timestamp_nano>? AND timestamp_nano<?" in step for step in plan), plan


def test_only_index_rows_have_glances(path: str) -> None:
    both = summary_items(traces.summary(), 0)
    filled(path, both).close()
    found = sqlite3.connect(path).execute("SELECT execution_id FROM glances").fetchall()
    assert found == [(row.execution_id,) for row in both if row.kind == INDEX]


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_as_the_agent_writes_it_is_read_in_full(odd: dict[str, Any]) -> None:
    looked_at_when_counted = odd in WORDS
    assert (glance_of(index_row(**odd)) is not None) is looked_at_when_counted


def seen(path: str, many: list[Item]) -> tuple[list[Item], list[Usual]]:
    """(part of the index, what is usual)."""
    store = SqliteStore(path, lambda: 0)
    recents = recent(store, WINDOW.until_ns), recent(store, WINDOW.until_ns, "checkout")
    ones = [read_execution(traces.summary(function=name)) for name in ("checkout", "überweisung")]
    usual = [each.usual(one) for each in recents for one in ones]
    index = list(store.index(many[30].timestamp_nano, many[400].timestamp_nano))
    store.close()
    return index, usual


def test_the_index_and_what_is_usual_are_the_same_with_glances(path: str, many: list[Item]) -> None:
    filled(path, many).close()
    with_glances = seen(path, many)
    executed(path, DROP)
    without = seen(path, many)
    assert with_glances == without
    assert any(item.glance for item in with_glances[0])
    assert not any(item.glance for item in without[0])
    assert with_glances[1][0].parts
