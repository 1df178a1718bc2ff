"""What the rows of a waterfall are and what became of them, in words: for every view of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.phases import connect_ns, handshake_ns, transfer_ns, wait_ns
from lambdatrace.analysis.waiting import SlowCalls
from lambdatrace.analysis.waterfall import End, Group, Row, Waterfall, is_unanswered
from lambdatrace.cli.views.outcomes import connection_outcome, lookup_answer
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    WARNING,
    counted,
    destination,
    duration,
    duration_words,
    process_text,
    safe,
    size,
)
from lambdatrace.model import Connection, CpuTime, Exchange, Namelookup, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class RowWords:
    """What is told of the rows of a waterfall beside their bars.

    `exchanges` are those of a connection, by its id, where they are known; `names` those of
    processes by id.
    """

    def __init__(
        self,
        waterfall: Waterfall,
        exchanges: Mapping[int, Sequence[Exchange]],
        names: Mapping[int, str],
    ) -> None:
        self._duration_ns = waterfall.duration_ns
        self._exchanges = exchanges
        self._names = names
        calls = [row.source for row in waterfall.rows if isinstance(row.source, SlowCalls)]
        alike = len({(each.op, each.path, each.fd) for each in calls}) < len(calls)
        # Which thread it was is told where nothing else tells two rows apart.
        self._tells_threads = alike
        owners = [
            row.source.process_id
            for row in waterfall.rows
            if isinstance(row.source, Namelookup | Connection | SlowCalls)
        ]
        self._tells_processes = len(set(owners)) > 1

    def process(self, row: Row) -> Text:
        """Whose it is; empty where all rows are one process's."""
        if not self._tells_processes or not isinstance(
            row.source, Namelookup | Connection | SlowCalls
        ):
            return Text()
        number = row.source.process_id
        own = row.source.process_name if isinstance(row.source, Connection) else None
        return process_text(own or self._names.get(number), number)

    def connect(self, row: Row) -> Text:
        """How long it tried to connect."""
        return _of_connection(row, connect_ns)

    def tls(self, row: Row) -> Text:
        """How long its TLS handshake took."""
        return _of_connection(row, handshake_ns)

    def wait(self, row: Row) -> Text:
        """How long it waited for answers."""
        if isinstance(row.source, Connection):
            return _or_blank(wait_ns(row.source, self._exchanges.get(row.source.id)))
        return _or_blank(row.source.wait_ns if isinstance(row.source, Exchange) else None)

    def transfer(self, row: Row) -> Text:
        """How long answers took from their first byte to their last."""
        if isinstance(row.source, Connection):
            return _or_blank(transfer_ns(row.source, self._exchanges.get(row.source.id)))
        return _or_blank(row.source.transfer_ns if isinstance(row.source, Exchange) else None)

    def result(self, row: Row) -> Text:
        """What became of it, in words."""
        match row.source:
            case Namelookup():
                return lookup_answer(row.source, row.end is not End.DONE)
            case Connection():
                return self._connection_result(row.source)
            case Exchange():
                return _exchange_result(row)
            case SlowCalls():
                return self._calls_result(row.source)
            case CpuTime():
                return self._cpu_result(row.source)
            case Group():
                return _group_result(row.source)

    def _connection_result(self, connection: Connection) -> Text:
        text = connection_outcome(connection)
        known = self._exchanges.get(connection.id, ())
        # Whoever closes a connection may not have wanted an answer; how a reset one ended is said.
        wanted = connection.outcome is Outcome.OPEN or connection.closed_by == "peer"
        if known and wanted and not connection.stale and is_unanswered(known[-1]):
            text.append(", not answered", style=WARNING)
        if connection.reused:
            text.append(", reused", style=DIM)
        if (connection.exchanges or 0) > 1:
            text.append(f", {connection.exchanges:,} exchanges", style=DIM)
        return text

    def _calls_result(self, calls: SlowCalls) -> Text:
        count = len(calls.calls)
        text = Text()
        if count > 1:
            text.append(f"{count:,} times, {duration_words(calls.longest_ns)} at most")
        if self._tells_threads:
            name = self._names.get(calls.process_id)
            text.append(", " if text else "")
            text.append_text(process_text(name, calls.process_id, calls.thread_id))
        return text

    def _cpu_result(self, cpu: CpuTime) -> Text:
        share = 100 * cpu.cpu_wall_ns / self._duration_ns
        text = Text("<1%" if 0 < share < 0.5 else f"{share:.0f}%")
        if cpu.runqueue_wall_ns:
            text.append(f", {duration_words(cpu.runqueue_wall_ns)} waiting for one")
        return text


def what(row: Row, *, with_bytes: bool) -> Text:
    """What a row is; `with_bytes` where an exchange has no others to be told by."""
    if row.note:
        return Text(row.note)
    match row.source:
        case Namelookup():
            return _lookup_name(row.source)
        case Connection():
            return _where(row.source)
        case Exchange():
            if not with_bytes:
                return Text("exchange", style=DIM)
            sizes = f"{size(row.source.bytes_out)} out, {size(row.source.bytes_in)} in"
            return Text(sizes, style=DIM)
        case SlowCalls():
            text = safe(row.source.op)
            if row.source.path is not None:
                text.append(" ").append_text(safe(row.source.path))
            elif row.source.fd is not None:
                text.append(f" fd {row.source.fd}", style=DIM)
            return text
        case CpuTime():
            return Text("on a CPU")
        case Group():
            return _group_name(row.source)


def _lookup_name(lookup: Namelookup) -> Text:
    return safe(lookup.name or ".").append(" ").append_text(safe(lookup.type, DIM))


def _where(connection: Connection) -> Text:
    return destination(connection.host, connection.address, connection.port, connection.protocol)


def _group_name(group: Group) -> Text:
    # Of as many others each is there once.
    text = Text(f"{group.count:,} times " if group.count != group.names else "", style="bold")
    match group.example:
        case Namelookup():
            return text.append_text(_lookup_name(group.example))
        case Connection():
            return text.append_text(_where(group.example))
    what = "names" if group.kind == "namelookup" else "destinations"
    return text.append(f"{group.names:,} other {what}")


def start(row: Row) -> Text:
    """When it began."""
    return Text() if isinstance(row.source, CpuTime) else duration(row.start_ns)


def took(row: Row) -> Text:
    """How long it was at something within the execution."""
    if not isinstance(row.source, Connection):
        return duration(row.took_ns)
    # What a connection was at is not always known, and one that was only looked at was gone some
    # time after the latest look that found it.
    known = duration(row.took_ns if row.stretches else None)
    at_least = row.source.sampled and row.stretches and row.end is not End.OPEN
    return Text("\N{GREATER-THAN OR EQUAL TO} ").append_text(known) if at_least else known


def _or_blank(ns: int | None) -> Text:
    return Text() if ns is None else duration(ns)


def _of_connection(row: Row, figure: Callable[[Connection], int | None]) -> Text:
    return _or_blank(figure(row.source) if isinstance(row.source, Connection) else None)


def bytes_out(row: Row) -> Text:
    """What it sent."""
    return _bytes(row, "bytes_out")


def bytes_in(row: Row) -> Text:
    """What it received."""
    return _bytes(row, "bytes_in")


def _bytes(row: Row, name: str) -> Text:
    source = row.source
    if not isinstance(source, Connection | Exchange | Group):
        return Text()
    if isinstance(source, Group) and source.kind != "connection":
        return Text()
    count: int | None = getattr(source, name)
    if isinstance(source, Connection):
        count = source.known(getattr(source, name))
    return safe(None) if count is None else size(count)


def _exchange_result(row: Row) -> Text:
    text = Text()
    if row.end is End.FAILED:
        text.append("unanswered", style=BAD)
    elif row.end is End.OPEN:
        text.append("not answered yet", style=WARNING)
    if isinstance(row.source, Exchange) and row.source.retransmits:
        text.append(", " if text else "")
        text.append(f"resent {row.source.retransmits}", style=WARNING)
    return text


def _group_result(group: Group) -> Text:
    text = Text()
    for words, count in group.troubles:
        text.append(", " if text else "").append_text(safe(f"{count:,} {words}", BAD))
    text.append(", " if text else "")
    return text.append(f"median {duration_words(group.median_ns)}")


def notes(
    waterfall: Waterfall,
    *,
    complete: bool,
    filtered: bool = False,
    lists: str = "--events lists them",
) -> list[str]:
    """What is not among the rows; `lists` says how the other waits can be had.

    `complete`: no connection of the execution is known to be missing. `filtered`: only those that
    pass a filter are there.
    """
    found = []
    if not waterfall.connections:
        unused = "no connections: this execution did not use the network"
        if waterfall.only_looked:
            unused = "no connections were seen: one between two looks is not"
        missing = "no connection passes the filter" if filtered else "no connections were kept"
        found.append(unused if complete else missing)
    if waterfall.carriers:
        numbers = [f"c{number}" for number in waterfall.carriers[:3]]
        more = len(waterfall.carriers) - len(numbers)
        numbers += [f"{more:,} more"] * bool(more)
        what = "sockets" if len(waterfall.carriers) > 1 else "socket"
        found.append(f"{_listed(numbers)}: {what} of the namelookups, not drawn")
    if waterfall.before:
        failed = f" ({waterfall.before_failed:,} failed)" if waterfall.before_failed else ""
        what = counted(waterfall.before, "connection")
        found.append(f"{what} that ended before this execution began{failed}: not drawn")
    if waterfall.calls_left_out:
        what = counted(waterfall.calls_left_out, "more wait")
        which = ", which hardly held it up" if waterfall.pauses_known else ""
        found.append(f"{what} in syscalls{which}: {lists}")
    return found


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]
