"""The same executions through AWS's own DynamoDB engine and through SQLite."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from samples import NEVER, START_NS, execution, summary

from lambdatrace import items, wire
from lambdatrace.agent.writer import open_writer
from lambdatrace.errors import CorruptItemError, NewerSchemaError
from lambdatrace.items import HOUR_NS, Item
from lambdatrace.store import open_store
from lambdatrace.store import url as store_url
from lambdatrace.store.dynamodb import DynamoStore, connect
from lambdatrace.store.sqlite import SqliteStore
from lambdatrace.store.table import create_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lambdatrace.store.base import Store

END_NS = START_NS + 10 * HOUR_NS


@pytest.fixture(params=["sqlite", "dynamodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/x.db"
    found: str = request.getfixturevalue("table")
    return found


def write(url: str, written: list[Item], environ: dict[str, str]) -> None:
    writer = open_writer(url, environ)
    writer.prepare(time.monotonic() + 30)
    assert writer.write(written, time.monotonic() + 60) == 0, writer.last_error
    writer.close()


def at(url: str, now: Callable[[], float]) -> Store:
    """The store as it is seen at another time."""
    target = store_url.parse(url, {})
    if target.engine == store_url.SQLITE:
        return SqliteStore(target.path, now)
    return DynamoStore(connect(target), target.table, now)


def at_the_end(url: str) -> Store:
    return at(url, lambda: END_NS / 1e9)


def test_both_read_back_what_was_written(
    table: str, tmp_path: Path, aws_environ: dict[str, str]
) -> None:
    written = [
        *execution("one", connections=3_000, syscalls=20_000),
        *execution("two", START_NS + 1, connections=0, command="caf\udce9 \N{SNOWMAN}"),
        *execution("three", START_NS + 3 * HOUR_NS, expires_at=0),
        # A time that DynamoDB's numbers would like to write with an exponent.
        *execution("four", 1_795_330_000_000_000_000),
    ]
    seen = []
    for url in (table, f"sqlite://{tmp_path}/x.db"):
        write(url, written, aws_environ)
        store = open_store(url, environ=aws_environ)
        everything = [store.get(name) for name in ("one", "two", "three", "four")]
        store.close()
        timed = at_the_end(url)
        since = 0 if "sqlite" in url else START_NS - HOUR_NS
        everything.append(list(timed.index(since, END_NS)))
        rows = [row for batch in timed.batches(since, END_NS) for row in batch]
        assert sorted(map(items.row_of, everything[-1])) == sorted(rows)
        timed.close()
        seen.append(everything)
    assert seen[0] == seen[1]
    key_order = sorted(written, key=lambda item: item.key)
    assert seen[0][:4] == [
        [item for item in key_order if item.execution_id == name]
        for name in ("one", "two", "three", "four")
    ]
    ids = [items.read_summary(row)["execution_id"] for row in seen[0][4]]
    assert ids == ["three", "two", "one", "four"]


def test_what_happens_in_one_nanosecond_all_survives(url: str, aws_environ: dict[str, str]) -> None:
    """Two events of an execution, two chunks, and the index rows of two executions."""
    event = wire.SyscallRecord(wire.KIND_SYSCALL, 1, 0, 1, 1, 1, 3, 5, 1_000, 0)
    events = event.pack() * 2
    write(url, items.make_items(summary("one"), {wire.KIND_SYSCALL: events}, NEVER), aws_environ)
    chunks = [Item("two", START_NS, tie, items.CHUNK, b"%d" % tie, NEVER) for tie in (1, 2, 10)]
    write(url, [*chunks, *execution("two", connections=0)], aws_environ)
    store = at_the_end(url)
    assert items.read_chunks(store.get("one"))[wire.KIND_SYSCALL] == events
    assert store.get("two")[1:] == chunks
    rows = list(store.index(START_NS, START_NS))
    assert {items.read_summary(row)["execution_id"] for row in rows} == {"one", "two"}
    store.close()


def test_the_index_is_newest_first_and_within_its_limits(
    url: str, aws_environ: dict[str, str]
) -> None:
    starts = [START_NS + number * HOUR_NS // 7 for number in range(30)]
    rows = [execution(f"{number}", start)[-1] for number, start in enumerate(starts)]
    write(url, rows, aws_environ)
    store = at_the_end(url)
    assert list(store.index(START_NS - HOUR_NS, END_NS)) == rows[::-1]
    assert list(store.index(starts[4], starts[9])) == rows[9:3:-1]
    assert list(store.index(starts[4] + 1, starts[5] - 1)) == []
    assert next(store.index(START_NS, END_NS)) == rows[-1]
    assert list(store.index(START_NS, START_NS - 1)) == []
    store.close()


def test_an_execution_of_many_pages(url: str, aws_environ: dict[str, str]) -> None:
    """Query answers end at 1 MB."""
    written = execution("id", connections=60_000)
    assert sum(len(item.body) for item in written) > 5_000_000
    write(url, written, aws_environ)
    store = open_store(url, environ=aws_environ)
    assert store.get("id") == written[:-1][-1:] + written[:-2]
    store.close()


def test_an_hour_of_many_pages(url: str, aws_environ: dict[str, str]) -> None:
    """Buckets of more than 1 MB each: 8 shards, 40 kB a row."""
    starts = [START_NS + number for number in range(300)]
    note = os.urandom(20_000).hex()  # deflated to half of it
    rows = [execution(f"{number}", start, note=note * 2)[-1] for number, start in enumerate(starts)]
    assert all(len(row.body) > 30_000 for row in rows)
    write(url, rows, aws_environ)
    store = at_the_end(url)
    assert [row.key for row in store.index(START_NS, END_NS)] == [row.key for row in rows[::-1]]
    store.close()


def test_expired_items_are_not_returned(url: str, aws_environ: dict[str, str]) -> None:
    # Later than the real clock says: what it holds to be expired, both engines may delete.
    expiry = int(time.time()) + 3600
    write(url, execution("old", START_NS, expires_at=expiry), aws_environ)
    write(url, execution("kept", START_NS + 1, expires_at=0), aws_environ)
    now = [float(expiry - 1)]
    store = at(url, lambda: now[0])
    assert len(store.get("old")) == 1
    assert len(list(store.index(START_NS, END_NS))) == 2
    now[0] += 1
    assert store.get("old") == []
    assert len(store.get("kept")) == 1
    (row,) = store.index(START_NS, END_NS)
    assert items.read_summary(row)["execution_id"] == "kept"
    store.close()


def test_an_unknown_execution_has_no_items(url: str, aws_environ: dict[str, str]) -> None:
    write(url, execution("id"), aws_environ)
    store = open_store(url, environ=aws_environ)
    assert store.get("unknown") == []
    assert store.get("") == []
    store.close()


def test_a_newer_schema_is_refused_in_words(url: str, aws_environ: dict[str, str]) -> None:
    newer = items.SCHEMA_VERSION + 1
    write(url, [Item("id", START_NS, 0, items.SUMMARY, b"{}", NEVER, newer)], aws_environ)
    store = open_store(url, environ=aws_environ)
    (item,) = store.get("id")
    with pytest.raises(NewerSchemaError, match=f"schema {newer}"):
        items.read_summary(item)
    store.close()


def test_an_item_of_something_else_in_the_table_is_corrupt(
    table: str, aws_environ: dict[str, str]
) -> None:
    target = store_url.parse(table, {})
    connect(target).put_item(
        TableName=target.table,
        Item={"ExecutionID": {"S": "id"}, "TimestampNano": {"N": "5"}, "Duration": {"N": "7"}},
    )
    with pytest.raises(CorruptItemError):
        open_store(table, environ=aws_environ).get("id")


def test_the_table_is_made_once_and_forgets(table: str) -> None:
    target = store_url.parse(table, {})
    assert not create_table(target)
    client = connect(target)
    described = client.describe_table(TableName=target.table)["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    keys = [(key["AttributeName"], key["KeyType"]) for key in described["KeySchema"]]
    assert keys == [("ExecutionID", "HASH"), ("TimestampNano", "RANGE")]
    ttl = client.describe_time_to_live(TableName=target.table)["TimeToLiveDescription"]
    assert ttl["TimeToLiveStatus"] in ("ENABLING", "ENABLED")
    assert ttl.get("AttributeName") == "ExpiresAt"


def test_reading_dynamodb_never_scans(table: str, aws_environ: dict[str, str]) -> None:
    write(table, execution("id"), aws_environ)
    target = store_url.parse(table, {})
    client = connect(target)
    called: list[str] = []
    client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: called.append(model.name)
    )
    store = DynamoStore(client, target.table, lambda: END_NS / 1e9)
    assert store.get("id")
    assert list(store.index(START_NS, START_NS + HOUR_NS))
    assert set(called) == {"Query"}
    store.close()


def test_items_are_metered(table: str, aws_environ: dict[str, str]) -> None:
    writer = open_writer(table, aws_environ)
    written = execution("id", connections=2_000)
    assert writer.write(written, time.monotonic() + 60) == 0
    stored = sum(len(item.body) for item in written)
    assert stored / 1024 <= writer.write_units <= stored / 1024 + 2 * len(written)
    assert writer.bytes_sent > stored
    writer.close()
