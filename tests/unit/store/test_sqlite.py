"""The local store: what it keeps, in which order, and what it says when it cannot."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from samples import NEVER, START_NS, execution

from lambdatrace import items
from lambdatrace.errors import CorruptItemError, StoreError
from lambdatrace.items import HOUR_NS, Item
from lambdatrace.store import sqlite
from lambdatrace.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


def soon() -> float:
    return time.monotonic() + 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "a 100%#?.db"


def filled(path: Path, written: list[Item], now: float = 0) -> SqliteStore:
    store = SqliteStore(str(path), lambda: now)
    assert store.write(written, soon()) == 0
    return store


def test_what_is_written_is_read_back_by_another_process_later(path: Path) -> None:
    written = execution("id", connections=3_000)
    filled(path, written + execution("other")).close()
    reader = SqliteStore(str(path))
    assert reader.get("id") == sorted(written[:-1], key=lambda item: item.key)
    assert [item.body for item in reader.index(START_NS, START_NS)].count(written[-1].body) == 1
    assert reader.get("unknown") == []
    reader.close()


def test_the_table_is_the_one_other_tools_may_rely_on(path: Path) -> None:
    filled(path, execution("id")).close()
    with sqlite3.connect(path) as connection:
        columns = [row[1:3] for row in connection.execute("PRAGMA table_info(items)")]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert columns == [
        ("execution_id", "TEXT"),
        ("timestamp_nano", "INTEGER"),
        ("tie", "INTEGER"),
        ("kind", "TEXT"),
        ("schema", "INTEGER"),
        ("expires_at", "INTEGER"),
        ("body", "BLOB"),
    ]


def test_a_store_can_be_read_while_it_is_written(path: Path) -> None:
    writer = filled(path, execution("one"))
    reader = SqliteStore(str(path))
    assert reader.get("one")
    writer.write(execution("two"), soon())
    assert reader.get("two")
    reader.close()
    writer.close()


def test_the_index_is_newest_first_and_within_its_limits(path: Path) -> None:
    starts = [START_NS + step * HOUR_NS // 3 for step in range(30)]
    starts += [START_NS + 400 * 24 * HOUR_NS]
    store = filled(
        path,
        [item for number, start in enumerate(starts) for item in execution(f"{number}", start)],
    )
    found = [item.timestamp_nano for item in store.index(0, 2**70)]
    assert found == sorted(starts, reverse=True)
    assert [item.timestamp_nano for item in store.index(starts[3], starts[20])] == starts[20:2:-1]
    assert list(store.index(starts[3] + 1, starts[4] - 1)) == []
    assert list(store.index(5, 4)) == []
    assert list(store.batches(5, 4)) == []
    for since, until in ((0, 2**70), (starts[3], starts[20]), (starts[3] + 1, starts[4] - 1)):
        rows = [row for batch in store.batches(since, until) for row in batch]
        hours = [row[1] // HOUR_NS for row in rows]
        assert hours == sorted(hours, reverse=True)
        assert {items.item_of(row) for row in rows} == set(store.index(since, until))


def test_the_index_never_scans(path: Path) -> None:
    filled(path, execution("id")).close()
    values = {"id": "x", "first": "a", "last": "b", "since": 0, "until": 1, "now": 0}
    with sqlite3.connect(path) as connection:
        for select in (
            sqlite.SELECT_EXECUTION,
            sqlite.SELECT_NEWEST_BUCKET,
            sqlite.SELECT_BUCKET,
        ):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {select}", values)]
            assert all(step.startswith("SEARCH") for step in plan), plan


def test_expired_items_are_not_returned_and_in_the_end_deleted(path: Path) -> None:
    time_now = [100.0]
    store = SqliteStore(str(path), lambda: time_now[0])
    store.write(execution("old", expires_at=200) + execution("kept", expires_at=0), soon())
    assert store.get("old")
    time_now[0] = 200
    assert store.get("old") == []
    kept = [items.read_summary(item)["execution_id"] for item in store.index(0, 2**62)]
    assert kept == ["kept"]
    store.write(execution("new"), soon())
    with sqlite3.connect(path) as connection:
        left = connection.execute("SELECT DISTINCT expires_at FROM items ORDER BY 1").fetchall()
    assert left == [(0,), (NEVER,)]


def test_written_again_an_item_replaces_what_was_there(path: Path) -> None:
    store = filled(path, [Item("id", 1, 0, items.SUMMARY, b"{}", NEVER)])
    store.write([Item("id", 1, 0, items.SUMMARY, b'{"a":1}', NEVER)], soon())
    assert [item.body for item in store.get("id")] == [b'{"a":1}']


WRITER = """
import sys, time
from lambdatrace.items import Item
from lambdatrace.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
for number in range(25):
    lost = store.write([Item(sys.argv[2], number, 0, "chunk", b"x", 0)], time.monotonic() + 60)
    assert lost == 0, store.last_error
"""


def test_several_processes_write_at_once(path: Path) -> None:
    names = [f"process-{number}" for number in range(4)]
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, path, name]) for name in names]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    store = SqliteStore(str(path))
    assert [len(store.get(name)) for name in names] == [25] * 4


def test_a_store_locked_beyond_the_deadline_is_a_counted_loss(path: Path) -> None:
    filled(path, execution("id")).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store = SqliteStore(str(path))
    more = execution("more")
    assert store.write(more, time.monotonic() + 0.2) == len(more)
    assert "locked" in store.last_error
    other.execute("ROLLBACK")
    assert store.write(more, soon()) == 0
    assert store.get("more")


def test_reading_a_store_that_is_not_there_says_how_to_get_one(path: Path) -> None:
    for read in (lambda s: s.get("id"), lambda s: list(s.index(0, 2**62))):
        with pytest.raises(StoreError, match="there is no store at") as caught:
            read(SqliteStore(str(path)))
        assert "lambdatrace run -- CMD" in caught.value.hint
    assert not path.exists()


def test_an_empty_file_is_no_store_yet(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="there is no store at"):
        SqliteStore(str(tmp_path / "empty.db")).get("id")


def both_ways(path: Path) -> list[StoreError]:
    """What reading and writing say; a write reports it instead of raising."""
    store = SqliteStore(str(path))
    with pytest.raises(StoreError) as reading:
        store.get("id")
    with pytest.raises(StoreError) as writing:
        store.prepare(soon())
    assert store.write(execution("id"), soon()) == 2
    assert store.last_error == writing.value.message
    return [reading.value, writing.value]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n" * 100)
    for error in both_ways(path):
        assert "is not an SQLite database" in error.message
        assert error.hint
    assert path.read_text() == "remember the milk\n" * 100


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    for error in both_ways(tmp_path):
        assert "cannot be" in error.message
        assert error.hint


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = SqliteStore(str(tmp_path / "file" / "x.db"))
    with pytest.raises(StoreError, match="cannot create the folder") as caught:
        store.prepare(soon())
    assert caught.value.hint
    assert store.write(execution("id"), soon()) == 2


def test_a_damaged_database(path: Path) -> None:
    filled(path, execution("id", connections=5_000)).close()
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xa5" * (len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged") as caught:
        SqliteStore(str(path)).get("id")
    assert caught.value.hint


def test_a_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "else.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks(x)")
    with pytest.raises(StoreError, match="not one of lambdatrace"):
        SqliteStore(str(path)).get("id")


@pytest.mark.parametrize("column", ["kind", "schema", "expires_at", "body"])
def test_values_of_a_wrong_type_are_a_corrupt_item(path: Path, column: str) -> None:
    filled(path, execution("id")).close()
    value = "5" if column == "kind" else "'text'"
    cast = f"CAST({value} AS BLOB)" if column != "body" else value
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE items SET {column} = {cast}")
    with pytest.raises(CorruptItemError):
        SqliteStore(str(path)).get("id")


def test_an_item_that_sqlite_cannot_hold_is_a_loss_not_a_crash(path: Path) -> None:
    store = SqliteStore(str(path))
    assert store.write([Item("id", 2**64, 0, items.SUMMARY, b"{}", 0)], soon()) == 1
    assert store.last_error


def test_prepare_makes_an_empty_store(path: Path) -> None:
    SqliteStore(str(path)).prepare(soon())
    assert SqliteStore(str(path)).get("id") == []


LIST_MODULES = """
import sys
from lambdatrace.store import open_store
store = open_store("sqlite:///nowhere/x.db")
print(*sys.modules)
"""


def test_the_local_store_does_not_import_boto3() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", LIST_MODULES], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lambdatrace.store.sqlite" in listed
    for heavy in ("boto3", "botocore", "typing", "dataclasses", "pathlib", "urllib.parse"):
        assert heavy not in listed
