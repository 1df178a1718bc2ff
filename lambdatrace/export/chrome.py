"""Chrome's Trace Event Format, for Perfetto and chrome://tracing (docs/export.md).

An execution is a process there, and each of its tracks a thread. Complete ("X") events only, and
metadata ("M") that names them. Times are whole µs since the epoch: what reads them takes them for
doubles, which have no room for more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdatrace.export.pieces import batches
from lambdatrace.export.spans import Nesting, thread_name, thread_spans, tracks
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.export.spans import Span, Thread
    from lambdatrace.export.stored import StoredExecution

_encode = json.JSONEncoder(allow_nan=False).encode


def write(executions: Iterable[StoredExecution]) -> Iterator[bytes]:
    """The file, piece by piece. Raises CorruptItemError."""
    return batches(_array(executions))


def _array(executions: Iterable[StoredExecution]) -> Iterator[bytes]:
    separator = b'{"displayTimeUnit": "ms", "traceEvents": [\n'
    for number, stored in enumerate(executions, 1):
        for event in _events(number, stored):
            yield separator + _encode(event).encode("ascii")
            separator = b",\n"
    # Without events the array has not been opened yet.
    yield b"\n]}\n" if separator == b",\n" else separator + b"]}\n"


def _events(process: int, stored: StoredExecution) -> Iterator[dict[str, Any]]:
    execution = stored.execution
    name = f"{execution.function} {execution.execution_id} {execution.status}"
    yield _metadata("process_name", process, 0, name=clean(name))
    yield _metadata("process_sort_index", process, 0, sort_index=process)
    number = 0
    for number, track in enumerate(tracks(stored), 1):
        yield from _names(process, number, track.name)
        nesting = Nesting()
        for span in track.spans:
            yield _event(process, number, execution.started_at_ns, nesting.fit(span))
    threads: dict[Thread, tuple[int, Nesting]] = {}
    for whose, span in thread_spans(stored):
        if whose not in threads:
            threads[whose] = number + len(threads) + 1, Nesting()
            yield from _names(process, threads[whose][0], thread_name(stored, whose))
        thread, nesting = threads[whose]
        yield _event(process, thread, execution.started_at_ns, nesting.fit(span))


def _names(process: int, thread: int, name: str) -> Iterator[dict[str, Any]]:
    yield _metadata("thread_name", process, thread, name=clean(name))
    yield _metadata("thread_sort_index", process, thread, sort_index=thread)


def _event(process: int, thread: int, origin_ns: int, span: Span) -> dict[str, Any]:
    start, end = (origin_ns + span.start_ns) // 1_000, (origin_ns + span.end_ns) // 1_000
    return {
        "ph": "X", "name": clean(span.name) or span.kind, "cat": span.kind, "ts": start,
        "dur": end - start, "pid": process, "tid": thread, "args": printable(span.facts),
    }  # fmt: skip


def _metadata(kind: str, process: int, thread: int, **arguments: Any) -> dict[str, Any]:
    return {
        "ph": "M", "name": kind, "cat": "__metadata", "ts": 0, "pid": process, "tid": thread,
        "args": arguments,
    }  # fmt: skip


def printable(value: Any) -> Any:
    """A document whose texts are printable, and without what is not known."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: printable(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [printable(each) for each in value]
    return value
