"""Views as a whole, line by line, against files of what they looked like.

After a change that is meant, look at the difference: GOLDEN=write pytest tests/golden && git diff
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from support_cli import rendered

if TYPE_CHECKING:
    from rich.console import RenderableType

FOLDER = Path(__file__).parent / "golden/expected"
WIDTHS = (80, 120, 200)
COLORS = (False, True)


def check(name: str, *views: RenderableType, width: int, color: bool) -> None:
    """Compare views with `name`, at a width (cells), with or without colours."""
    # Escapes in clear: a terminal that shows the file is not to act on it.
    found = [line.replace("\x1b", "\\e") for line in rendered(*views, width=width, color=color)]
    hold(f"{name}-{width}{'-color' if color else ''}", found)


def hold(name: str, found: list[str]) -> None:
    """Compare lines with `name`."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in found))
    assert found == path.read_text().splitlines()
