"""One execution as exports take it: what the store holds of it, and what that means."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from lambdatrace.analysis.phases import told_apart
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.trace import read_records, without_syscalls
from lambdatrace.analysis.verdict import judge
from lambdatrace.errors import CorruptItemError
from lambdatrace.export import documents
from lambdatrace.export.records import (
    BLOCKED,
    CONNECTION,
    EXCHANGE,
    EXECUTION,
    EXTENSION,
    NAMELOOKUP,
    PAUSE,
    PROCESS,
)
from lambdatrace.items import INDEX, read_summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lambdatrace.analysis.trace import Records
    from lambdatrace.analysis.usual import Usual
    from lambdatrace.export.documents import Document
    from lambdatrace.items import Item
    from lambdatrace.model import Exchange, Execution, Trace, Verdict


class StoredExecution:
    """The items of one execution: its summary, chunks by number, its row in the index if known.

    Raises CorruptItemError or NewerSchemaError where they are not what they should be: at once for
    the summary, otherwise when what they hold is asked for. `usual` are its function's usual
    figures; None where they were not looked for.
    """

    usual: Usual | None = None

    def __init__(self, items: Sequence[Item]) -> None:
        # By key, the index row last: what says where everything is.
        self.items = sorted(items, key=lambda item: (item.kind == INDEX, item.key))
        self.records: Records = read_records(self.items)
        rows = [item for item in self.items if item.kind == INDEX]
        # A summary that holds records does not hold destinations.
        self.execution: Execution = (
            read_execution(read_summary(rows[0])) if rows else self.records.execution
        )
        own = self.records.execution
        if (self.execution.execution_id, self.execution.started_at_ns) != (
            own.execution_id,
            own.started_at_ns,
        ):
            raise CorruptItemError(
                f"the index row of execution {own.execution_id!r} is that of another one"
            )

    @cached_property
    def trace(self) -> Trace:
        """The execution, decoded but for its syscalls."""
        return without_syscalls(self.records)

    @cached_property
    def verdict(self) -> Verdict | None:
        """Why it took as long as it did; None where nothing was looked for to compare with."""
        return None if self.usual is None else judge(self.trace, self.usual)

    @cached_property
    def process_names(self) -> Mapping[int, str]:
        """The names of processes by their ids: the last one that is known; untrusted."""
        return self.trace.process_names

    @cached_property
    def exchanges(self) -> Mapping[int, tuple[Exchange, ...]]:
        """The exchanges of each connection by its id, where all of them are known."""
        trace = self.trace
        return told_apart(trace.connections, trace.exchanges, self.records.all_exchanges_kept)


def execution_document(execution: Execution, missing_chunks: int = 0) -> Document:
    """An execution as in docs/json.md, with what its row in the index alone tells."""
    return {
        **documents.execution_document(execution, missing_chunks),
        "xray_trace_id": documents.xray_trace_id(execution.xray),
    }


def rows(stored: StoredExecution) -> Iterator[tuple[str, Document]]:
    """(what it is, document) of everything in an execution but its syscalls, in a fixed order.

    Documents are those of docs/json.md. Raises CorruptItemError.
    """
    trace, told = stored.trace, stored.exchanges
    yield (
        EXECUTION,
        {
            **documents.execution_document(stored.execution, trace.missing_chunks),
            "xray_trace_id": documents.xray_trace_id(stored.execution.xray),
        },
    )
    for each in trace.connections:
        yield CONNECTION, documents.connection_document(each, told.get(each.id))
    for lookup in trace.namelookups:
        yield NAMELOOKUP, documents.namelookup_document(lookup)
    for exchange in trace.exchanges:
        yield EXCHANGE, documents.exchange_document(exchange)
    for call in trace.blocked:
        yield BLOCKED, documents.blocked_document(call)
    for pause in trace.pauses:
        yield PAUSE, documents.pause_document(pause)
    for process in trace.processes:
        yield PROCESS, documents.process_document(process)
    for elsewhere in trace.elsewhere:
        yield EXTENSION, documents.elsewhere_document(elsewhere)
