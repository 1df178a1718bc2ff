"""The referee: everything a trace says of times and retransmits, beside what passed the wire.

A duration is right within 5 % or 0.3 ms, whichever is more; a count is right or not. Answers are
traced when they are read. If the kernel's log shows that the program did wait when the packet came,
and was kept waiting all the same, the trace has to tell what the log tells.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from support_calls import Calls
    from support_wire import Exchange, Flow, Query

SHARE, LEAST_MS = 0.05, 0.3
# What may lie between a program at a tracepoint and the kernel's log of the same moment, twice.
_LOG_MS = 0.15
Row = dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """One thing that wire and trace both tell; None: it did not happen, or is not there."""

    what: str  # "connect time", "DNS delay" and "wait" are in ms, everything else is a count
    where: str
    wire: float | str | None
    trace: float | str | None
    log: float | None = None  # what the kernel's log tells of a program that did wait, ms

    @property
    def off(self) -> float:
        """How far the trace is from the wire; infinite if only one of them knows."""
        if self.wire == self.trace:
            return 0.0
        if isinstance(self.wire, float) and isinstance(self.trace, float):
            return abs(self.trace - self.wire)
        return float("inf")

    @property
    def is_exact(self) -> bool:
        """Whether the trace tells what passed the wire."""
        if isinstance(self.wire, float):
            return self.off <= max(LEAST_MS, SHARE * self.wire)
        return self.off == 0

    @property
    def agrees(self) -> bool:
        """Whether it does, or the kernel's log says that this is not the probe's doing."""
        if self.is_exact or self.log is None or not isinstance(self.trace, float):
            return self.is_exact
        return abs(self.trace - self.log) <= _LOG_MS


def compared(
    flows: Iterable[Flow],
    queries: Iterable[Query],
    document: Row,
    secure: Mapping[int, tuple[str, int]],
    log: Calls,
) -> list[Compared]:
    """All of a capture beside all of a trace (`show --output json`).

    `secure`: ports of TLS -> its version, and how many tickets the server sends.
    """
    exchanges = defaultdict(list)
    for row in document["exchanges"]:
        exchanges[row["connection_id"]].append(row)
    waiting = defaultdict(list)
    for row in document["connections"]:
        if row["protocol"] == "tcp":
            waiting[row["local_port"], row["port"], row["address"]].append(row)
    found: list[Compared] = []
    for flow in flows:
        where = f"{flow.near[0]}:{flow.near[1]} > {flow.far[0]}:{flow.far[1]}"
        # A connect that was given up may lack its local port in the trace: it hangs on which of two
        # programs is attached first. Each of these has a far port of its own.
        rows = waiting[flow.near[1], flow.far[1], flow.far[0]]
        rows = rows or waiting[None, flow.far[1], flow.far[0]]
        found.append(Compared("connection", where, 1, min(1, len(rows))))
        if rows:
            row = rows.pop(0)
            found += _connection(where, flow, row)
            told = flow.exchanges(*secure.get(flow.far[1], ()))
            found += _exchanges(where, told, exchanges[row["id"]], row, log)
    for left in waiting.values():
        found += [Compared("connection", f"{row['address']}:{row['port']}", 0, 1) for row in left]
    by_id = {row["id"]: row for row in document["connections"]}
    found += _queries(queries, document["namelookups"], by_id, log)
    return found


def _connection(where: str, flow: Flow, row: Row) -> Iterator[Compared]:
    before = flow.retransmits - flow.retransmits_when_closed
    yield Compared("retransmits", where, before, row["retransmits"])
    yield Compared("retransmits to the end", where, flow.retransmits, row["retransmits"])
    yield Compared("connect time", where, _ms(flow.syn, flow.syn_ack), row["connect_ms"])
    yield Compared("refusals", where, int(flow.refused), int(row["outcome"] == "refused"))


def _exchanges(
    where: str, told: list[Exchange], rows: list[Row], connection: Row, log: Calls
) -> Iterator[Compared]:
    yield Compared("exchanges", where, len(told), len(rows))
    for number, (exchange, row) in enumerate(zip(told, rows, strict=False), 1):
        which = f"exchange {number} of {len(told)} of {where}"
        wait = Compared("wait", which, _ms(*exchange), row["wait_ms"])
        yield _with_log(wait, log, connection, *exchange, whole=False)


def _with_log(
    found: Compared,
    log: Calls,
    connection: Row | None,
    sent: int,
    answered: int | None,
    whole: bool,
) -> Compared:
    if found.is_exact or connection is None or answered is None:
        return found
    told = log.waited(connection["thread_id"], connection["fd"], sent, answered, whole)
    return replace(found, log=told)


def _queries(
    queries: Iterable[Query], rows: list[Row], by_id: Mapping[int, Row], log: Calls
) -> Iterator[Compared]:
    waiting = defaultdict(list)
    for row in rows:
        waiting[row["name"], row["type"]].append(row)
    for query in queries:
        where = f"{query.type} {query.name}"
        found = waiting[query.name, query.type]
        yield Compared("query", where, 1, min(1, len(found)))
        if found:
            row = found.pop(0)
            yield Compared("attempts", where, query.attempts, row["attempts"])
            yield Compared("answer", where, query.answer, row["answer"])
            span = (query.started, query.answered)
            delay = Compared("DNS delay", where, _ms(*span), row["duration_ms"])
            yield _with_log(delay, log, by_id.get(row["connection_id"]), *span, whole=True)
    for (name, kind), left in waiting.items():
        yield from [Compared("query", f"{kind} {name}", 0, 1)] * len(left)


def _ms(begin: int, end: int | None) -> float | None:
    return None if end is None else (end - begin) / 1e6


def summary(found: Iterable[Compared]) -> str:
    """How much was compared, how far off it was, and where a program was kept waiting."""
    offs = defaultdict(list)
    late = []
    for each in found:
        if each.is_exact or not each.agrees:
            offs[each.what].append(each.off)
        else:
            late.append(f"kept waiting: {each}")
    lines = [
        f"{what}: {len(off)} compared, off by {sorted(off)[len(off) // 2]:.3f} (median),"
        f" {max(off):.3f} (most)"
        for what, off in offs.items()
    ]
    return "\n".join([*lines, *late])
