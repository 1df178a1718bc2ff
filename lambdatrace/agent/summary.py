"""The summary of an execution: the few figures that are stored in clear (items.py lists them)."""

from __future__ import annotations

import resource
import time

from lambdatrace import wire
from lambdatrace.agent.machine import process_cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace.agent.attribution import Cut
    from lambdatrace.agent.names import Lookup

# With a dozen destinations a summary stays near 1 kB.
MAX_DESTINATIONS = 12
# More connect times than this are thinned to evenly spaced quantiles.
MAX_CONNECT_TIMES = 32
# And more waits, handshakes and namelookups than this, which are more and matter less each.
MAX_OTHER_TIMES = 8

_PROTOCOLS = {wire.PROTOCOL_TCP: "tcp", wire.PROTOCOL_UDP: "udp"}
_DNS_PORT = 53
# Where in a row of `destinations` what stands (items.py).
_CONNECT, _REUSED, _REQUESTS, _WAIT, _TLS, _DNS = range(9, 15)
_DAY_S = 86_400


def clock_offset() -> int:
    """Wall clock minus the records' clock, ns. Taken anew for each execution: a frozen or restored
    environment's clocks part.
    """
    return time.time_ns() - time.monotonic_ns()


def expires_at(ttl_days: int) -> int:
    """When an item written now may go, s since the epoch."""
    return int(time.time()) + ttl_days * _DAY_S


def own_cost() -> tuple[int, int]:
    """(CPU time in ns, peak memory in bytes) of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.process_time_ns(), usage.ru_maxrss * 1024


def cpu_of(process_id: int) -> int:
    """CPU time (ns) of another process so far; 0 where it cannot be asked for."""
    return process_cpu(process_id) or 0


def destinations(
    connections: Sequence[wire.ConnectionRecord],
    hosts: Mapping[int, str],
    started: int,
    ended: int,
    exchanges: Sequence[wire.ExchangeRecord] = (),
    lookups: Sequence[Lookup] = (),
) -> tuple[list[list[Any]], int]:
    """(one row a destination as items.py describes it, how many more there were).

    `hosts` are names by connection id, `started` and `ended` the execution's (ns, records' clock).
    Connections that ended before the execution began count: they are its init, or its background.
    What `exchanges` do not tell of a connection, its own sums do.
    """
    rows: dict[tuple[str | None, str, int, str], list[Any]] = {}
    waits: dict[int, list[int]] = {}
    answerless = {record.id: record.closed or ended for record in connections}
    for exchange in exchanges:
        if exchange.first_out and exchange.connection in answerless:
            answered = exchange.first_in or answerless[exchange.connection]
            waited = answered - max(exchange.last_out, 0 if exchange.first_in else started)
            waits.setdefault(exchange.connection, []).append(max(0, waited))
    for record in connections:
        protocol = _PROTOCOLS.get(record.protocol, "tcp")
        host, address = hosts.get(record.id), wire.address_text(record.family, record.address)
        key = (host, address, record.port, protocol)
        row = rows.get(key)
        if row is None:
            row = rows[key] = [
                host, address, record.port, protocol, 0, 0, 0, 0, 0, [], 0, 0, [], [], [],
            ]  # fmt: skip
        row[4] += 1
        row[5] += 1 if is_failed(record) else 0
        row[6] += record.bytes_out
        row[7] += record.bytes_in
        sampled = bool(record.flags & wire.SAMPLED_CONNECTION)
        if sampled and record.closed:
            # Gone between two looks: what it waited for until then is not known.
            row[_REUSED] += bool(record.flags & wire.CONNECTION_REUSED)
            continue
        unanswered = _unanswered(record, started, ended)
        row[8] += record.waited + record.transferred + unanswered
        if record.id in waits:
            row[_WAIT] += waits[record.id]
        elif (record.waited or unanswered) and not record.tls_started:
            row[_WAIT].append(record.waited + unanswered)
        if record.flags & wire.CONNECTION_REUSED:
            row[_REUSED] += 1
            continue
        row[8] += max(0, (record.established or record.closed or ended) - record.started)
        if record.established and record.established >= record.started + sampled:
            row[_CONNECT].append(record.established - record.started)
        if record.tls_ended:
            row[_TLS].append(record.tls_ended - record.tls_started)
    ordered = sorted(rows.values(), key=lambda row: -row[8])[:MAX_DESTINATIONS]
    names: dict[str, list[int]] = {}
    for lookup in lookups:
        spent = (lookup.answered or ended) - lookup.started
        names.setdefault(lookup.name, []).append(max(0, spent))
    for row in ordered:
        # Of the destinations of one name, that with the most time is told what looking it up took.
        row[_DNS] = names.pop(row[0], [])
        row[_REQUESTS] = len(row[_WAIT])
        row[_CONNECT] = _thin(sorted(row[_CONNECT]), MAX_CONNECT_TIMES)
        for times in (_WAIT, _TLS, _DNS):
            row[times] = _thin(sorted(ns // 1_000 for ns in row[times]), MAX_OTHER_TIMES)
        while len(row) > _CONNECT + 1 and not row[-1]:
            row.pop()
    return ordered, max(0, len(rows) - MAX_DESTINATIONS)


def is_failed(record: wire.ConnectionRecord) -> bool:
    """Whether something went wrong with a connection."""
    return bool(record.error or record.flags & wire.CONNECTION_ABANDONED)


def cpu(before: wire.EdgeRecord | None, after: wire.EdgeRecord | None) -> list[int] | None:
    """[CPU, wall time with CPU, run queue, wall time in it] between two edges (ns).

    Without `before`, since the branch began; None where nothing is known.
    """
    if after is None or after.flags & wire.UNSEEN_CPU:
        return None
    names = ("cpu", "cpu_wall", "runqueue", "runqueue_wall")
    return [_risen(name, before, after) for name in names]


_IDLE = tuple(f"idle_{name}" for name in wire.WAITS[wire.WAITS_NETWORK : wire.WAITS_FAULT + 1])


def idle(before: wire.EdgeRecord | None, after: wire.EdgeRecord) -> list[int]:
    """How long all threads were asleep between two edges, by WAITS_* (ns); 0 for WAITS_OTHER."""
    return [0] + [_risen(name, before, after) for name in _IDLE]


def folded(before: wire.EdgeRecord | None, after: wire.EdgeRecord | None) -> dict[str, int]:
    """How many records of a kind were counted instead of written, between two edges."""
    if after is None:
        return {}
    counts = {
        "exchanges": _risen("folded_exchanges", before, after),
        "blocked": _risen("folded_blocked", before, after),
        "texts": _risen("folded_texts", before, after),
        "pauses": _risen("folded_pauses", before, after),
    }
    return {kind: count for kind, count in counts.items() if count}


def unseen(figures: wire.EdgeRecord | None) -> list[str]:
    """What the branch has used that the probe cannot see into."""
    return ["io_uring"] if figures is not None and figures.flags & wire.UNSEEN_IO_URING else []


def ending(cut: Cut) -> list[int] | None:
    """[exit code, signal, out of memory] of the execution's own process; None: it goes on."""
    edge = cut.own_end()
    return None if edge is None or edge.flags & wire.ENDING_UNKNOWN else _ending(edge)


def process_row(edge: wire.EdgeRecord) -> list[Any]:
    """A process that ended, as items.py describes it."""
    name = edge.text.split(b"\0", 1)[0].decode("utf-8", "replace")
    return [edge.tgid, edge.parent, name, edge.born, edge.time, *_ending(edge)]


def _ending(edge: wire.EdgeRecord) -> list[int]:
    return [
        edge.exit_code,
        edge.flags & wire.ENDING_SIGNAL,
        int(bool(edge.flags & wire.ENDING_OUT_OF_MEMORY)),
    ]


def _risen(name: str, before: wire.EdgeRecord | None, after: wire.EdgeRecord) -> int:
    then: int = 0 if before is None else getattr(before, name)
    now: int = getattr(after, name)
    return max(0, now - then)


def lost_since(before: Sequence[int], now: Sequence[int]) -> dict[str, int]:
    """Kernel counters that rose, by name."""
    risen = {
        name: later - earlier
        for name, earlier, later in zip(wire.COUNTERS, before, now, strict=True)
    }
    return {name: count for name, count in risen.items() if count > 0}


def _unanswered(record: wire.ConnectionRecord, started: int, ended: int) -> int:
    """How long (ns) the last request waited in vain; the kernel sums up answered ones only."""
    awaits = record.protocol == wire.PROTOCOL_TCP or record.port == _DNS_PORT
    if not awaits or record.last_out <= record.last_in:
        return 0
    return max(0, (record.closed or ended) - max(started, record.last_out))


def _thin(values: list[int], most: int) -> list[int]:
    if len(values) <= most:
        return values
    last = len(values) - 1
    return [values[round(i * last / (most - 1))] for i in range(most)]
