"""One invocation's answer, as `invoke` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.styled import Text
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from lambdatrace.emulator.rie import Invocation


def invocation_line(invocation: Invocation, characters: int) -> Text:
    """Request id, duration and error, and the response cut to `characters` below them."""
    failed = invocation.error is not None
    text = Text()
    text.append("failed  " if failed else "ok      ", style="bold red" if failed else "green")
    text.append(clean(invocation.request_id), style="cyan")
    text.append(f"  {invocation.duration_ms:.1f} ms")
    if invocation.error is not None:
        text.append("  ")
        text.append(clean(invocation.error), style="red")
    else:
        response = invocation.body.decode(errors="replace")
        text.append("\n        ")
        text.append(clean(response, characters))
    return text
