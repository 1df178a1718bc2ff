"""The summary of an execution: the few figures that are stored in clear (items.py lists them)."""

from __future__ import annotations

import resource
import time

from lambdatrace import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# With a dozen destinations a summary stays near 1 kB.
MAX_DESTINATIONS = 12
# More connect times than this are thinned to evenly spaced quantiles.
MAX_CONNECT_TIMES = 32

_TCP = 6
_PROTOCOLS = {_TCP: "tcp", 17: "udp"}
_DNS_PORT = 53
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


def destinations(
    connections: Sequence[wire.ConnectionRecord],
    hosts: Mapping[int, str],
    started: int,
    ended: int,
) -> tuple[list[list[Any]], int]:
    """(one row a destination as items.py describes it, how many more there were).

    `hosts` are names by connection id, `started` and `ended` the execution's (ns, records' clock).
    Connections that ended before the execution began count: they are its init, or its background.
    """
    rows: dict[tuple[str | None, str, int, str], list[Any]] = {}
    for record in connections:
        protocol = _PROTOCOLS.get(record.protocol, "tcp")
        host, address = hosts.get(record.id), wire.address_text(record.family, record.address)
        key = (host, address, record.port, protocol)
        row = rows.get(key)
        if row is None:
            row = rows[key] = [host, address, record.port, protocol, 0, 0, 0, 0, 0, []]
        row[4] += 1
        row[5] += 1 if is_failed(record) else 0
        row[6] += record.bytes_out
        row[7] += record.bytes_in
        row[8] += record.waited + record.transferred + _unanswered(record, started, ended)
        if not record.flags & wire.CONNECTION_REUSED:
            row[8] += max(0, (record.established or record.closed or ended) - record.started)
            if record.established:
                row[9].append(record.established - record.started)
    ordered = sorted(rows.values(), key=lambda row: -row[8])
    for row in ordered:
        row[9] = _thin(sorted(row[9]))
    return ordered[:MAX_DESTINATIONS], max(0, len(ordered) - MAX_DESTINATIONS)


def is_failed(record: wire.ConnectionRecord) -> bool:
    """Whether something went wrong with a connection."""
    return bool(record.error or record.flags & wire.CONNECTION_ABANDONED)


def lost_since(before: Sequence[int], now: Sequence[int]) -> dict[str, int]:
    """Kernel counters that rose, by name."""
    risen = {
        name: later - earlier
        for name, earlier, later in zip(wire.COUNTERS, before, now, strict=True)
    }
    return {name: count for name, count in risen.items() if count > 0}


def _unanswered(record: wire.ConnectionRecord, started: int, ended: int) -> int:
    """How long (ns) the last request waited in vain; the kernel sums up answered ones only."""
    awaits = record.protocol == _TCP or record.port == _DNS_PORT
    if not awaits or record.last_out <= record.last_in:
        return 0
    return max(0, (record.closed or ended) - max(started, record.last_out))


def _thin(values: list[int]) -> list[int]:
    if len(values) <= MAX_CONNECT_TIMES:
        return values
    last = len(values) - 1
    return [values[round(i * last / (MAX_CONNECT_TIMES - 1))] for i in range(MAX_CONNECT_TIMES)]
