"""Execution <-> items: keys, codec, limits, and arbitrary bytes in place of them."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
import support_traces as traces
from hypothesis import example, given
from hypothesis import strategies as st
from samples import NEVER, START_NS, execution, records, summary

from lambdatrace import items, wire
from lambdatrace.analysis.trace import read_trace
from lambdatrace.errors import CorruptItemError, NewerSchemaError

SIZES = {
    wire.KIND_CONNECTION: wire.ConnectionRecord.SIZE,
    wire.KIND_EXCHANGE: wire.ExchangeRecord.SIZE,
    wire.KIND_BLOCKED: wire.BlockedRecord.SIZE,
    wire.KIND_PAUSE: wire.PauseRecord.SIZE,
    wire.KIND_DETAILS: 1,
    wire.KIND_SYSCALL: wire.SyscallRecord.SIZE,
}
LARGEST = max(SIZES.values())
DICTIONARY_CRCS = {2: 581_484_803, 3: 3_733_030_491}


def header(kind: int, size: int, count: int) -> bytes:
    return struct.pack("<4sBxHI", b"LTr1", kind, size, count)


@given(kind=st.sampled_from(sorted(SIZES)), data=st.data())
def test_packed_records_come_back_as_they_were(kind: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 20))
    raw = data.draw(st.binary(min_size=count * SIZES[kind], max_size=count * SIZES[kind]))
    assert items.unpack_records(items.pack_records(kind, SIZES[kind], raw)) == (
        kind,
        SIZES[kind],
        raw,
    )


@given(st.binary(max_size=300))
@example(b"LTr1")
def test_arbitrary_bytes_are_a_corrupt_chunk(body: bytes) -> None:
    with pytest.raises(CorruptItemError):
        items.unpack_records(body)


@given(
    kind=st.integers(0, 255),
    size=st.integers(0, 65535),
    count=st.integers(0, 2**32 - 1),
    rest=st.binary(max_size=100),
    deflate=st.booleans(),
)
@example(kind=1, size=SIZES[1], count=0, rest=b"", deflate=True)
def test_a_chunk_with_any_header_is_read_or_refused(
    kind: int, size: int, count: int, rest: bytes, deflate: bool
) -> None:
    body = header(kind, size, count) + (zlib.compress(rest) if deflate else rest)
    try:
        found_kind, found_size, data = items.unpack_records(body)
    except CorruptItemError:
        return
    assert SIZES[found_kind] == found_size
    assert len(data) == found_size * count == len(rest)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("count", [2, items.MAX_CHUNK_RECORDS, 2**32 - 1])
def test_a_deflate_bomb_allocates_no_more_than_a_full_chunk(kind: int, count: int) -> None:
    bomb = zlib.compressobj(1)
    zeros = bytes(1_000_000)
    packed = b"".join(bomb.compress(zeros) for _ in range(40)) + bomb.flush()
    body = header(kind, SIZES[kind], count) + packed
    tracemalloc.start()
    try:
        with pytest.raises(CorruptItemError):
            items.unpack_records(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * items.MAX_CHUNK_RECORDS * LARGEST


@given(body=st.binary(max_size=200), schema=st.integers(-2, 5))
@example(body=b"[" * 100_000, schema=1)
@example(body=b"1" * 5_000, schema=1)
@example(body=b"{}" + b" " * items.MAX_SUMMARY_BYTES, schema=1)
@example(body=b"\xff\xfe{\x00}\x00", schema=1)
def test_any_summary_is_an_object_or_refused(body: bytes, schema: int) -> None:
    item = items.Item("id", START_NS, 0, items.SUMMARY, body, NEVER, schema)
    try:
        assert isinstance(items.read_summary(item), dict)
    except NewerSchemaError:
        assert schema > items.SCHEMA_VERSION
    except CorruptItemError:
        assert schema <= items.SCHEMA_VERSION


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_a_summary_reads_back_as_it_was_written(more: dict[str, Any]) -> None:
    given_summary = {**more, **summary("id")}
    for item in items.summary_items(given_summary, NEVER):
        assert items.read_summary(item) == given_summary


def test_a_command_that_is_not_utf8_survives() -> None:
    command = b"caf\xe9 \\udce9".decode("utf-8", "surrogateescape")
    for item in items.summary_items(summary("id", command=command), NEVER):
        assert items.read_summary(item)["command"] == command


def test_an_execution_becomes_chunks_summary_and_index_row_in_this_order() -> None:
    details = {"hosts": {"1": "api.example"}, "lookups": []}
    written = execution(
        "id", connections=20_000, exchanges=4, blocked=2, syscalls=3, details=details
    )
    kinds = [item.kind for item in written]
    assert kinds == [items.CHUNK] * (len(written) - 2) + [items.SUMMARY, items.INDEX]
    keys = [item.key for item in written]
    assert len(set(keys)) == len(keys)
    assert keys[:-2] == sorted(keys[:-2])
    assert all(len(item.body) <= items.MAX_BODY_BYTES for item in written)
    assert items.read_summary(written[-2])["chunks"] == len(written) - 2
    found = items.read_chunks(written)
    assert items.read_details(found.pop(wire.KIND_DETAILS)) == details
    assert found == {
        wire.KIND_CONNECTION: records(wire.ConnectionRecord, 20_000),
        wire.KIND_EXCHANGE: records(wire.ExchangeRecord, 4),
        wire.KIND_BLOCKED: records(wire.BlockedRecord, 2),
        wire.KIND_PAUSE: b"",
        wire.KIND_SYSCALL: records(wire.SyscallRecord, 3),
    }


def test_an_execution_of_nothing_has_no_chunks() -> None:
    written = execution("id", connections=0, details={"hosts": {}, "lookups": [], "tls": {}})
    assert [item.kind for item in written] == [items.SUMMARY, items.INDEX]
    assert items.read_chunks(written) == dict.fromkeys(SIZES, b"")
    assert items.read_details(b"") == {}


def test_times_of_details_come_back_whatever_they_are_told_from() -> None:
    lookup = ["api.example", "A", "10.0.0.2", 5_000, 0, 3, None, 0, [], 100, 1]
    details = {
        "lookups": [lookup, [*lookup[:4], 5_000, *lookup[5:]], [*lookup[:3], 1, 9, *lookup[5:]]],
        "processes": [[1, 0, "sh", 7_000, 8_000, 0, 0, 0]],
        "tls": {},
    }
    for start in (0, 6_000):
        written = items.make_items(summary("id", monotonic_ns=start), {}, NEVER, details)
        assert [item.kind for item in written] == [items.SUMMARY, items.INDEX]
        found = items.read_chunks(written)
        assert items.read_details(found[wire.KIND_DETAILS]) == details
    assert lookup[3] == 5_000


def test_details_of_any_length_come_back() -> None:
    details = {"hosts": {str(n): f"host-{n}.example" for n in range(20_000)}}
    written = execution("id", connections=0, details=details)
    assert sum(item.kind == items.CHUNK for item in written) > 1
    found = items.read_chunks(reversed(written))
    assert items.read_details(found[wire.KIND_DETAILS]) == details


@given(st.binary(max_size=100))
@example(b"[1]")
@example(b"[" * 100_000)
@example(b"\xff")
def test_any_bytes_are_details_or_corrupt(text: bytes) -> None:
    with contextlib.suppress(CorruptItemError):
        assert isinstance(items.read_details(text), dict)


@given(
    st.dictionaries(st.sampled_from(sorted(SIZES.keys() - {wire.KIND_DETAILS})), st.integers(0, 9)),
    st.randoms(use_true_random=False),
)
def test_every_kind_comes_back_by_itself(counts: dict[int, int], order: Any) -> None:
    packed = {kind: order.randbytes(SIZES[kind] * count) for kind, count in counts.items()}
    written = items.make_items(summary("id"), packed, NEVER)
    order.shuffle(written)
    assert items.read_chunks(written) == {**dict.fromkeys(SIZES, b""), **packed}


def test_chunks_that_were_packed_before_come_behind_the_others_and_are_counted() -> None:
    calls = records(wire.SyscallRecord, 6)
    half = len(calls) // 2
    size = wire.SyscallRecord.SIZE
    packed = [
        items.pack_records(wire.KIND_SYSCALL, size, part) for part in (calls[:half], calls[half:])
    ]
    written = items.make_items(
        summary("id"),
        {wire.KIND_CONNECTION: records(wire.ConnectionRecord, 1)},
        NEVER,
        None,
        packed,
    )
    # The connection stands in the summary's item.
    assert items.read_summary(written[-2])["chunks"] == 2
    found = items.read_chunks(reversed(written))
    assert found[wire.KIND_SYSCALL] == calls
    assert found[wire.KIND_CONNECTION] == records(wire.ConnectionRecord, 1)


def test_chunks_are_read_in_order_whatever_order_they_come_in() -> None:
    written = execution("id", connections=9_000)
    assert sum(item.kind == items.CHUNK for item in written) > 1
    assert items.read_chunks(reversed(written)) == items.read_chunks(written)


def bomb(dictionary: bytes, head: bytes = b"") -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, 0, dictionary)
    return deflate.compress(head + bytes(40_000_000)) + deflate.flush()


SECTION = struct.Struct("<BHH")


@pytest.mark.parametrize("schema", [2, 3])
@pytest.mark.parametrize("number", [1, 2])
def test_a_bomb_in_a_summary_allocates_no_more_than_it_may(schema: int, number: int) -> None:
    heads = SECTION.pack(wire.KIND_EXCHANGE, SIZES[wire.KIND_EXCHANGE], 700) * number
    if schema == 2:
        summary_of_2 = zlib.compressobj(9, zlib.DEFLATED, 15, 9, 0, items.DICTIONARIES[2])
        body = b"LTs2" + summary_of_2.compress(b"{}") + summary_of_2.flush()
        body += struct.pack("<4sB", b"LTr2", number) + heads + bomb(items.DICTIONARIES[2])
    else:
        body = b"LTs3" + bomb(items.DICTIONARIES[3], b"{}\0\0" + bytes([number]) + heads)
    item = items.Item("id", START_NS, 0, items.SUMMARY, body, NEVER, schema)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptItemError):
            items.read_chunks([item])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * (items.MAX_SUMMARY_BYTES + 3 * items.MAX_SECTIONS_BYTES)


@given(st.binary(max_size=300), st.binary(max_size=50), st.integers(0, 5), st.integers(0, 5))
def test_any_columns_are_records_or_refused(
    stream: bytes, behind: bytes, kind: int, count: int
) -> None:
    layouts = [*SIZES.items()]
    head = SECTION.pack(*layouts[kind % len(layouts)], count)
    for rest in (stream, b"\0\1" + head + stream):
        deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, 0, items.DICTIONARIES[3])
        body = b"LTs3" + deflate.compress(b"{}\0" + rest) + deflate.flush() + behind
        item = items.Item("id", START_NS, 0, items.SUMMARY, body, NEVER)
        with contextlib.suppress(CorruptItemError):
            for found_kind, data in items.read_chunks([item]).items():
                assert len(data) % SIZES[found_kind] == 0


def test_what_deflating_starts_from_is_part_of_the_schema() -> None:
    # Other words would make everything that was ever written unreadable.
    assert items.SCHEMA_VERSION == 3
    assert {
        schema: zlib.crc32(dictionary) for schema, dictionary in items.DICTIONARIES.items()
    } == DICTIONARY_CRCS


def test_the_key_and_the_records_are_not_told_twice() -> None:
    told = {**summary("id"), "monotonic_ns": 5, "destinations": [["api.example"]]}
    connections = {wire.KIND_CONNECTION: records(wire.ConnectionRecord, 2)}
    whole, row = items.summary_items(told, NEVER)
    assert items.read_summary(whole) == items.read_summary(row) == told
    with_records, row = items.summary_items(told, NEVER, connections)
    assert items.read_summary(row) == told
    assert items.read_summary(with_records) == {**told, "destinations": []}
    inside = items._split_summary(with_records)[0]
    assert not inside.startswith(b'{"execution_id"')
    assert b"started_ns" not in inside


def test_schema_2_is_still_read() -> None:
    rows = json.loads((Path(__file__).parents[1] / "golden/schema_2.json").read_text())
    old = [items.Item(*row[:4], base64.b64decode(row[4]), *row[5:]) for row in rows]
    assert {item.schema for item in old} == {2}
    stated = items.read_summary(old[0])
    assert stated == items.read_summary(old[1])
    assert stated["execution_id"] == old[0].execution_id
    found = items.read_chunks(old)
    assert found[wire.KIND_CONNECTION] == b"".join(traces.pipeline())
    (exchange,) = wire.ExchangeRecord.iter_unpack(found[wire.KIND_EXCHANGE])
    assert (exchange.connection, exchange.bytes_out, exchange.bytes_in) == (2, 1_812, 48_210)
    (blocked,) = wire.BlockedRecord.iter_unpack(found[wire.KIND_BLOCKED])
    assert blocked.waited > 0
    assert items.read_details(found[wire.KIND_DETAILS])["hosts"] == {"2": "api.partner.example"}
    trace = read_trace(old)
    assert [each.host for each in trace.connections if each.port == 443] == ["api.partner.example"]
    assert trace.execution.destinations[0].host == "api.partner.example"


@given(st.data())
def test_what_was_cut_short_is_refused(data: st.DataObject) -> None:
    item = traces.execution(traces.pipeline(), details={"hosts": {"2": "api.partner.example"}})[0]
    end = data.draw(st.integers(0, len(item.body) - 1))
    with pytest.raises(CorruptItemError):
        items.read_chunks([items.Item(*item.key, item.kind, item.body[:end], NEVER)])


def test_schema_1_is_still_read() -> None:
    stated = {**summary("id"), "chunks": 1}
    calls = records(wire.SyscallRecord, 2)
    old = [
        items.Item("id", START_NS, 0, items.SUMMARY, json.dumps(stated).encode(), NEVER, 1),
        items.Item(
            "id", START_NS, 1, items.CHUNK,
            items.pack_records(wire.KIND_SYSCALL, wire.SyscallRecord.SIZE, calls), NEVER, 1,
        ),
    ]  # fmt: skip
    assert items.read_summary(old[0]) == stated
    assert items.read_chunks(old) == {**dict.fromkeys(SIZES, b""), wire.KIND_SYSCALL: calls}


@given(st.binary(max_size=200))
def test_any_summary_item_holds_records_or_is_refused(body: bytes) -> None:
    item = items.Item("id", START_NS, 0, items.SUMMARY, body, NEVER)
    with pytest.raises(CorruptItemError):
        items.read_chunks([item])


def test_a_chunk_of_a_newer_schema_is_refused_in_words() -> None:
    item = items.Item("id", START_NS, 1, items.CHUNK, b"?", NEVER, items.SCHEMA_VERSION + 1)
    with pytest.raises(NewerSchemaError) as caught:
        items.read_chunks([item])
    assert "upgrade" in caught.value.hint


def test_half_records_are_not_packed() -> None:
    with pytest.raises(ValueError, match="whole records"):
        items.pack_records(1, 10, bytes(11))


@given(
    st.integers(0, 2**62),
    st.integers(0, 72 * items.HOUR_NS),
    st.text("abcdef0123456789-", min_size=1),
)
def test_the_index_row_of_an_execution_is_in_a_bucket_that_is_read(
    started: int, width: int, execution_id: str
) -> None:
    row = items.summary_items(summary(execution_id, started), NEVER)[1]
    since, until = max(0, started - width // 2), started + width // 2
    buckets = list(items.index_buckets(since, until))
    assert row.execution_id in buckets
    hours = [bucket.rpartition("#")[0] for bucket in buckets]
    assert hours == sorted(hours, reverse=True)
    assert len(set(buckets)) == len(buckets)


def test_two_executions_of_one_nanosecond_have_index_rows_of_their_own() -> None:
    rows = {items.summary_items(summary(f"id-{number}"), NEVER)[1].key for number in range(2_000)}
    assert len(rows) == 2_000
