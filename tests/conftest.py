"""How the tests run everywhere: settings of tools that several of them use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from support_host import Patience

if TYPE_CHECKING:
    import pytest

# A busy machine is no finding. In CI the same examples are tried each time, so that what lands does
# not hang on luck; on a developer's machine they vary.
settings.register_profile(
    "lambdatrace",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("lambdatrace")


def pytest_configure(config: pytest.Config) -> None:
    """What a host spoils is tried again."""
    config.pluginmanager.register(Patience())
