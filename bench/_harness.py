"""What the benchmarks share: interleaved rounds, medians, and tables with ratios.

Absolute figures belong to the machine they were measured on; the ratio to a rival in the same run
is what travels. BENCH_ROUNDS in the environment says how many rounds to make instead of the
benchmark's own number.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REPOSITORY = Path(__file__).resolve().parents[1]
BCC_PYTHON = os.environ.get("BCC_PYTHON", "/usr/bin/python3")
LAMBDATRACE = str(Path(sys.executable).with_name("lambdatrace"))
WIDTH = 124  # of a matrix, characters

Result = TypeVar("Result")

# BPF_PROG_TYPE_KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, TRACING (include/uapi/linux/bpf.h)
_TRACING = frozenset({2, 5, 7, 17, 26})
_SETTLE_S = 3


def interleave(rounds: int, cases: Mapping[str, Callable[[], Result]]) -> dict[str, list[Result]]:
    """Run every case once a round, in turn, so that a busy moment of the machine hits all."""
    rounds = int(os.environ.get("BENCH_ROUNDS") or rounds)
    found: dict[str, list[Result]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            _progress(f"  round {number + 1}/{rounds}: {name:<40}")
            found[name].append(case())
    _progress(" " * 72)
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="\r", file=sys.stderr, flush=True)


def report(
    title: str,
    unit: str,
    found: dict[str, list[float]],
    against: str,
    best: Callable[[list[float]], float] = min,
) -> None:
    """Print median, best and the ratio of medians to the case named `against`.

    `best` is `max` of what is the better the more there is of it.
    """
    base = statistics.median(found[against])
    table = Table(title=title, title_justify="left")
    table.add_column("case")
    for column in (f"median {unit}", f"best {unit}", f"x {against}"):
        table.add_column(column, justify="right")
    for name, values in found.items():
        middle = statistics.median(values)
        table.add_row(name, f"{middle:.3g}", f"{best(values):.3g}", f"{middle / base:.3g}")
    Console(width=100).print(table)


def matrix(title: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, str]]) -> None:
    """Print a table of texts: `columns` are {key: heading}, a row may leave some out."""
    table = Table(title=title, title_justify="left")
    table.add_column("case", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *(cells.get(key, "-") for key in columns))
    Console(width=WIDTH).print(table)


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, ns: of all its threads, also of those that have ended.

    /proc/PID/schedstat has the first thread's alone, /proc/PID/stat counts in ticks of 10 ms.
    """
    # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of include/linux/posix-timers_types.h
    return time.clock_gettime_ns((~pid << 3) | 2)


def compile_c(folder: str, name: str, *options: str) -> str:
    """The program `name`.c beside this file, compiled into `folder`."""
    program = f"{folder}/{name}"
    source = Path(__file__).with_name(f"{name}.c")
    words = ["-O2", "-Wall", "-pthread", *options, "-o", program, str(source)]
    subprocess.run([os.environ.get("CC", "cc"), *words], check=True)
    return program


def settled() -> set[str]:
    """Wait until no program that traces is loaded; returns the names of those that stay.

    A probe detaches in its own time after its command has ended, and until then costs every
    process of the machine something. Those that stay are somebody else's.
    """
    until = time.monotonic() + _SETTLE_S
    while (loaded := _tracing_programs()) and time.monotonic() < until:
        time.sleep(0.05)
    return loaded


def _tracing_programs() -> set[str]:
    try:
        library = ctypes.CDLL("libbpf.so.1")
    except OSError:
        # Nobody to ask: as long as detaching usually takes.
        time.sleep(1)
        return set()
    number = ctypes.c_uint32(0)
    found = set()
    while library.bpf_prog_get_next_id(number, ctypes.byref(number)) == 0:
        fd = library.bpf_prog_get_fd_by_id(number)
        if fd < 0:
            continue
        # struct bpf_prog_info: the type comes first, the name at byte 64.
        info = ctypes.create_string_buffer(80)
        length = ctypes.c_uint32(len(info))
        if library.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)) == 0:
            kind = int.from_bytes(info.raw[:4], sys.byteorder)
            if kind in _TRACING:
                found.add(info.raw[64:].split(b"\0")[0].decode())
        os.close(fd)
    return found
