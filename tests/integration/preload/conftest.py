"""Functions that are refused what eBPF needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import support_agent as agent
from support_confined import ConfinedFunction, confined_function

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def confined() -> Iterator[ConfinedFunction]:
    """One function."""
    with confined_function() as function:
        yield function


@pytest.fixture
def echo() -> Iterator[agent.Echo]:
    """Servers to connect to."""
    with agent.Echo() as servers:
        yield servers
