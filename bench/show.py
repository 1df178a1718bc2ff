"""How long `lambdatrace show` takes, against importing what it draws with.

Executions are made up, packed as the agent packs them and kept in SQLite: a usual one, and one of
100,000 records, of every kind the agent keeps. Then such of 100,000 records of one kind each, and
the parts of the large one, in this process: what dominates.
"""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from _harness import LAMBDATRACE, interleave, report
from _usual import traces, usual

from lambdatrace.analysis.phases import told_apart
from lambdatrace.analysis.trace import read_records, without_syscalls
from lambdatrace.analysis.waterfall import waterfall
from lambdatrace.cli.environment import Environment
from lambdatrace.cli.views.execution import execution_view
from lambdatrace.cli.views.partition import PartitionView
from lambdatrace.cli.views.waterfall import WaterfallView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from lambdatrace.items import Item

ROUNDS = 15
# The agent keeps 16,384 records of a kind (attribution.py); the rest are syscalls.
OF_A_KIND = 16_384
ALL = 100_000
SYSCALLS = ALL - 4 * OF_A_KIND
USUAL, LARGE = "usual", "large"
LASTED_MS = OF_A_KIND / 10  # from the first of a kind to the last
PARTITION = [0, 0, 0, 700 * traces.MS, 0, 700 * traces.MS, 0, 0, 600 * traces.MS, 0, 0, 0]


def large() -> list[Item]:
    """100,000 records: as many as are kept of each kind, and syscalls."""
    return traces.execution(
        connections(OF_A_KIND),
        syscalls(SYSCALLS),
        exchanges=exchanges(OF_A_KIND, OF_A_KIND),
        blocked=blocked(OF_A_KIND),
        pauses=pauses(OF_A_KIND),
        partition=PARTITION,
        level="syscalls",
        execution_id=LARGE,
    )


def of_one_kind() -> dict[str, list[Item]]:
    """Executions of 100,000 records of one kind, more than the agent keeps of most."""
    return {
        "connections": traces.execution(connections(ALL), **_called("connections")),
        # They are some connections'.
        "exchanges": traces.execution(
            connections(50), exchanges=exchanges(ALL, 50), **_called("exchanges")
        ),
        "waits": traces.execution(blocked=blocked(ALL), **_called("waits")),
        "pauses": traces.execution(pauses=pauses(ALL), **_called("pauses")),
        "syscalls": traces.execution((), syscalls(ALL), **_called("syscalls")),
    }


def _called(name: str) -> dict[str, Any]:
    return {"execution_id": name, "partition": PARTITION}


def connections(count: int) -> list[bytes]:
    """So many, to 1,400 destinations."""
    step = LASTED_MS / count
    return [
        traces.connection(n + 1, f"10.0.{n % 7}.{n % 200}", started=n * step,
                          established=n * step + 1, first_out=n * step + 1,
                          first_in=n * step + 5, closed=n * step + 6, bytes_out=90,
                          bytes_in=900, error=111 if n % 999 == 0 else 0)
        for n in range(count)
    ]  # fmt: skip


def exchanges(count: int, of: int) -> list[bytes]:
    """So many, on so many connections."""
    step = LASTED_MS / count
    return [
        traces.exchange(
            n % of + 1, first_out=n * step + 1, first_in=n * step + 5, last_in=n * step + 5
        )
        for n in range(count)
    ]


def blocked(count: int) -> list[bytes]:
    """So many waits for 99 files."""
    step = LASTED_MS / count
    return [
        traces.blocked(
            "fsync", started=n * step, ended=(n + 0.9) * step, path=b"/tmp/%d" % (n % 99)
        )
        for n in range(count)
    ]


def pauses(count: int) -> list[bytes]:
    """So many, for a file and the network in turn."""
    step = LASTED_MS / count
    return [
        traces.pause("file" if n % 2 else "network", started=n * step, ended=(n + 0.9) * step,
                     op="fsync" if n % 2 else "recvfrom")
        for n in range(count)
    ]  # fmt: skip


def syscalls(count: int) -> list[bytes]:
    """So many, of one name."""
    return [traces.syscall("recvfrom", started=n / 30, result=9) for n in range(count)]


def seconds(*command: str) -> float:
    """How long a command takes from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def timed(work: Callable[[], object]) -> float:
    """How long a call takes, s."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def parts(items: list[Item]) -> dict[str, Callable[[], float]]:
    """The steps of `show`, each timed with what it needs done before."""
    records = read_records(items)
    trace = without_syscalls(records)
    exchanges = told_apart(trace.connections, trace.exchanges, whole=True)
    found = waterfall(trace, exchanges)

    def draw() -> None:
        Environment(stdout=io.StringIO(), environ={}, width=120).draw(
            execution_view(trace.execution),
            PartitionView(trace.execution, trace.pauses),
            WaterfallView(found, exchanges, {}),
        )

    return {
        "unpack": lambda: timed(lambda: read_records(items)),
        "decode records": lambda: timed(lambda: without_syscalls(records)),
        "rows of the waterfall": lambda: timed(lambda: waterfall(trace, exchanges)),
        "draw": lambda: timed(draw),
    }


def main() -> None:
    """Print times and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        items = {USUAL: usual(execution_id=USUAL), LARGE: large()}
        kinds = of_one_kind()
        store = traces.write(_path(folder), *items.values(), *kinds.values())
        imports = "import typer, rich.console, rich.table, rich.text"
        shows = {
            f"show, {name} execution": (LAMBDATRACE, "show", name, "--store", store)
            for name in items
        }
        cases = {
            "import typer, rich": lambda: seconds(sys.executable, "-c", imports),
            **{
                title: (lambda command=command: seconds(*command))
                for title, command in shows.items()
            },
            "show --events, usual execution": lambda: seconds(
                LAMBDATRACE, "show", USUAL, "--events", "--store", store
            ),
        }
        report("lambdatrace show, s", "s", interleave(ROUNDS, cases), "import typer, rich")
        shows = {
            f"show, 100,000 {name}": (lambda name=name: seconds(
                LAMBDATRACE, "show", name, "--store", store
            ))
            for name in kinds
        }  # fmt: skip
        found = interleave(ROUNDS // 2, shows)
        report("of one kind of record, s", "s", found, "show, 100,000 syscalls")
        gc.disable()  # as `show` does
        steps = interleave(ROUNDS // 3, parts(items[LARGE]))
        report("of the execution with 100,000 records, s", "s", steps, "decode records")


def _path(folder: str) -> Path:
    from pathlib import Path

    return Path(folder) / "store.db"


if __name__ == "__main__":
    main()
