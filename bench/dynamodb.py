"""`top-destinations` from DynamoDB, against the bare parallel queries that it cannot do without.

AWS's own engine (DynamoDB Local) on this machine; BENCH_EXECUTIONS says how many executions it
holds (20,000 unless said otherwise: it keeps them in memory). The rival asks for the same pages,
those of the window and of the window before, with the same client and as many threads, and looks at
nothing in them. One that asks for the window alone is there to compare with.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from _harness import LAMBDATRACE, REPOSITORY, interleave, matrix
from _store import summaries

from lambdatrace.agent.writer import open_writer
from lambdatrace.items import summary_items
from lambdatrace.store import url as store_url
from lambdatrace.store.table import create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.items import Item

_COUNT = int(os.environ.get("BENCH_EXECUTIONS") or 20_000)
_HOURS = 23
_HOUR_NS = 3_600 * 1_000_000_000
_BATCH = 500  # items a write
_ROUNDS = 5
_AT_MOST = 1.3
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "AKIDLOCAL",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Its pages are those of DynamoStore.batches: every shard of every hour, to its end.
BARE = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from lambdatrace.items import index_buckets
from lambdatrace.store.dynamodb import _THREADS, connect
from lambdatrace.store.url import parse
url = parse(sys.argv[1], {})
client = connect(url)
def pages(name):
    start = {}
    while start is not None:
        answer = client.query(TableName=url.table, KeyConditionExpression="ExecutionID = :id",
            ExpressionAttributeValues={":id": {"S": name}},
            **({"ExclusiveStartKey": start} if start else {}))
        start = answer.get("LastEvaluatedKey")
now = time.time_ns()
with ThreadPoolExecutor(_THREADS) as pool:
    list(pool.map(pages, index_buckets(now - int(sys.argv[2]) * 3_600_000_000_000, now)))
"""


@contextmanager
def engine() -> Iterator[str]:
    """DynamoDB Local, in memory; its endpoint."""
    folder = REPOSITORY / ".tools" / "dynamodb"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["java", "-Djava.library.path=DynamoDBLocal_lib", "-Xmx2g", "-jar"]
    command += ["DynamoDBLocal.jar", "-inMemory", "-sharedDb", "-disableTelemetry", "-port"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*command, str(port)], cwd=folder, stdout=quiet, stderr=quiet)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def fill(url: str) -> None:
    """Write the executions as the agent does."""
    writer = open_writer(url, ENVIRON)
    batch: list[Item] = []
    for summary in summaries(_COUNT, time.time_ns(), _HOURS * _HOUR_NS, 1):
        batch += summary_items(summary, 0)
        if len(batch) >= _BATCH:
            _write(writer.write(batch, time.monotonic() + 60), writer.last_error)
            batch = []
    _write(writer.write(batch, time.monotonic() + 60), writer.last_error)
    writer.close()


def _write(left: int, error: str) -> None:
    if left:
        raise RuntimeError(error)


def timed(*command: str) -> float:
    """Wall clock of one run, s."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ENVIRON})
    return time.perf_counter() - began


def main() -> None:
    """Fill a table, read it both ways in turn, print the ratio."""
    os.environ.update(ENVIRON)
    with engine() as endpoint:
        url = f"dynamodb://Bench?region=eu-west-1&endpoint={endpoint}"
        create_table(store_url.parse(url, {}))
        fill(url)
        ours = (LAMBDATRACE, "top-destinations", "--since", "24h", "--store", url)
        found = interleave(
            _ROUNDS,
            {
                "the bare queries": lambda: timed(sys.executable, "-c", BARE, url, "48"),
                "those of the window alone": lambda: timed(sys.executable, "-c", BARE, url, "24"),
                "top-destinations": lambda: timed(*ours),
            },
        )
    medians = {name: statistics.median(times) for name, times in found.items()}
    base = medians["the bare queries"]
    rows = {
        name: {"wall": f"{median:.2f}", "ratio": f"{median / base:.2f}"}
        for name, median in medians.items()
    }
    rows["top-destinations"]["limit"] = f"{_AT_MOST}"
    columns = {"wall": "wall s", "ratio": "x the bare queries", "limit": "at most"}
    matrix(f"{_COUNT:,} executions from DynamoDB; medians", columns, rows)


if __name__ == "__main__":
    main()
