"""What commands over a window say beside their result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.cli.environment import Environment


def nothing_found(
    environment: Environment, searched: str, function: str | None, status: str | None = None
) -> None:
    """Say which window was searched, for what, and what to try."""
    what = "executions"
    if status is not None:
        what += f" with status {status}"
    if function is not None:
        what += f" of function {function!r}"
    environment.note(f"no {what} {searched}; widen the window with --since, as in --since 7d")


def raise_unreadable(unreadable: Sequence[StoreError]) -> None:
    """After a result that lacks some executions: say so, and fail. Raises StoreError."""
    if not unreadable:
        return
    first = unreadable[0]
    if len(unreadable) == 1:
        raise first
    raise StoreError(f"{len(unreadable)} executions left out, the first: {first}", first.hint)
