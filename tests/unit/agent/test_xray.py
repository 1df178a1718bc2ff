"""X-Ray's header: what of it is kept, and for which invocations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.agent.xray import Traces, read_header

TRACE, PARENT = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"{ROOT};Parent={PARENT};Sampled=1", [TRACE, PARENT, 1]),
        (f"{ROOT};Parent={PARENT};Sampled=0;Lineage=1:a87bd80c:1", [TRACE, PARENT, 0]),
        (f"Sampled=? ; Parent={PARENT}; {ROOT}", [TRACE, PARENT, None]),
        (ROOT, [TRACE, None, None]),
        (f"{ROOT};Parent=nonsense", [TRACE, None, None]),
        ("Root=2-5759e988-bd862e3fe1be46a994272793", None),
        ("Root=1-5759e988-bd86", None),
        ("Root", None),
        ("", None),
    ],
)
def test_a_header(header: str, row: object) -> None:
    assert read_header(header) == row


@given(st.text(max_size=100))
def test_any_text(text: str) -> None:
    for header in (text, f"Root={text}", f"{ROOT};Parent={text};Sampled={text}"):
        row = read_header(header)
        assert row is None or len(row) == 3


def test_the_latest_invocations_are_known() -> None:
    traces = Traces()
    for number in range(100):
        traces.told(str(number), f"{ROOT};Sampled=1")
    traces.told("none", "")
    assert traces.of("99") == {"xray": [TRACE, None, 1]}
    assert traces.of("0") == traces.of("none") == {}
