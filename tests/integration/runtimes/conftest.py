"""Programs of all kinds of runtimes, in a network of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support_probe import require_probe
from support_room import Room

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """One for all tests here."""
    require_probe()
    with Room(tmp_path_factory.mktemp("room")) as made:
        yield made
