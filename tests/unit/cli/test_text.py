"""Figures in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.cli.views.executions import unique_length
from lambdatrace.cli.views.text import duration_words, percent, size


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0 ms"),
        (900, "0.001 ms"),
        (70_000, "0.070 ms"),
        (450_000, "0.45 ms"),
        (9_994_999, "9.99 ms"),
        (9_995_000, "10.0 ms"),
        (99_950_000, "100 ms"),
        (999_499_999, "999 ms"),
        (999_500_000, "1.00 s"),
        (59_949_999_999, "59.9 s"),
        (59_950_000_000, "1 min 0 s"),
        (890_000_000_000, "14 min 50 s"),
        (7_200_000_000_000, "2 h 0 min"),
        (-900_000_000, "-900 ms"),
    ],
)
def test_durations(ns: int, expected: str) -> None:
    assert duration_words(ns) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (48_210, "48.2 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (123_456_789, "123 MB"),
        (10**18, "1000 PB"),
    ],
)
def test_sizes(count: int, expected: str) -> None:
    assert size(count).plain == expected


@given(st.integers(-(10**15), 10**15))
def test_durations_are_short(ns: int) -> None:
    assert len(duration_words(ns)) <= 13


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 9, " 0%"), (4, 1_000, "<1%"), (1e-9, 1, "<1%"), (5, 100, " 5%"), (996, 1_000, "99%"),
        (1, 1, "100%"), (1, 0, " 0%"),
    ],
)  # fmt: skip
def test_shares_are_all_or_nothing_only_where_they_are(
    part: float, whole: float, expected: str
) -> None:
    assert percent(part, whole).plain == expected


def test_short_ids_are_unique() -> None:
    assert unique_length([]) == 8
    assert unique_length(["aaaaaaaa-1", "aaaaaaaa-2", "b"]) == 10
    assert unique_length(["same", "same"]) == 8
