"""`lambdatrace tail`: new executions as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import Display, FilterOption, FunctionOption, Selection, Source
from lambdatrace.cli.reading import passes

if TYPE_CHECKING:
    from lambdatrace.cli.environment import Environment

EXAMPLES = """
\b
Examples:
  lambdatrace tail
  lambdatrace tail --function checkout --filter 'duration_ms>=500'
  lambdatrace tail --lines 0 --output jsonl
"""

DEFAULT_LINES = 10

LinesOption = Annotated[
    int,
    typer.Option("--lines", "-n", metavar="N", min=0, help="Begin with so many that are there."),
]


@grouped
def tail(
    context: typer.Context,
    *,
    function: FunctionOption = None,
    where: FilterOption = None,
    lines: LinesOption = DEFAULT_LINES,
    source: Source,
    display: Display,
) -> None:
    """Show executions as they arrive, until Ctrl-C.

    An execution arrives when it has ended and the agent has written it. When the store cannot be
    read it is waited for, and that is said.
    """
    from lambdatrace.cli.following import follow_executions

    environment: Environment = context.obj
    fits = passes(Selection(function=function, where=where), lambda _: True)
    follow_executions(environment, source, display, lines, fits)
