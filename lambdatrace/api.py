"""Executions for programs and notebooks (docs/api.md): `lambdatrace.open_store`.

with lambdatrace.open_store("dynamodb://lambdatrace?region=eu-west-1") as traces:
frame = traces.executions(since="1h").to_frame()
print(traces.execution("@slowest").verdict.text)
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Self, overload

from lambdatrace.analysis.lookup import LATEST, find, read_window, recent
from lambdatrace.analysis.times import Window, parse_moment, rfc_3339
from lambdatrace.analysis.verdict import judge
from lambdatrace.analysis.words import duration_words
from lambdatrace.errors import StoreError, UsageError
from lambdatrace.export.columns import COMMON, MOMENT, columns, flat, flat_rows
from lambdatrace.export.records import EXECUTION, RECORDS
from lambdatrace.export.stored import StoredExecution, execution_document
from lambdatrace.items import read_summary
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    import pandas as pd

    from lambdatrace.items import Item
    from lambdatrace.model import Execution, Trace, Verdict
    from lambdatrace.store.base import Store

_DEFAULT_SINCE = "24h"
# Of a table in a notebook.
_SHOWN = 20


class Executions(Sequence["Execution"]):
    """The executions of a window, the newest first: a sequence of `lambdatrace.model.Execution`.

    Attributes
    ----------
    unreadable : list[StoreError]
        One for each execution that the store has and that cannot be read.
    """

    def __init__(self, executions: Sequence[Execution], unreadable: Sequence[StoreError]) -> None:
        self._executions = executions
        self.unreadable = list(unreadable)

    def __len__(self) -> int:
        return len(self._executions)

    @overload
    def __getitem__(self, index: int) -> Execution: ...
    @overload
    def __getitem__(self, index: slice) -> Executions: ...
    def __getitem__(self, index: int | slice) -> Execution | Executions:
        if isinstance(index, slice):
            return Executions(self._executions[index], self.unreadable)
        return self._executions[index]

    def to_frame(self) -> pd.DataFrame:
        """A row for each: `execution_id` and the columns of executions in docs/export.md.

        Times in ms, `started_at` as a timestamp in UTC; what is not known is missing.
        """
        rows = ({**flat(execution_document(one))} for one in self)
        return _frame(rows, {"execution_id": "text", **columns(EXECUTION)}, without=("record",))

    def __repr__(self) -> str:
        return f"<{len(self)} executions>"

    def _repr_html_(self) -> str:
        rows = [
            (
                rfc_3339(one.started_at_ns)[:23], one.function, duration_words(one.duration_ns),
                str(one.status), _most_of_it(one), one.execution_id,
            )
            for one in self[:_SHOWN]
        ]  # fmt: skip
        more = f"<p>{len(self) - len(rows):,} more</p>" if len(self) > len(rows) else ""
        heads = ("started (UTC)", "function", "took", "status", "most of it", "id")
        return _table(heads, rows) + more


class TracedExecution:
    """One execution with everything that was recorded of it.

    Attributes
    ----------
    execution : lambdatrace.model.Execution
    trace : lambdatrace.model.Trace
        Connections, namelookups, exchanges, …; without single syscalls (`to_frame` has them).
    verdict : lambdatrace.model.Verdict
        Why it took as long as it did, compared with its function's executions before it.
    """

    def __init__(self, stored: StoredExecution, verdict: Verdict) -> None:
        self.stored = stored
        self.execution: Execution = stored.execution
        self.trace: Trace = stored.trace
        self.verdict = verdict

    def to_frame(self, records: str = "connection") -> pd.DataFrame:
        """A row for each record of one kind, with its columns in docs/export.md.

        `records`: execution, connection, namelookup, exchange, blocked, pause, process, extension
        or syscall. Raises UsageError for another one.
        """
        if records not in RECORDS:
            raise UsageError(f"there are no records {records!r}", f"take {', '.join(RECORDS)}")
        rows = (row for _, row in flat_rows(self.stored, records))
        return _frame(rows, columns(records))

    def __repr__(self) -> str:
        one = self.execution
        return f"<execution {clean(one.execution_id)} of {clean(one.function)}, {one.status}>"

    def _repr_html_(self) -> str:
        from lambdatrace.export.html import summary_html

        rows = [
            (
                each.host or each.address, str(each.port), str(each.outcome),
                duration_words(each.duration_ns), "" if each.connect_ns is None
                else duration_words(each.connect_ns),
            )
            for each in self.trace.connections[:_SHOWN]
        ]  # fmt: skip
        heads = ("host", "port", "outcome", "open for", "connect")
        told = summary_html(self.execution, self.verdict, self.trace.pauses)
        return told + _table(heads, rows)


class Traces:
    """A store of executions, open for reading. A context manager; every method raises StoreError.

    `now_ns` gives ns since the epoch.
    """

    def __init__(self, store: Store, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.store = store
        self._now_ns = now_ns

    def executions(
        self,
        since: str | datetime | timedelta | None = None,
        until: str | datetime | None = None,
        *,
        function: str | None = None,
    ) -> Executions:
        """The executions that began in a window, the newest first.

        `since` and `until` as on the command line (`1h`, RFC 3339), as datetimes with a zone, or as
        how long ago. Default: the last 24 hours; of a file, all of it. Raises UsageError for what
        is no moment.
        """
        contents = read_window(self.store, self._window(since, until), function)
        return Executions(contents.executions, contents.unreadable)

    def execution(
        self,
        execution: str,
        since: str | datetime | timedelta | None = None,
        until: str | datetime | None = None,
        *,
        function: str | None = None,
    ) -> TracedExecution:
        """One execution by its id; by the beginning of one, `@latest` or `@slowest`, of a window.

        Raises NotFoundError, and UsageError where several begin so.
        """
        found = find(self.store, execution, self._window(since, until), function)
        if found.left_out and execution == LATEST:
            raise found.left_out[0]
        first = found.items[0]
        stored = self.stored(first.execution_id, first.timestamp_nano)
        one = stored.execution
        usual = recent(self.store, one.started_at_ns, one.function).usual(one)
        return TracedExecution(stored, judge(stored.trace, usual))

    def stored(
        self, execution_id: str, started_ns: int, row: Item | None = None
    ) -> StoredExecution:
        """Everything that the store holds of the execution begun at `started_ns`, for exports.

        `row` is its row in the index, if that is at hand.
        """
        items = [item for item in self.store.get(execution_id) if item.timestamp_nano == started_ns]
        row = row or self._index_row(execution_id, started_ns)
        return StoredExecution([*items, *([] if row is None else [row])])

    def close(self) -> None:
        """Release what the store holds."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _index_row(self, execution_id: str, started_ns: int) -> Item | None:
        for row in self.store.index(started_ns, started_ns):
            if read_summary(row).get("execution_id") == execution_id:
                return row
        return None

    def _window(
        self, since: str | datetime | timedelta | None, until: str | datetime | None
    ) -> Window:
        now = self._now_ns()
        bounds = getattr(self.store, "bounds", None)
        if since is None and bounds is not None:
            first, last = bounds() or (0, now)
            return Window(first, last if until is None else self._moment(until, now))
        begin = self._moment(_DEFAULT_SINCE if since is None else since, now)
        return Window(begin, now if until is None else self._moment(until, now))

    @staticmethod
    def _moment(moment: str | datetime | timedelta, now: int) -> int:
        if isinstance(moment, str):
            return parse_moment(moment, now)
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise UsageError(f"{moment} has no zone", "as in datetime.now(UTC)")
            ago = moment - datetime(1970, 1, 1, tzinfo=UTC)
            now = 0
        else:
            ago = -moment
        return max(0, now + (ago.days * 86_400 + ago.seconds) * 10**9 + ago.microseconds * 1_000)


def open_store(url: str | None = None, *, profile: str | None = None) -> Traces:
    """A store of executions, to read from.

    Parameters
    ----------
    url
        `sqlite:///path`, `dynamodb://Table?region=…`, or the name of an export (jsonl or parquet);
        None: what LAMBDATRACE_STORE says, else the default file.
    profile
        AWS's, for a DynamoDB table; None: what boto3 finds.

    Raises UsageError for what is none of these, StoreError where it cannot be opened.
    """
    from lambdatrace.store import open_target
    from lambdatrace.store.file import FileStore
    from lambdatrace.store.url import choose

    if url and "://" not in url:
        return Traces(FileStore(url))
    return Traces(open_target(choose(url, None, os.environ), profile))


def _frame(
    rows: Iterable[dict[str, Any]], types: dict[str, str], without: Sequence[str] = tuple(COMMON)
) -> pd.DataFrame:
    import pandas as pd

    names = [name for name in types if name not in without]
    frame = pd.DataFrame.from_records(
        [[row.get(name) for name in names] for row in rows], columns=names
    )
    for name in names:
        if types[name] == MOMENT:
            frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True)
    return frame


def _most_of_it(execution: Execution) -> str:
    share = execution.shares[0] if execution.shares else None
    return "" if share is None else f"{share.part} {share.subject}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["<table><thead><tr>", *(f"<th>{_text(head)}</th>" for head in heads), "</tr></thead>"]
    for row in rows:
        lines.append(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>")
    return "".join([*lines, "</table>"])


def _text(text: str) -> str:
    return escape(clean(text))
