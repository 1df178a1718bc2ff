"""The agent's tests with real kernel, emulator and runtime client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import support_agent as agent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def function(tmp_path: Path) -> agent.Function:
    """A function with the agent, writing to a local file."""
    agent.require_agent()
    return agent.Function(tmp_path)


@pytest.fixture
def echo() -> Iterator[agent.Echo]:
    """Servers to connect to."""
    with agent.Echo() as servers:
        yield servers
