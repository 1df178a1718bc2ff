"""One line on stderr: all that a function's log ever sees of the agent's troubles."""

from __future__ import annotations

import os

_MAX_CHARACTERS = 500


def log(message: str) -> None:
    """Write one line; never raises, for a log that is gone is no reason to fail."""
    line = " ".join(message.split())[:_MAX_CHARACTERS]
    try:
        os.write(2, f"lambdatrace: {line}\n".encode("utf-8", "replace"))
    except OSError:
        return
