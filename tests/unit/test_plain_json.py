"""lambdatrace/plain_json.py against the standard library's `json`, and without `_json`."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace import plain_json

ROOT = Path(__file__).parents[2]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_as_json_writes_and_reads_it(value: Any) -> None:
    text = plain_json.dumps(value)
    assert text == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    escaped = plain_json.dumps(value, ascii_only=True)
    assert escaped == json.dumps(value, separators=(",", ":"))
    assert plain_json.loads(text) == plain_json.loads(escaped.encode()) == value


@pytest.mark.parametrize(
    "text", ["", " ", "[1", '{"a":}', "[1] [2]", "nul", '"\x01"', b"\xff", b'"\xe2"']
)
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says
        plain_json.loads(text)


@pytest.mark.parametrize("text", [" [1, 2]\n", '\t{"a" : [ null ]} ', "\r\n3"])
def test_space_around_it(text: str) -> None:
    assert plain_json.loads(text) == json.loads(text)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", {"a": object()}])
def test_what_json_has_no_form_for(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        plain_json.dumps(value)


def test_a_python_whose_compiled_half_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_json", None)
    try:
        other = importlib.reload(plain_json)
        value = {"a": [1, 2.5, None, "é\ud800"], "b": {}}
        assert other.dumps(value, ascii_only=True) == json.dumps(value, separators=(",", ":"))
        assert other.loads(other.dumps(value)) == value
        with pytest.raises(ValueError, match="no JSON"):
            other.loads("x")
    finally:
        monkeypatch.undo()
        importlib.reload(plain_json)


def test_it_loads_nothing_written_in_python() -> None:
    script = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "import lambdatrace.plain_json as it; it.loads(it.dumps([1]))\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, ROOT], capture_output=True, text=True, check=True
    )
    own = {"lambdatrace", "lambdatrace.plain_json"}
    assert set(ran.stdout.split()) <= own | {"__future__", "_json"}
