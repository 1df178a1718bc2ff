"""What a row of `list` and `tail` says of an execution's verdict."""

from __future__ import annotations

from typing import Any

import pytest
import support_traces as traces
from support_views import HOSTILE, MS, execution, partition

from lambdatrace.analysis.verdict import judge_summary
from lambdatrace.cli.views.executions import verdict_text


def said(**changes: Any) -> str:
    found = execution("one", partition=partition(cpu=60, wait=10), duration_ns=70 * MS, **changes)
    return verdict_text(found, judge_summary(found)).plain


def refused(host: str, errors: int = 1) -> list[Any]:
    return traces.destination(host=host, errors=errors, connect=[], wait=[])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "nothing stands out, 86% cpu"),
        # Its errors did not make it fail.
        ({"destinations": [refused("legacy.example")]}, "nothing stands out, 86% cpu"),
        ({"status": "error"}, "failed, show may tell why, 86% cpu"),
        (
            {"status": "error", "destinations": [refused("legacy.example")]},
            "1 error legacy.example:443",
        ),
        (
            {"status": "error", "destinations": [refused("a.example"), refused("b.example", 2)]},
            "3 errors b.example:443 and 1 other",
        ),
    ],
)
def test_what_failed_is_named(changes: dict[str, Any], text: str) -> None:
    assert said(**changes) == text


def test_a_name_that_failed_cannot_style_the_terminal() -> None:
    text = said(status="error", destinations=[refused(HOSTILE)])
    assert "\x1b" not in text
    assert "\u202e" not in text
