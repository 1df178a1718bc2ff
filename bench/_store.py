"""A store of very many executions: made up, packed as the agent packs them."""

from __future__ import annotations

import random
import time
import uuid
from typing import TYPE_CHECKING, Any

from lambdatrace.items import summary_items
from lambdatrace.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.items import Item

_MS = 1_000_000
_BATCH = 2_000  # items a transaction
# (host, port, connections, requests on each, ms until an answer)
_DESTINATIONS = (
    ("dynamodb.eu-west-1.amazonaws.com", 443, 1, 4, 6.0),
    ("api.partner.example", 443, 1, 1, 120.0),
    ("169.254.78.1", 53, 2, 1, 0.8),
)


def fill(path: str, count: int, until_ns: int, span_ns: int, seed: int = 1) -> None:
    """Write `count` executions of three functions, begun evenly over `span_ns` before `until_ns`.

    Only summaries and index rows: commands over windows read nothing else.
    """
    store = SqliteStore(path)
    batch: list[Item] = []
    for summary in summaries(count, until_ns, span_ns, seed):
        batch += summary_items(summary, 0)
        if len(batch) >= _BATCH:
            _write(store, batch)
            batch = []
    _write(store, batch)
    store.close()


def write(path: str, items: list[Item]) -> None:
    """Write items to the store in a file."""
    store = SqliteStore(path)
    _write(store, items)
    store.close()


def _write(store: SqliteStore, batch: list[Item]) -> None:
    if batch and store.write(batch, time.monotonic() + 60):
        raise RuntimeError(store.last_error)


def summaries(count: int, until_ns: int, span_ns: int, seed: int) -> Iterator[dict[str, Any]]:
    """Summaries as agent/recorder.py makes them, of a usual execution with three destinations."""
    generator = random.Random(seed)
    for number in range(count):
        rows = [_destination(generator, *each) for each in _DESTINATIONS]
        waited = sum(row[8] for row in rows)
        cpu = round(generator.uniform(4, 12) * _MS)
        duration = waited + cpu
        partition = [rows[2][8], rows[1][9][0], 3 * _MS, waited, 0, 0, 0, 0, cpu, 0, None, 0]
        yield {
            "execution_id": str(uuid.UUID(int=generator.getrandbits(128), version=4)),
            "function": ("checkout", "thumbnails", "import-orders")[number % 3],
            "version": "$LATEST",
            "started_ns": until_ns - (number + 1) * span_ns // count,
            "monotonic_ns": 9_000_000_000_000 + number * 1_234_567,
            "duration_ns": duration,
            "status": "error" if number % 97 == 0 else "ok",
            "cold_start": number % 50 == 0,
            "backend": "ebpf",
            "level": "flows",
            "edges": "kernel",
            "memory_mb": 512,
            "command": None,
            "exit_code": None,
            "connections": 4,
            "errors": int(number % 97 == 0),
            "dropped": {},
            "folded": {},
            "capture": ["dns", "tls", "exchanges", "cpu", "blocked", "processes"],
            "unavailable": {},
            "unseen": [],
            "cpu": [cpu, cpu, 90_000, 70_000],
            "steal_ns": 0,
            "major_faults": 0,
            "ending": None,
            "agent": {
                "cpu_ns": generator.randrange(_MS), "peak_bytes": 18_000_000,
                "after_ns": generator.randrange(9 * _MS), "sent_bytes": 3_210, "write_units": 3,
                "flushes": 1, "retries": 0, "spooled": 0, "drained": 0,
            },
            "partition": partition,
            "shares": [["wait", f"{row[0] or row[1]}:{row[2]}", row[8]] for row in rows],
            "kept": True,
            "keep": "all",
            "destinations": rows,
            "destinations_left_out": 0,
            "chunks": 0,
        }  # fmt: skip


def _destination(
    generator: random.Random, host: str, port: int, connections: int, requests: int, wait_ms: float
) -> list[Any]:
    waits = sorted(
        round(generator.lognormvariate(0, 0.4) * wait_ms * 1_000)
        for _ in range(connections * requests)
    )
    is_name = not host[0].isdigit()
    connects = sorted(generator.randrange(300_000, 4_000_000) for _ in range(connections))
    reused = int(port == 443 and requests > 1 and generator.random() < 0.8)
    time_ns = sum(waits) * 1_000 + (0 if reused else sum(connects))
    row = [
        host if is_name else None,
        f"10.0.{generator.randrange(4)}.{port % 250}" if is_name else host,
        port,
        "udp" if port == 53 else "tcp",
        connections,
        int(generator.random() < 0.001),
        generator.randrange(300, 3_000),
        generator.randrange(500, 60_000),
        time_ns,
        [] if reused else connects,
        reused,
        len(waits),
        waits,
        [generator.randrange(4_000, 30_000)] if port == 443 and not reused else [],
        [generator.randrange(300, 3_000)] if is_name and not reused else [],
    ]
    while not row[-1]:
        row.pop()
    return row
