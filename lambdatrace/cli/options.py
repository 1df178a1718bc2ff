"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.analysis.times import Window, parse_moment, parse_window, rfc_3339
from lambdatrace.capture import CAPTURE, read_capture, unknown_groups
from lambdatrace.cli.completion import complete_functions, complete_tables
from lambdatrace.errors import UsageError
from lambdatrace.model import Level
from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lambdatrace.cli.environment import Environment
    from lambdatrace.store.base import Store
    from lambdatrace.store.file import FileStore
    from lambdatrace.store.url import StoreUrl

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


class Color(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def _set_color(context: typer.Context, color: Color) -> Color:
    # Before anything is drawn, and in one place.
    if context.obj is not None:
        context.obj.color = str(color)
    return color


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where executions are kept: sqlite:///path/to/file.db or "
        "dynamodb://Table?region=…&endpoint=…. Default: $LAMBDATRACE_STORE, else configured, "
        "else a file of yours.",
        show_default=False,
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option(
        "--table",
        metavar="NAME",
        help="Short for --store dynamodb://NAME.",
        autocompletion=complete_tables,
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="AWS's profile to read a DynamoDB table with. Default: $AWS_PROFILE, else configured.",
        show_default=False,
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Read an export (jsonl or parquet) instead of a store.",
        show_default=False,
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="AWS's region of the table. Default: the store's, $AWS_REGION, else configured.",
        show_default=False,
    ),
]
FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="CONDITIONS",
        help="Only what all conditions hold for, as in 'host~partner,connect_ms>=100,status!=ok' "
        "(docs/commands.md has the fields).",
        show_default=False,
    ),
]
SloOption = Annotated[
    str | None,
    typer.Option(
        "--slo",
        metavar="LIMITS",
        help="Exit with 4 where more was taken, in ms: total=500,connect=100.",
        show_default=False,
    ),
]
WideOption = Annotated[
    bool, typer.Option("--wide", help="All columns, however wide the table gets.")
]
ColorOption = Annotated[
    Color,
    typer.Option(
        "--color",
        callback=_set_color,
        help="Colours: on a terminal without NO_COLOR (auto), always or never.",
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
    str | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        help="Begin of the window: how long ago (90s, 15m, 1h, 2d) or RFC 3339. "
        f"Default: {DEFAULT_SINCE}; of a file, its beginning.",
        show_default=False,
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
        autocompletion=complete_functions,
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


class Source(Value):
    """Which store to read."""

    store: StoreOption = None
    table: TableOption = None
    profile: ProfileOption = None
    region: RegionOption = None


class FileSource(Value):
    """Which store to read, or which file in its place."""

    store: StoreOption = None
    table: TableOption = None
    profile: ProfileOption = None
    region: RegionOption = None
    file: FromOption = None


AnySource = Source | FileSource


class Selection(Value):
    """Which executions to take."""

    since: SinceOption = None
    until: UntilOption = None
    function: FunctionOption = None
    where: FilterOption = None

    def window(self, environment: Environment) -> Window:
        """The window of --since and --until. Raises UsageError."""
        return window(environment, self.since, self.until)

    @property
    def words(self) -> str:
        """The window as it was typed."""
        until = f" until {self.until}" if self.until else ""
        return f"since {self.since or DEFAULT_SINCE}{until}"


class Display(Value):
    """What a result looks like; `color` has been seen to (ColorOption)."""

    output: OutputOption = Output.TABLE
    wide: WideOption = False
    color: ColorOption = Color.AUTO


def window(environment: Environment, since: str | None, until: str | None) -> Window:
    """The window of --since and --until. Raises UsageError."""
    now_ns = environment.now_ns()
    if until and not since and parse_moment(until, now_ns) < parse_moment(DEFAULT_SINCE, now_ns):
        raise UsageError(
            f"--until {until!r} is before the last {DEFAULT_SINCE}, which are searched",
            "say since when as well, as in --since 7d",
        )
    return parse_window(since or DEFAULT_SINCE, until, now_ns)


@contextmanager
def opened_store(
    environment: Environment, source: AnySource, *, quiet: bool = False
) -> Iterator[Store]:
    """The store that the options, the environment or the configuration name, closed afterwards.

    Or the file that --from names. Reading much of it shows progress on a terminal, unless `quiet`.
    Raises UsageError for a malformed choice and StoreError if it cannot be opened.
    """
    from lambdatrace.cli.progress import watched
    from lambdatrace.store import open_target

    opened: Store | None = _opened_file(environment, source)
    if opened is None:
        target, profile = chosen_store(environment.environ, source)
        opened = open_target(target, profile)
    try:
        yield opened if quiet else watched(environment, opened)
    finally:
        opened.close()
        environment.file = None


def all_of_it(environment: Environment, source: FileSource, selection: Selection) -> Selection:
    """`selection`; of a file, where it does not say since when, since its beginning.

    Raises UsageError, and StoreError where the file cannot be read.
    """
    file = _opened_file(environment, source)
    bounds = None if file is None or selection.since is not None else file.bounds()
    if bounds is None:
        return selection
    since, until = map(rfc_3339, bounds)
    return replaced(selection, since=since, until=selection.until or until)


def _opened_file(environment: Environment, source: AnySource) -> FileStore | None:
    """The file of --from, searched once; None without one."""
    if not isinstance(source, FileSource) or source.file is None:
        return None
    named = [each for each in (source.store, source.table, source.profile, source.region) if each]
    if named:
        raise UsageError(f"--from {source.file} needs no store", f"leave {named[0]} out")
    if environment.file is None:
        from lambdatrace.store.file import FileStore

        environment.file = FileStore(source.file)
    return environment.file


def chosen_store(environ: Mapping[str, str], source: AnySource) -> tuple[StoreUrl, str | None]:
    """(the store, AWS's profile to read it with): typed, else the environment's, else configured.

    None: what boto3 finds. Raises UsageError.
    """
    from lambdatrace.cli.config import read_config, region_and_profile
    from lambdatrace.store.url import DYNAMODB, choose, with_region

    config = read_config(environ)
    named = {"LAMBDATRACE_STORE", "DYNAMO_TABLE_NAME"} & {key for key in environ if environ[key]}
    if config.store and not named:
        environ = {**environ, "LAMBDATRACE_STORE": config.store}
    target = choose(source.store, source.table, environ)
    if source.region is not None:
        target = with_region(target, source.region)
    if target.engine != DYNAMODB:
        if source.profile is not None:
            raise UsageError(
                f"--profile {source.profile} is DynamoDB's, the store is {target}", "leave it out"
            )
        return target, None
    region, profile = region_and_profile(config, environ, target.region or None, source.profile)
    return target if region is None else with_region(target, region), profile


def store_url(environment: Environment, store: str | None, table: str | None) -> str:
    """The store as an absolute URL: the agent may have another home and another folder.

    Raises UsageError.
    """
    return str(chosen_store(environment.environ, Source(store, table))[0])


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
