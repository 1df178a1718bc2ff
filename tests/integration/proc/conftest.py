"""Functions that are refused what eBPF needs, and have no wrapper either."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import support_agent as agent
from support_confined import ConfinedFunction

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bare() -> Iterator[ConfinedFunction]:
    """A function in a folder that anybody may write to; pytest's own are root's."""
    agent.require_agent()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield ConfinedFunction(folder, wrapper="")


@pytest.fixture
def echo() -> Iterator[agent.Echo]:
    """Servers to connect to."""
    with agent.Echo() as servers:
        yield servers
