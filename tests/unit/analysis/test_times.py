"""Moments as people type them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.analysis.times import Window, parse_moment, parse_window, rfc_3339
from lambdatrace.errors import UsageError

NOW = 1_795_330_800_000_000_000  # 2026-11-22T07:00:00Z
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90 * SECOND),
        ("15m", NOW - 900 * SECOND),
        ("1h", NOW - 3_600 * SECOND),
        ("2d", NOW - 172_800 * SECOND),
        (" 1h ", NOW - 3_600 * SECOND),
        ("999999999d", 0),
        ("2026-11-22T07:00:00Z", NOW),
        ("2026-11-22t07:00:00z", NOW),
        ("2026-11-22 07:00:00.5Z", NOW + SECOND // 2),
        ("2026-11-22T07:00:00.123456789Z", NOW + 123_456_789),
        ("2026-11-22T08:30:00+01:30", NOW),
        ("1900-01-01T00:00:00Z", 0),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert parse_moment(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["", "1", "h", "1w", "-1h", "1.5h", "1h30m", "yesterday", "2026-11-22", "2026-11-22T07:00:00",
     "2026-13-01T00:00:00Z", "2026-11-22T25:00:00Z", "2026-11-22T07:00:00+99:00",
     "\N{BENGALI DIGIT ONE}h",
     "0000-01-01T00:00:00Z", "9" * 100 + "s"],
)  # fmt: skip
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_moment(text, NOW)
    assert caught.value.exit_code == 2
    assert "90s, 15m, 1h" in caught.value.hint


def test_windows() -> None:
    assert parse_window("1h", None, NOW) == Window(NOW - 3_600 * SECOND, NOW)
    assert parse_window("2h", "1h", NOW) == Window(NOW - 7_200 * SECOND, NOW - 3_600 * SECOND)
    with pytest.raises(UsageError, match="later than"):
        parse_window("1h", "2h", NOW)
    with pytest.raises(UsageError, match="later than now"):
        parse_window("2099-01-01T00:00:00Z", None, NOW)


@given(st.integers(0, 253_402_300_799 * SECOND))
def test_what_is_written_is_read(moment: int) -> None:
    assert parse_moment(rfc_3339(moment), NOW) == moment


@given(st.text())
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_moment(text, NOW)
