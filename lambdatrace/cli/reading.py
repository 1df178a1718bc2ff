"""Reading the executions that the options choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.filtering import execution_filter, keeps
from lambdatrace.cli.options import opened_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.analysis.lookup import WindowContents
    from lambdatrace.cli.environment import Environment
    from lambdatrace.cli.options import AnySource, Selection
    from lambdatrace.model import Execution


def read_selected(
    environment: Environment, source: AnySource, selection: Selection
) -> WindowContents:
    """What a window holds and the filter takes. Raises UsageError, StoreError."""
    from lambdatrace.analysis.lookup import read_window

    wanted = execution_filter(selection.where)
    window = selection.window(environment)
    with opened_store(environment, source) as opened:
        contents = read_window(opened, window, selection.function)
    contents.executions = [one for one in contents.executions if keeps(wanted, one)]
    return contents


def passes(selection: Selection, also: Callable[[Execution], bool]) -> Callable[[Execution], bool]:
    """Whether an execution is of the function, passes the filter, and `also`. Raises UsageError."""
    wanted = execution_filter(selection.where)
    function = selection.function
    return lambda one: (
        (function is None or one.function == function) and also(one) and keeps(wanted, one)
    )
