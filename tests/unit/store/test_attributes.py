"""Item <-> DynamoDB attributes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.errors import CorruptItemError, NewerSchemaError
from lambdatrace.items import CHUNK, INDEX, SCHEMA_VERSION, SUMMARY, Item, check_schema
from lambdatrace.store import attributes

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = {
    "execution_id": texts,
    "timestamp_nano": st.integers(0, attributes.MAX_TIMESTAMP_NANO),
    "tie": st.integers(0, attributes.MAX_TIE),
    "expires_at": st.integers(0, 2**40),
}
stored = st.builds(Item, kind=st.just(CHUNK), body=st.binary(), **keys) | st.builds(
    Item, kind=st.sampled_from([SUMMARY, INDEX]), body=st.binary(), **keys
)
stored |= st.builds(
    Item,
    kind=st.sampled_from([SUMMARY, INDEX]),
    body=texts.map(str.encode),
    schema=st.just(1),
    **keys,
)


@given(stored)
def test_an_item_survives_the_wire(item: Item) -> None:
    wire = json.loads(json.dumps(attributes.encode(item)))
    assert attributes.decode(wire) == item


@given(stored)
def test_an_item_survives_as_boto3_hands_it_out(item: Item) -> None:
    wire: dict[str, Any] = attributes.encode(item)
    for name in ("Records", "Summary"):
        if "B" in wire.get(name, {}):
            wire[name] = {"B": base64.b64decode(wire[name]["B"])}
    number = wire["TimestampNano"]["N"]
    if "." in number:  # DynamoDB's numbers have no trailing zeros
        wire["TimestampNano"] = {"N": number.rstrip("0")}
    assert attributes.decode(wire) == item


@given(
    st.tuples(keys["timestamp_nano"], keys["tie"]), st.tuples(keys["timestamp_nano"], keys["tie"])
)
def test_numbers_sort_as_keys_do(one: tuple[int, int], other: tuple[int, int]) -> None:
    from decimal import Decimal

    first, second = (Decimal(attributes.format_number(*key)) for key in (one, other))
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)
    assert len(first.as_tuple().digits) <= 38  # DynamoDB's precision


@pytest.mark.parametrize(("ns", "tie"), [(-1, 0), (2**63, 0), (1, -1), (1, 10**9)])
def test_a_key_out_of_range_is_not_written(ns: int, tie: int) -> None:
    with pytest.raises(ValueError, match="no range key"):
        attributes.format_number(ns, tie)


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "-1", "1e9", "1.0000000001", "٣", "9" * 30, "1" * 41, 5, None, "1.2.3"],
)
def test_other_numbers_are_no_key(text: object) -> None:
    with pytest.raises(CorruptItemError):
        attributes.parse_number(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("SNB") | st.text(), inner),
    max_leaves=6,
)
NAMES = ["ExecutionID", "TimestampNano", "Kind", "Schema", "ExpiresAt", "Summary", "Records"]
COMPLETE: dict[str, Any] = {
    **attributes.encode(Item("id", 7, 5, CHUNK, b"xyz", 9)),
    "Summary": {"S": "{}"},
}


@given(
    st.dictionaries(st.sampled_from(NAMES), json_values),
    st.sets(st.sampled_from(NAMES)),
    st.sampled_from([CHUNK, SUMMARY]),
)
def test_arbitrary_attributes_are_an_item_or_corrupt(
    replaced: dict[str, Any], removed: set[str], kind: str
) -> None:
    candidate = {**COMPLETE, "Kind": {"S": kind}, **replaced}
    for name in removed:
        del candidate[name]
    try:
        item = attributes.decode(candidate)
    except CorruptItemError:
        return
    assert isinstance(item.body, bytes)
    assert isinstance(item.execution_id, str)
    assert 0 <= item.timestamp_nano <= attributes.MAX_TIMESTAMP_NANO


@pytest.mark.parametrize("records", ["not base64!", "YQ", "YQ==YQ==", 5])
def test_records_that_are_not_base64_are_corrupt(records: object) -> None:
    with pytest.raises(CorruptItemError):
        attributes.decode({**COMPLETE, "Records": {"B": records}})


def test_what_is_no_item_is_refused_when_it_is_read() -> None:
    key = {"ExecutionID": {"S": "id"}, "TimestampNano": {"N": "5.000000007"}}
    item = attributes.decode_or_refuse({**key, "Duration": {"N": "7"}})
    assert item.key == ("id", 5, 7)
    with pytest.raises(CorruptItemError):
        check_schema(item)
    assert attributes.decode_or_refuse(COMPLETE) == attributes.decode(COMPLETE)


def test_an_item_without_expiry_is_kept_for_ever() -> None:
    item = Item("id", 1, 0, SUMMARY, b"{}", 0)
    assert "ExpiresAt" not in attributes.encode(item)
    assert attributes.decode(attributes.encode(item)) == item


def test_a_newer_schema_comes_through_and_is_refused_in_words() -> None:
    item = attributes.decode(
        {
            "ExecutionID": {"S": "id"},
            "TimestampNano": {"N": "5"},
            "Kind": {"S": "spans"},
            "Schema": {"N": str(SCHEMA_VERSION + 1)},
            "Something": {"M": {}},
        }
    )
    with pytest.raises(NewerSchemaError):
        check_schema(item)
