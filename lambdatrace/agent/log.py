"""One line on stderr: all that a function's log ever sees of the agent's troubles."""

from __future__ import annotations

import os

_MAX_CHARACTERS = 500
# A value out of the environment may be 4 kB long: what is said about it stands behind it.
_MAX_WORD_CHARACTERS = 200


def log(message: str) -> None:
    """Write one line; never raises, for a log that is gone is no reason to fail."""
    line = " ".join(_shown(word) for word in message.split())[:_MAX_CHARACTERS]
    try:
        os.write(2, f"lambdatrace: {line}\n".encode("utf-8", "replace"))
    except OSError:
        return


def _shown(word: str) -> str:
    """A word without what would move a terminal's cursor, shortened in its middle."""
    shown = "".join(each if each.isprintable() else "?" for each in word)
    if len(shown) <= _MAX_WORD_CHARACTERS:
        return shown
    half = _MAX_WORD_CHARACTERS // 2
    return f"{shown[:half]}…{shown[-half:]}"
