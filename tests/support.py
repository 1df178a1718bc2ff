"""What tests of several kinds share."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_ATTEMPTS = 4


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

    What is measured wrongly is wrong each time; what the machine was busy for is not.
    """

    @functools.wraps(test)
    def patiently(*arguments: object, **named: object) -> None:
        for _ in range(_ATTEMPTS - 1):
            try:
                test(*arguments, **named)
            except AssertionError:
                continue
            return
        test(*arguments, **named)

    return patiently
