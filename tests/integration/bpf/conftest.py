"""The tests in this folder load the probe into the running kernel."""

from __future__ import annotations

import pytest
import support_probe


@pytest.fixture(autouse=True)
def _needs_the_kernel() -> None:
    support_probe.require_probe()
