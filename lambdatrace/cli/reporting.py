"""What commands over a window say beside their result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.errors import BrokenSloError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace.cli.environment import Environment
    from lambdatrace.cli.options import Selection
    from lambdatrace.model import Execution


def nothing_found(
    environment: Environment, selection: Selection, wanted: Sequence[str] = ()
) -> None:
    """Say which window was searched, for what (`wanted` besides), and what to try."""
    searched, function = selection.words, selection.function
    what = " ".join(["executions", *wanted])
    if function is not None:
        what += f" of function {function!r}"
    if selection.where is not None:
        what += " that pass the filter"
    environment.note(f"no {what} {searched}; widen the window with --since, as in --since 7d")


def warn_left_out(environment: Environment, left_out: Sequence[StoreError]) -> None:
    """Say that other executions, which cannot be read, might be the one that was looked for."""
    if left_out:
        plural = "s" if len(left_out) > 1 else ""
        environment.warn(
            f"{len(left_out)} execution{plural} that might be this one left out: {left_out[0]}"
        )


def raise_unreadable(unreadable: Sequence[StoreError]) -> None:
    """After a result that lacks some executions: say so, and fail. Raises StoreError."""
    if not unreadable:
        return
    first = unreadable[0]
    if len(unreadable) == 1:
        raise first
    raise StoreError(f"{len(unreadable)} executions left out, the first: {first}", first.hint)


def raise_broken_slo(limits: Mapping[str, int], executions: Iterable[Execution]) -> None:
    """After a result: fail if one of its executions took longer. Raises BrokenSloError."""
    if not limits:
        return
    from lambdatrace.analysis.slo import broken, taken_ns

    found = [(each, broken(limits, taken_ns(each))) for each in executions]
    late = [(each, names) for each, names in found if names]
    if late:
        worst, names = max(late, key=lambda row: row[0].duration_ns)
        plural = "s" if len(found) != 1 else ""
        raise BrokenSloError(
            f"{len(late)} of {len(found)} execution{plural} broke the limits",
            f"look at the slowest ({', '.join(names)}): lambdatrace show {worst.execution_id}",
        )
