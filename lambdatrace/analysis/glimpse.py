"""Single values out of a summary's JSON; reading all of it takes several times as long.

A quote within a text has a backslash before it, so `"name":` can only be a key; and no key that is
asked for here is in an object within the summary.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from lambdatrace import plain_json
from lambdatrace.errors import CorruptItemError

_STRING = rb'"(?:[^"\\]|\\.)*"'
# Numbers, words and flat arrays of them.
_PLAIN = rb"\[[^\]\[\"{}]*\]|[^\[\]{},\"]+"
# Only where a store has no glances of its rows.
_compiled = cache(re.compile)


def string(text: bytes, name: bytes) -> str:
    """The text of key `name`. Raises CorruptItemError."""
    value = _loaded(_piece(_STRING, text, name))
    if not isinstance(value, str):
        raise _corrupt(name)
    return value


def plain(text: bytes, name: bytes) -> Any:
    """The number, true, false, null or flat array of these of key `name`.

    Raises CorruptItemError.
    """
    try:
        return plain_json.loads(_piece(_PLAIN, text, name))
    except ValueError as error:
        raise _corrupt(name) from error


def _piece(pattern: bytes, text: bytes, name: bytes) -> bytes:
    key = b'"%b":' % name
    at = text.find(key)
    found = _compiled(pattern).match(text, at + len(key)) if at >= 0 else None
    if found is None:
        raise _corrupt(name)
    return found[0]


def corrupt(what: str) -> CorruptItemError:
    """That a summary is, of which nobody knows whose it is without reading all of it."""
    return CorruptItemError(f"the summary of an execution is corrupt: {what}")


# Few functions have many executions.
@lru_cache(1_000)
def _loaded(text: bytes) -> Any:
    try:
        return plain_json.loads(text)
    except ValueError:
        return None


def _corrupt(name: bytes) -> CorruptItemError:
    return corrupt(f"{name.decode()!r} is missing or not what it should be")
