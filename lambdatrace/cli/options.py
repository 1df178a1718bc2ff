"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.analysis.times import Window, parse_window
from lambdatrace.capture import CAPTURE, read_capture, unknown_groups
from lambdatrace.errors import UsageError
from lambdatrace.model import Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.cli.environment import Environment
    from lambdatrace.store.base import Store

DEFAULT_SINCE = "24h"
DEFAULT_LIMIT = 20
# In cells. With fewer no table reads well; more would only make bars longer.
MIN_WIDTH, MAX_WIDTH = 40, 1_000
# A Lambda function runs for 15 minutes at most.
MAX_THRESHOLD_MS = 900_000


class Output(StrEnum):
    """Forms a result can be written in."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where executions are kept: sqlite:///path/to/file.db or "
        "dynamodb://Table?region=…&endpoint=…. Default: $LAMBDATRACE_STORE, else a file of yours.",
        show_default=False,
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option(
        "--table",
        metavar="NAME",
        help="Short for --store dynamodb://NAME.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option(
        "--output",
        "-o",
        help="For people (table) or for programs (docs/json.md says what is in them).",
    ),
]
WideOption = Annotated[
    bool, typer.Option("--wide", help="All columns, however narrow the terminal is.")
]
WidthOption = Annotated[
    int | None,
    typer.Option(
        "--width",
        metavar="N",
        min=MIN_WIDTH,
        max=MAX_WIDTH,
        help="As wide as this. Default: the terminal, else 120.",
        show_default=False,
    ),
]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since",
        metavar="WHEN",
        help="Begin of the window: how long ago (90s, 15m, 1h, 2d) or RFC 3339.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="WHEN",
        help="End of the window, written like --since. Default: now.",
        show_default=False,
    ),
]
FunctionOption = Annotated[
    str | None,
    typer.Option(
        "--function",
        "-f",
        metavar="NAME",
        help="Only executions of this function.",
        show_default=False,
    ),
]
LevelOption = Annotated[
    Level, typer.Option("--level", help="Record connections, or each syscall on them as well.")
]
CaptureOption = Annotated[
    str | None,
    typer.Option(
        "--capture",
        metavar="GROUPS",
        help=f"What to record besides connections: {','.join(CAPTURE)}, all or none "
        "(docs/capture.md). Default: $LAMBDATRACE_CAPTURE, else all.",
        show_default=False,
    ),
]
ThresholdOption = Annotated[
    int | None,
    typer.Option(
        "--threshold",
        metavar="MS",
        min=0,
        max=MAX_THRESHOLD_MS,
        help="How long a syscall has to wait to be recorded (group blocked). "
        "Default: $LAMBDATRACE_THRESHOLD_MS, else 1.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int,
    typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many rows."),
]


@contextmanager
def opened_store(environment: Environment, store: str | None, table: str | None) -> Iterator[Store]:
    """The store that --store, --table or the environment names, closed afterwards.

    Raises UsageError for a malformed choice and StoreError if it cannot be opened.
    """
    from lambdatrace.store import open_store

    opened = open_store(store, table, environment.environ)
    try:
        yield opened
    finally:
        opened.close()


def store_url(environment: Environment, store: str | None, table: str | None) -> str:
    """The store as an absolute URL: the agent may have another home and another folder.

    Raises UsageError.
    """
    from lambdatrace.store.url import parse, resolve, with_table

    url = parse(store or resolve(environment.environ), environment.environ)
    return str(url if table is None else with_table(url, table))


def recording(level: Level, capture: str | None, threshold: int | None) -> dict[str, str]:
    """What the agent is told of --level, --capture and --threshold: environment variables.

    Raises UsageError for a group that is none.
    """
    told = {"LAMBDATRACE_LEVEL": level.value}
    if capture is not None:
        _, unknown = read_capture(capture)
        if unknown or not capture.strip(" ,"):
            groups = unknown or [repr(capture)]
            raise UsageError(f"--capture: {unknown_groups(groups)}", "as in --capture dns,tls")
        told["LAMBDATRACE_CAPTURE"] = capture
    if threshold is not None:
        told["LAMBDATRACE_THRESHOLD_MS"] = str(threshold)
    return told


def window(environment: Environment, since: str, until: str | None) -> Window:
    """The window of --since and --until. Raises UsageError."""
    return parse_window(since, until, environment.now_ns())


def searched(since: str, until: str | None) -> str:
    """The window in words, as it was typed."""
    return f"since {since}" + (f" until {until}" if until else "")
