"""Filters: what they spell, what they take, and how they refuse."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.filters import (
    BOOLEAN,
    MOMENT,
    NUMBER,
    TEXT,
    Condition,
    Kind,
    parse,
    value_of,
)
from lambdatrace.errors import UsageError

FIELDS: dict[str, Kind] = {
    "host": TEXT, "port": NUMBER, "cold_start": BOOLEAN, "started_at": MOMENT,
    "status": ("ok", "error"), "partition.wait_ms": NUMBER,
}  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "host": "API.partner.example", "port": 443, "cold_start": False,
    "started_at": "2026-11-22T07:00:00.000000000Z", "status": "ok",
    "partition": {"wait_ms": 12.5},
}  # fmt: skip
SCOPES = {"things": FIELDS}


def holds(text: str, **changes: Any) -> bool:
    return parse(text, SCOPES).holds("things", {**DOCUMENT, **changes})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host=API.partner.example", True),
        ("host=api.partner.example", False),
        ("host~PARTNER", True),
        ("host!~partner", False),
        ("port=443", True),
        ("port!=443", False),
        ("port>443", False),
        ("port>=443.0", True),
        ("port<4.5e2", True),
        ("cold_start=false", True),
        ("cold_start!=false", False),
        ("started_at>=2026-11-22T07", True),
        ("started_at>2026-11-22T06:59:59.999999999Z", True),
        ("started_at<2026-11-22T07:00:00Z", False),  # it is that moment
        ("started_at<=2026-11-22T07:00:00Z", True),
        ("started_at=2026-11-22T07:00:00Z", True),
        ("started_at>=2026-11-22T07:00:00.000000001Z", False),
        ("started_at>=2026-11-22 08", False),
        ("started_at>=2026-11-22t07:30", False),
        ("started_at>=2026-11-22T08:00:00+02:00", True),
        ("started_at>=2026-11-22T08:00:00-02:00", False),
        ("started_at~22T07:0", True),
        ("status=ok", True),
        ("status~O", True),
        ("partition.wait_ms>12", True),
        (" port = 443 , status != error ", True),
        ("port=443,status=error", False),
        ('host="API.partner.example"', True),
        ("host=null", False),
        ("host!=null", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize("text", ["port=1", "port<1", "port>=1", "host~a", "host=null", "host=a"])
def test_what_is_not_known_is_unequal_to_everything_but_null(text: str) -> None:
    assert holds(text, host=None, port=None) is (text == "host=null")
    negated = text.replace("~", "!~") if "~" in text else text.replace("=", "!=")
    if "<" not in text and ">" not in text:
        assert holds(negated, host=None, port=None) is (text != "host=null")


def test_a_field_of_an_object_that_is_not_there() -> None:
    assert value_of({"partition": None}, "partition.wait_ms") is None
    assert holds("partition.wait_ms=null", partition=None)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("hots~a", "there is no field 'hots'", "of things: host, port"),
        ("", "'' is not a condition", "as in --filter"),
        ("port", "'port' is not a condition", "as in --filter"),
        ("port=443,", "is not a condition", ""),
        ("port=443,,host=a", "',host=a' is not a condition", ""),
        ('host="a', "'host=\"a' is not a condition", ""),
        ('host="a"b', "is not a condition", ""),
        ("port=four", "port is a number, 'four' is none", ""),
        ("port=nan", "port is a number", ""),
        ("port=", "port is a number, '' is none", ""),
        ("port~4", "port is a number, and ~ does not go with that", "use one of = !="),
        ("host>a", "host is a text, and > does not go with that", ""),
        ("cold_start=yes", "cold_start is true or false, not 'yes'", ""),
        ("status=fine", "status is never 'fine'", "one of ok, error"),
        ("started_at>=yesterday", "started_at is a moment, 'yesterday' is none", "2026-11-22T07"),
        ("started_at>=1h", "started_at is a moment, '1h' is none", "--since"),
        ("started_at>=08:00", "started_at is a moment", ""),
        ("started_at>=2026-13", "is not a time that exists", ""),
        ("started_at>=2026-11-22T07:00:", "", "2026-11-22T07:00:00Z"),
        ("port<null", "null is neither above nor below", ""),
    ],
)
def test_refusals_say_what_and_what_instead(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, SCOPES)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_no_filter_takes_everything() -> None:
    nothing = parse(None, SCOPES)
    assert nothing.holds("things", {})
    assert nothing.holds_for_one("things", [])
    assert not nothing.on("things")


def test_of_two_scopes_the_first_has_the_name() -> None:
    wanted = parse(
        "port=1,name=a", {"these": {"port": NUMBER}, "those": {"port": TEXT, "name": TEXT}}
    )
    assert [each.value for each in wanted.on("these")] == [1.0]
    assert [each.field for each in wanted.on("those")] == ["name"]


def test_all_conditions_have_to_hold_for_the_same_one() -> None:
    wanted = parse("host=a,port=1", SCOPES)
    rows = [{"host": "a", "port": 2}, {"host": "b", "port": 1}]
    assert not wanted.holds_for_one("things", rows)
    assert wanted.holds_for_one("things", [*rows, {"host": "a", "port": 1}])


TEXTS = st.text(max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CONDITIONS = st.one_of(
    st.builds(Condition, st.just("host"), st.sampled_from(["=", "!=", "~", "!~"]), TEXTS),
    st.builds(
        Condition, st.just("port"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), NUMBERS
    ),
    st.builds(Condition, st.just("cold_start"), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Condition, st.sampled_from(list(FIELDS)), st.sampled_from(["=", "!="]), st.none()),
)


@given(st.lists(CONDITIONS, min_size=1, max_size=5))
def test_what_is_written_is_read_again(conditions: list[Condition]) -> None:
    found = parse(",".join(map(str, conditions)), SCOPES)
    assert list(found.on("things")) == conditions


PYTHON = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
          "=": operator.eq, "!=": operator.ne}  # fmt: skip


@given(NUMBERS, st.sampled_from(list(PYTHON)), NUMBERS)
def test_numbers_compare_as_numbers(found: float, sign: str, wanted: float) -> None:
    assert holds(str(Condition("port", sign, wanted)), port=found) is PYTHON[sign](found, wanted)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_clear_error(text: str) -> None:
    said = "--filter: "
    try:
        parse(text, SCOPES).holds("things", DOCUMENT)
    except UsageError as error:
        said = error.message
    assert said.startswith("--filter: ")
