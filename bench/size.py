"""What an execution takes in the store, against one item an event and JSON lines in a log.

A program makes requests on a few connections to servers of this process, under `lambdatrace run` at
both levels, with the real probe and the real packing. Write units are DynamoDB's rule applied to
each item (a kilobyte begun, names and keys included); tests/integration/store/test_size.py has the
engine itself meter such executions. The rivals hold the same events, decoded, as `show --output
jsonl` writes them: an item for each, with the same keys, and a line for each.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _harness import LAMBDATRACE, matrix

from lambdatrace import items
from lambdatrace.store import open_store
from lambdatrace.store.attributes import encode

# (level, connections, requests on each, bytes of an answer at most)
RUNS = (
    ("flows", 2, 4, 5_000),
    ("flows", 5, 5, 5_000),
    ("flows", 10, 3, 5_000),
    ("syscalls", 10, 25, 60_000),
)
CLIENT = """
import random, socket, sys, time
for place in sys.argv[2:]:
    host, port = place.split(":")
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(int(sys.argv[1])):
            connection.sendall(b"x" * random.randrange(100, 900))
            left = int.from_bytes(connection.recv(4), "big")
            while left:
                left -= len(connection.recv(left))
"""
COLUMNS = {
    "events": "events", "items": "items", "bytes": "bytes", "each": "B an event",
    "units": "write units", "ratio": "x lambdatrace",
}  # fmt: skip


def serve(server: socket.socket, most: int) -> None:
    """Answer each request after a moment: a length, and so many bytes."""
    while True:
        connection, _ = server.accept()
        with connection:
            while connection.recv(65_536):
                time.sleep(random.random() * 0.01)
                size = random.randrange(200, most)
                connection.sendall(size.to_bytes(4, "big") + b"y" * size)


def traced(folder: str, level: str, places: list[str], requests: int) -> str:
    """Run the client; returns the URL of a store with its execution."""
    store = f"sqlite://{folder}/{level}{len(places)}.db"
    client = Path(folder) / "client.py"  # a command line is stored, a script is not
    client.write_text(CLIENT)
    command = [sys.executable, str(client), str(requests), *places]
    subprocess.run(
        [LAMBDATRACE, "run", "--level", level, "--store", store, "--", *command],
        check=True, capture_output=True,
    )  # fmt: skip
    return store


def item_bytes(attributes: dict[str, dict[str, str]]) -> int:
    """An item's size as DynamoDB's developer guide counts it: names, and values by their type."""
    total = 0
    for name, typed in attributes.items():
        ((kind, value),) = typed.items()
        total += len(name)
        if kind == "N":
            total += len(value.strip("-.").rstrip("0")) // 2 + 2
        else:
            total += len(value) * 3 // 4 if kind == "B" else len(value.encode())
    return total


def units(sizes: list[int]) -> int:
    """Write units of items of these sizes."""
    return sum(-(-size // 1024) for size in sizes)


def rows(folder: str, level: str, connections: int, requests: int, most: int) -> dict[str, dict]:
    """One execution, three ways."""
    places = []
    for _ in range(connections):
        # Another address for each, as chance would have it.
        host = f"127.{random.randrange(1, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"
        server = socket.create_server((host, 0))
        places.append(f"{host}:{server.getsockname()[1]}")
        threading.Thread(target=serve, args=(server, most), daemon=True).start()
    store = traced(folder, level, places, requests)
    opened = open_store(store)
    now = time.time_ns()
    (row,) = opened.index(now - items.HOUR_NS, now)
    execution_id = items.read_summary(row)["execution_id"]
    packed = [item_bytes(encode(item)) for item in [*opened.get(execution_id), row]]
    opened.close()
    shown = subprocess.run(
        [LAMBDATRACE, "show", execution_id, "--store", store, "--output", "jsonl"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    events = [json.loads(line) for line in shown if '"record": "execution"' not in line]
    single = [
        item_bytes(
            {
                "ExecutionID": {"S": execution_id},
                "TimestampNano": {"N": str(row.timestamp_nano + number)},
                **{
                    name: {"N" if isinstance(value, (int, float)) else "S": str(value)}
                    for name, value in event.items()
                    if value is not None
                },
            }
        )
        for number, event in enumerate(events)
    ]
    label = f"{level}, {connections} connections"
    base = units(packed)
    return {
        f"{label}: lambdatrace": cells(len(events), packed, base, base),
        f"{label}: an item an event": cells(len(events), single, units(single), base),
        f"{label}: JSON lines": {
            "events": f"{len(events):,}",
            "bytes": f"{sum(map(len, shown)) + len(shown):,}",
            "each": f"{sum(map(len, shown)) / len(events):.0f}",
        },
    }


def cells(events: int, sizes: list[int], spent: int, base: int) -> dict[str, str]:
    """One row of the table."""
    return {
        "events": f"{events:,}", "items": f"{len(sizes):,}", "bytes": f"{sum(sizes):,}",
        "each": f"{sum(sizes) / events:.1f}", "units": f"{spent:,}", "ratio": f"{spent / base:.1f}",
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in RUNS:
            found |= rows(folder, *run)
    matrix("One execution in the store", COLUMNS, found)
    print()


if __name__ == "__main__":
    sys.exit(main())
