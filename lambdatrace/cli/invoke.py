"""`lambdatrace invoke`: run a Python handler under AWS's emulator, traced by the agent."""

from __future__ import annotations

import json
import math
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lambdatrace.cli.options import (
    CaptureOption,
    Color,
    ColorOption,
    LevelOption,
    Output,
    OutputOption,
    StoreOption,
    TableOption,
    ThresholdOption,
    recording,
    store_url,
)
from lambdatrace.errors import LambdatraceError, UsageError
from lambdatrace.model import Level
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.cli.environment import Environment
    from lambdatrace.emulator.rie import Invocation
    from lambdatrace.export.documents import Document

EXAMPLES = """
\b
Examples:
  lambdatrace invoke app.handler
  lambdatrace invoke app.handler --event '{"order": 17}' --repeat 5
  lambdatrace invoke app.handler --event @event.json --timeout 2 --memory 256

\b
The exit code is 1 when an invocation failed, timed out or crashed.
"""

DEFAULT_TIMEOUT_S = 3  # AWS's own defaults for a new function
DEFAULT_MEMORY_MB = 128
# The largest event Lambda takes synchronously.
MAX_EVENT_BYTES = 6 * 1024 * 1024
# Shown of a response on a terminal; the other outputs hold all of it.
RESPONSE_CHARACTERS = 1_000

_WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace/wrapper"}

FIELDS = (
    "schema_version", "request_id", "function", "status", "duration_ms", "error", "response",
)  # fmt: skip

HandlerArgument = Annotated[
    str,
    typer.Argument(metavar="HANDLER", help="module.function, as in Lambda's configuration."),
]
EventOption = Annotated[
    str,
    typer.Option("--event", "-e", metavar="JSON|@FILE", help="What the function is given."),
]
RepeatOption = Annotated[
    int, typer.Option("--repeat", "-r", metavar="N", min=1, help="Invoke it so many times.")
]
TimeoutOption = Annotated[
    int,
    typer.Option("--timeout", "-t", metavar="S", min=1, max=900, help="The function's, seconds."),
]
MemoryOption = Annotated[
    int,
    typer.Option(
        "--memory",
        "-m",
        metavar="MB",
        min=128,
        max=10_240,
        help="What the function is told it has; the emulator does not enforce it.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The function's name. Default: its folder's."),
]
FolderOption = Annotated[
    Path,
    typer.Option("--folder", metavar="PATH", help="Where the function's code is."),
]
RieOption = Annotated[
    Path | None,
    typer.Option(
        "--rie",
        metavar="PATH",
        help="AWS's emulator. Default: $LAMBDATRACE_RIE, else the copy `make setup` fetched.",
        show_default=False,
    ),
]


def invoke(
    context: typer.Context,
    handler: HandlerArgument,
    event: EventOption = "{}",
    repeat: RepeatOption = 1,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    memory: MemoryOption = DEFAULT_MEMORY_MB,
    name: NameOption = None,
    folder: FolderOption = Path(),
    level: LevelOption = Level.FLOWS,
    capture: CaptureOption = None,
    threshold: ThresholdOption = None,
    rie_path: RieOption = None,
    store: StoreOption = None,
    table: TableOption = None,
    output: OutputOption = Output.TABLE,
    color: ColorOption = Color.AUTO,
) -> None:
    """Run a Python handler under AWS's Lambda emulator, with the agent as its extension.

    Needs root. The handler runs on this machine, in the Python that runs lambdatrace; what it
    prints goes to standard error.
    """
    from lambdatrace.emulator import Emulator

    environment: Environment = context.obj
    body = _event_bytes(event)
    url = store_url(environment, store, table)
    told = recording(level, capture, threshold)
    function = name or folder.resolve().name
    show = _Report(environment, output, function)
    # As deploy-layer has it: where eBPF is refused, the preloaded library traces.
    wrapper = {} if environment.environ.get("LAMBDATRACE_BACKEND") == "ebpf" else _WRAPPER
    with Emulator(
        handler,
        folder,
        timeout_s=timeout,
        memory_mb=memory,
        environ={
            **wrapper,
            **environment.environ,
            "AWS_LAMBDA_FUNCTION_NAME": function,
            "LAMBDATRACE_STORE": url,
            **told,
        },
        rie_path=rie_path,
        log=_log_to(environment),
    ) as emulator:
        for _ in range(repeat):
            show.add(emulator.invoke(body))
    show.finish(url, f" --store {shlex.quote(url)}" if store or table else "")
    if show.failed:
        raise typer.Exit(1)


def _event_bytes(event: str) -> bytes:
    text = event
    if event.startswith("@"):
        try:
            text = Path(event[1:]).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"--event: {event[1:]!r} cannot be read: {reason}") from error
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"--event is not JSON: {error}", "for example --event '{\"order\": 17}' or @event.json"
        ) from error
    body = text.encode()
    if len(body) > MAX_EVENT_BYTES:
        raise UsageError(f"--event: {len(body)} bytes are more than Lambda takes (6 MiB)")
    return body


def _log_to(environment: Environment) -> Callable[[str, str], None]:
    def log(source: str, line: str) -> None:
        if source != "platform":
            # AWS's runtime client indents tracebacks with no-break spaces.
            text = clean(line.replace("\xa0", " "))
            print(f"{source} | {text}", file=environment.stderr, flush=True)

    return log


class _Report:
    """Shows invocations: on a terminal as they come, for programs when all are there."""

    def __init__(self, environment: Environment, output: Output, function: str) -> None:
        self._environment = environment
        self._output = output
        self._function = function
        self._documents: list[Document] = []
        self._latest: Invocation | None = None
        self.failed = False

    def add(self, invocation: Invocation) -> None:
        """One more invocation."""
        self._latest = invocation
        self.failed = self.failed or invocation.error is not None
        if self._output is Output.TABLE:
            from lambdatrace.cli.views.invocation import invocation_line

            self._environment.write(invocation_line(invocation, RESPONSE_CHARACTERS))
        else:
            self._documents.append(_document(invocation, self._function))

    def finish(self, url: str, options: str) -> None:
        """Everything has been invoked, into the store at `url`.

        `options` belong to the command to type next.
        """
        from lambdatrace.cli import output

        stream = self._environment.stdout
        if self._output is Output.TABLE:
            if self._latest is not None:
                self._environment.note(_next(self._latest, url, options))
        elif self._output is Output.JSON:
            output.write_array(self._documents, stream)
        elif self._output is Output.JSONL:
            output.write_lines(self._documents, stream)
        else:
            rows = [{**row, "response": json.dumps(row["response"])} for row in self._documents]
            output.write_csv(rows, FIELDS, stream)


def _next(latest: Invocation, url: str, options: str) -> str:
    """What to type next; or, where init came to nothing, that there is nothing to show."""
    if latest.error is not None and _is_missing(latest.request_id, url):
        return (
            f"nothing was stored of {latest.request_id}: unless a line above says otherwise, its "
            "init failed, or had not ended by the timeout (--timeout gives it longer)"
        )
    return f"next: lambdatrace show {latest.request_id}{options}"


def _is_missing(request_id: str, url: str) -> bool:
    """Whether the store answers, and has nothing of the execution."""
    from lambdatrace.store import open_store

    try:
        with closing(open_store(url)) as store:
            return not store.get(request_id)
    except LambdatraceError:
        return False  # `show` says why


def _document(invocation: Invocation, function: str) -> Document:
    from lambdatrace.export.documents import SCHEMA_VERSION

    return {
        "schema_version": SCHEMA_VERSION,
        "request_id": invocation.request_id,
        "function": function,
        "status": "ok" if invocation.error is None else "failed",
        "duration_ms": round(invocation.duration_ms, 6),
        "error": invocation.error,
        "response": _response(invocation.body),
    }


def _response(body: bytes) -> Any:
    """The response as JSON, or as text where it is none (a time-out's sentence is not)."""
    try:
        # JSON's own numbers only: the output is read by strict parsers.
        return json.loads(body, parse_constant=str, parse_float=_finite)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text
