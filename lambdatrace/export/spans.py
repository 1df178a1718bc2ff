"""An execution as spans on tracks: what forms that draw a time line have in common.

On one track spans lie beside or within one another, never across: that is what such forms ask for.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdatrace.analysis.phases import phases
from lambdatrace.analysis.trace import syscall_rows
from lambdatrace.export import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.export.stored import StoredExecution
    from lambdatrace.model import Connection


class Span(NamedTuple):
    """A stretch of time, ns relative to the execution's start, and what is known of it."""

    start_ns: int
    end_ns: int
    name: str  # untrusted
    kind: str  # a record's, or a phase's
    facts: dict[str, Any]  # members as in docs/json.md


class Track(NamedTuple):
    """Spans by start, and what they have in common."""

    name: str  # untrusted
    kind: str
    spans: Iterable[Span]


def place(host: str | None, address: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    name = host or address
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


class Nesting:
    """What is open on one track."""

    def __init__(self) -> None:
        self._ends: list[int] = []

    def fit(self, span: Span) -> Span:
        """The next span by start; one that reaches out of the one it begins in, cut short."""
        while self._ends and self._ends[-1] <= span.start_ns:
            self._ends.pop()
        end = max(span.start_ns, span.end_ns)
        if self._ends:
            end = min(end, self._ends[-1])
        self._ends.append(end)
        return span._replace(end_ns=end)


def tracks(stored: StoredExecution) -> Iterator[Track]:
    """The tracks of an execution but for its threads: itself, namelookups, connections, others."""
    trace, duration = stored.trace, stored.execution.duration_ns
    yield Track("execution", "execution", _execution(stored))
    yield from _lanes("namelookups", "namelookup", (
        Span(
            each.started_ns,
            each.started_ns + each.duration_ns if each.duration_ns is not None else duration,
            f"{each.name} {each.type}", "namelookup", documents.namelookup_document(each),
        )
        for each in trace.namelookups
    ))  # fmt: skip
    for connection in trace.connections:
        name = place(connection.host, connection.address, connection.port)
        spans = _connection(stored, connection, name)
        yield Track(f"connection {connection.id} {name}", "connection", spans)
    yield from _lanes("processes", "process", (
        Span(
            each.started_ns, each.started_ns + each.duration_ns, each.name, "process",
            documents.process_document(each),
        )
        for each in trace.processes
    ))  # fmt: skip
    yield from _lanes("other extensions", "extension", (
        Span(
            each.started_ns,
            each.started_ns + each.duration_ns if each.duration_ns is not None else duration,
            f"{each.process_name} {place(each.host, each.address, each.port)}", "extension",
            documents.elsewhere_document(each),
        )
        for each in trace.elsewhere
    ))  # fmt: skip


def _execution(stored: StoredExecution) -> Iterator[Span]:
    """The execution, and its pauses: where the time went while no thread ran."""
    execution = stored.execution
    facts = documents.execution_document(execution, stored.trace.missing_chunks)
    if stored.verdict is not None:
        facts["verdict"] = stored.verdict.text
    yield Span(0, execution.duration_ns, execution.function, "execution", facts)
    for each in stored.trace.pauses:
        yield Span(
            each.started_ns, each.started_ns + each.duration_ns,
            f"{each.part} {each.subject}".rstrip(), "pause", documents.pause_document(each),
        )  # fmt: skip


def _connection(stored: StoredExecution, connection: Connection, name: str) -> Iterator[Span]:
    """A connection, and its phases, none of which begins before the one before it has ended."""
    exchanges = stored.exchanges.get(connection.id)
    start, end = connection.started_ns, connection.started_ns + connection.duration_ns
    yield Span(start, end, name, "connection", documents.connection_document(connection, exchanges))
    reached = start
    for phase in sorted(phases(connection, exchanges), key=lambda each: each.start_ns):
        begun, over = max(reached, phase.start_ns), min(end, phase.end_ns)
        if over >= begun:
            facts = {"duration_ms": documents.milliseconds(phase.end_ns - phase.start_ns)}
            yield Span(begun, over, str(phase.kind), str(phase.kind), facts)
            reached = over


Thread = tuple[int, int]  # the ids of its process and its own


def thread_name(stored: StoredExecution, whose: Thread) -> str:
    """What a thread is called: untrusted."""
    process, thread = whose
    name = stored.process_names.get(process)
    return f"thread {thread} of process {process}" + (f" {name}" if name else "")


def thread_spans(stored: StoredExecution) -> Iterator[tuple[Thread, Span]]:
    """The waits of all threads, and their calls where these were recorded, by start."""
    return heapq.merge(waits(stored), _calls(stored), key=lambda found: found[1].start_ns)


def waits(stored: StoredExecution) -> Iterator[tuple[Thread, Span]]:
    """The waits of all threads in syscalls, by start."""
    for each in stored.trace.blocked:
        name = f"{each.op} {each.path or ''}".rstrip()
        end = each.started_ns + each.duration_ns
        facts = documents.blocked_document(each)
        span = Span(each.started_ns, end, name, "blocked", facts)
        yield (each.process_id, each.thread_id), span


def _calls(stored: StoredExecution) -> Iterator[tuple[Thread, Span]]:
    for op, fd, connection, process, thread, start, duration, result in syscall_rows(
        stored.records
    ):
        facts = {"fd": fd, "connection_id": connection, "result": result}
        yield (process, thread), Span(start, start + duration, op, "syscall", facts)


def _lanes(name: str, kind: str, spans: Iterable[Span]) -> Iterator[Track]:
    """Spans on as few tracks as have room for those that overlap."""
    lanes: list[tuple[int, int]] = []  # when each is free again, its number
    own: list[list[Span]] = []
    for span in sorted(spans, key=_start):
        if lanes and lanes[0][0] <= span.start_ns:
            _, number = heapq.heappop(lanes)
        else:
            number = len(own)
            own.append([])
        own[number].append(span)
        heapq.heappush(lanes, (max(span.start_ns, span.end_ns), number))
    for number, found in enumerate(own, 1):
        yield Track(name if len(own) == 1 else f"{name} {number}", kind, found)


def _start(span: Span) -> int:
    return span.start_ns
