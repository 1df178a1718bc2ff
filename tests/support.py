"""What tests of several kinds share."""

from __future__ import annotations

import os

import pytest


def require(condition: object, reason: str) -> None:
    """Go on only if `condition` holds; `reason` says what is missing.

    On a user's machine the test is skipped; in CI nothing may go missing without a word.
    """
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"cannot run here: {reason}")
    pytest.skip(reason)
