"""What tests of several kinds share."""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.5


def require(condition: object, reason: str) -> None:
    """Go on only if `condition` holds; `reason` says what is missing.

    On a user's machine the test is skipped; in CI nothing may go missing without a word.
    """
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"cannot run here: {reason}")
    pytest.skip(reason)


def in_a_calm_moment(test: Callable[..., None]) -> Callable[..., None]:
    """A test that compares times of two sides, on a machine that may be stopped in between.

    What is measured wrongly is wrong each time; what the machine was busy for is not. A host that
    is busy is so for seconds: each attempt waits longer than the one before.
    """

    @functools.wraps(test)
    def patiently(*arguments: object, **named: object) -> None:
        for attempt in range(_ATTEMPTS - 1):
            try:
                test(*arguments, **named)
            except AssertionError:
                time.sleep(_FIRST_PAUSE_S * 2**attempt)
                continue
            return
        test(*arguments, **named)

    return patiently
