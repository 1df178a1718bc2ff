"""`lambdatrace export`: executions as a file that other tools read."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from lambdatrace.analysis.words import counted
from lambdatrace.cli.completion import complete_ids
from lambdatrace.cli.filtering import execution_filter, keeps
from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import FileSource, Selection, all_of_it, opened_store
from lambdatrace.cli.reporting import nothing_found, raise_unreadable
from lambdatrace.cli.writing import STANDARD_OUTPUT, written
from lambdatrace.errors import LambdatraceError, StoreError, UsageError
from lambdatrace.export.formats import FORMATS
from lambdatrace.export.records import RECORDS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from lambdatrace.analysis.usual import Usual
    from lambdatrace.cli.environment import Environment
    from lambdatrace.cli.progress import Bar
    from lambdatrace.cli.sending import Receiver
    from lambdatrace.export.formats import Format
    from lambdatrace.export.stored import StoredExecution
    from lambdatrace.items import Item
    from lambdatrace.store.base import Store

EXAMPLES = """
\b
Examples:
  lambdatrace export @slowest --since 1h -o slowest.jsonl
  lambdatrace export --since 1h --filter 'status!=ok' -o failed.jsonl
  lambdatrace show @slowest --from failed.jsonl
"""

FormatName = StrEnum("FormatName", {name.upper(): name for name in FORMATS})  # type: ignore[misc]
RecordKind = StrEnum("RecordKind", {name.upper(): name for name in RECORDS})  # type: ignore[misc]
_DEFAULT = "jsonl"
_OTLP = "otlp"

FormatOption = Annotated[
    FormatName | None,
    typer.Option(
        "--format",
        help="; ".join(f"{name}: {each.summary}" for name, each in FORMATS.items())
        + f". Default: what FILE ends in, else {_DEFAULT}.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    str,
    typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output."),
]
RecordsOption = Annotated[
    RecordKind | None,
    typer.Option(
        "--records", help="Of a table, only one kind of row, and its columns.", show_default=False
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--otlp-endpoint",
        metavar="URL",
        help="Send traces to an OpenTelemetry backend instead, by HTTP; "
        "$OTEL_EXPORTER_OTLP_HEADERS may hold its key.",
        show_default=False,
    ),
]
UsualOption = Annotated[
    bool,
    typer.Option(
        "--with-usual",
        help="Besides, the executions that show compares the named ones with, 100 each at most.",
    ),
]


@grouped
def export(
    context: typer.Context,
    executions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXECUTION]...",
            help="Ids, beginnings of ids, @latest, @slowest. Default: all of the window.",
            show_default=False,
            autocompletion=complete_ids,
        ),
    ] = None,
    *,
    format: FormatOption = None,  # noqa: A002  # as it is typed
    output: OutputOption = STANDARD_OUTPUT,
    records: RecordsOption = None,
    otlp_endpoint: EndpointOption = None,
    with_usual: UsualOption = False,
    selection: Selection,
    source: FileSource,
) -> None:
    """Write executions to a file that other tools read.

    What there was at FILE is replaced when all has been written. docs/export.md describes the
    forms; jsonl is what --from and import read.
    """
    from lambdatrace.cli.progress import Bar

    environment: Environment = context.obj
    selection = all_of_it(environment, source, selection)
    window = selection.window(environment)
    form = _form(format, output)
    receiver = None
    if otlp_endpoint is not None:
        receiver = _receiver(environment, otlp_endpoint, format, output)
        form = FORMATS[_OTLP]
    if records is not None and not form.is_table:
        tables = " and ".join(name for name, each in FORMATS.items() if each.is_table)
        raise UsageError("--records goes with tables only", f"which are {tables}")
    only = {"only": str(records)} if records is not None else {}
    write = partial(form.load(), **only)
    unreadable: list[StoreError] = []
    bar = Bar(environment, window.since_ns, window.until_ns)
    try:
        with opened_store(environment, source, quiet=True) as opened:
            if executions:
                rows = _named(environment, opened, selection, executions, with_usual)
            else:
                rows = _all(environment, opened, selection, unreadable)
            with closing(rows):  # before the store is
                found = _read(opened, rows, unreadable, bar)
                if receiver is not None:
                    _send(receiver, found)
                else:
                    with written(environment, output, is_binary=form.is_binary) as take:
                        size = 0
                        for piece in write(found):
                            take(piece)
                            size += len(piece)
                            bar.more = f", {size / 1e6:,.0f} MB"
    finally:
        bar.stop()
    if receiver is not None and receiver.spans:
        taken = receiver.spans - receiver.refused
        environment.note(f"{counted(taken, 'span')} of {bar.count} executions sent")
    if not bar.count and not unreadable:
        nothing_found(environment, selection)
    raise_unreadable(unreadable)
    if receiver is not None and receiver.refused:
        raise LambdatraceError(
            f"{counted(receiver.refused, 'span')} refused by the endpoint: {receiver.why}",
            "what was not refused has been taken",
        )


def _receiver(environment: Environment, url: str, name: FormatName | None, output: str) -> Receiver:
    from lambdatrace.cli.sending import Receiver

    if name not in (None, _OTLP) or output != STANDARD_OUTPUT:
        raise UsageError("--otlp-endpoint takes the place of a file", "leave --format and -o out")
    return Receiver(url, environment.environ, environment.sleep)


def _send(receiver: Receiver, executions: Iterable[StoredExecution]) -> None:
    from lambdatrace.cli.sending import MAX_BYTES, MAX_SPANS
    from lambdatrace.export.otlp import requests

    for body, count in requests(executions, MAX_SPANS, MAX_BYTES):
        receiver.send(body, count)


def _form(name: FormatName | None, output: str) -> Format:
    if name is not None:
        return FORMATS[str(name)]
    suffix = PurePath(output).suffix.lower()
    return next((each for each in FORMATS.values() if suffix in each.suffixes), FORMATS[_DEFAULT])


class _Wanted(NamedTuple):
    """An execution that is to be written, and when it began (ns since the epoch)."""

    execution_id: str
    started_ns: int
    row: Item | None = None  # in the index, where that has been read
    usual: Usual | None = None  # what is usual for it, where that was looked for


def _all(
    environment: Environment, store: Store, selection: Selection, unreadable: list[StoreError]
) -> Generator[_Wanted]:
    """The executions of the window that are wanted; what cannot be read is kept apart."""
    from lambdatrace.analysis.summary import read_execution
    from lambdatrace.items import read_summary

    wanted = execution_filter(selection.where)
    window = selection.window(environment)
    for row in store.index(window.since_ns, window.until_ns):
        try:
            execution = read_execution(read_summary(row))
        except StoreError as error:
            unreadable.append(error)
            continue
        if selection.function in (None, execution.function) and keeps(wanted, execution):
            yield _Wanted(execution.execution_id, row.timestamp_nano, row)


def _named(
    environment: Environment,
    store: Store,
    selection: Selection,
    names: Iterable[str],
    with_usual: bool,
) -> Generator[_Wanted]:
    """The executions that were named, each once, and those they are compared with."""
    from lambdatrace.analysis.lookup import compared_with, find_execution, recent

    wanted = execution_filter(selection.where)
    window = selection.window(environment)
    seen = set()
    for name in names:
        one = find_execution(store, name, window, selection.function, lambda it: keeps(wanted, it))
        figures = recent(store, one.started_at_ns, one.function).usual(one)
        for each in (one, *(compared_with(store, one) if with_usual else ())):
            key = (each.execution_id, each.started_at_ns)
            if key not in seen:
                seen.add(key)
                yield _Wanted(*key, usual=figures if each is one else None)


def _read(
    store: Store, rows: Iterable[_Wanted], unreadable: list[StoreError], bar: Bar
) -> Iterator[StoredExecution]:
    """The executions of rows, decoded as far as that can fail; what cannot be read is kept apart.

    Raises StoreError where the store itself cannot be read.
    """
    from lambdatrace.api import Traces

    traces = Traces(store)
    for wanted in rows:
        bar.moment_ns = wanted.started_ns
        try:
            stored = traces.stored(*wanted[:3])
            stored.usual = wanted.usual
            stored.trace  # noqa: B018  # decodes
        except StoreError as error:
            unreadable.append(error)
            continue
        bar.count += 1
        yield stored
