"""JSON for the agent and what is stored: the compiled half of `json`, without the other half.

That other half is written in Python and imports `re`, `functools` and `collections`: 8 of the
agent's 60 ms of CPU at its start. Where a Python's compiled half is not as expected, `json` it is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


class _Reading:
    """What the compiled scanner wants to know, as it finds it in a `json.JSONDecoder`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None  # from Python 3.15 on
    parse_float = float
    parse_int = int
    parse_constant = float  # "NaN", "-Infinity"


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_scan: Any
_write: Any
_write_ascii: Any
try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Reading)  # type: ignore[arg-type]  # it only reads attributes
    # As json.encoder.JSONEncoder calls it; without a memory for circles, which nothing here has.
    _write, _write_ascii = (
        make_encoder(None, _refuse, strings, None, ":", ",", False, False, True)
        for strings in (encode_basestring, encode_basestring_ascii)
    )
except (ImportError, TypeError, AttributeError):  # pragma: no cover  # other Pythons
    import json

    _scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
    _write, _write_ascii = (
        json.JSONEncoder(ensure_ascii=ascii_only, separators=(",", ":")).iterencode
        for ascii_only in (False, True)
    )


def dumps(value: object, *, ascii_only: bool = False) -> str:
    """`value` as JSON without spaces. `ascii_only` escapes what is not ASCII, surrogates too.

    Raises TypeError for what JSON has no form for.
    """
    return "".join((_write_ascii if ascii_only else _write)(value, 0))


def loads(text: str | bytes) -> Any:
    """What JSON `text` (UTF-8 if in bytes) says. Raises ValueError if it is none."""
    if isinstance(text, bytes):
        text = text.decode()
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration:
        raise ValueError("this is no JSON") from None
    if text[end:].strip(_SPACE):
        raise ValueError("something follows the JSON")
    return value
