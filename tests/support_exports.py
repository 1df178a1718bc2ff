"""Executions of many kinds, and a store with them: what has to come through every form."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import support_traces as traces
from support_cli import NOW_NS

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.items import Item

MS = traces.MS
S = 1_000 * MS

# What somebody may have called a host, a process, a file, a function.
HOSTILE = {
    "quotes": "\"double\" 'single' `back`",
    "markup": "[bold red]x[/] <b>&amp;</b> </td>",
    "script": "</script><script>alert(1)</script><!--",
    "formula": "=cmd|' /C calc'!A0",
    "plus": "+1+1",
    "at": "@SUM(1)",
    "minus": "-2+3",
    "tab": "\t=1",
    "carriage return": "\r=1",
    "controls": "\x1b]0;title\x07\x1b[31mred\x00\x01\x7f\x9b",
    "lines": "one\ntwo\r\nthree\u2028four",
    "bidi": "\u202egnp.exe\u2066",
    "replacement": "\ufffd\ufffd",
    "surrogates": "\udc80\udcff",
    "astral": "\U0001f600 \U000e0041",
    "json": '{"record": "end"}\\',
    "csv": 'a,b;"c"\n"d"',
}


def kinds() -> dict[str, list[Item]]:
    """An execution of each kind, a minute apart, by what it is."""
    made = {
        "plain": _execution(0),
        "everything": everything(1),
        "without records": _execution(2, kept=False, keep="slow"),
        "syscalls": _execution(
            3,
            traces.pipeline(),
            [
                traces.syscall(op, started=start, duration=0.25, result=result)
                for start, op, result in ((9, "recvfrom", -11), (3, "sendto", 31), (5, "read", 0))
                for _ in range(3)
            ],
            level="syscalls",
        ),
        "chunks": _execution(
            4, [traces.connection(n, started=n / 10, closed=n / 5) for n in range(1, 601)]
        ),
        "retry": _execution(5, traces.pipeline(), execution_id=_id(1)),
        "failed": _execution(
            6, traces.pipeline(), status="crash", in_init=True, ending=[0, 9, 1],
            dropped={"events": 3}, folded={"exchanges": 7}, unavailable={"blocked": "no such"},
            unseen=["io_uring"], cpu=None, partition=None,
        ),
    }  # fmt: skip
    for number in range(12):
        made[f"usual {number}"] = _execution(
            20 + number, partition=traces.partition(2_000, wait=100 + number, cpu=20)
        )
    return made


def everything(number: int, name: str = "api.partner.example", **changes: object) -> list[Item]:
    """An execution with records of all kinds, all of whose texts are `name`."""
    raw = name.encode("utf-8", "surrogateescape")
    return _execution(
        number,
        [*traces.pipeline(), traces.connection(6, started=5, comm=raw[:15], closed=9)],
        [traces.syscall("sendto", started=4, result=31)],
        exchanges=[
            traces.exchange(2, first_out=80, last_out=82, first_in=1_240, last_in=1_310,
                            bytes_in=4, receives=1),
            traces.exchange(4, first_out=1_330, first_in=1_338, last_in=1_339),
        ],
        blocked=[traces.blocked("openat", started=40, ended=60, path=raw[:95])],
        pauses=[traces.pause("network", started=90, ended=1_200, connection=2)],
        details={
            "lookups": [traces.lookup(name, started=3, answered=25),
                        traces.lookup(name, "AAAA", started=3)],
            "hosts": {"2": name},
            "tls": {"2": [name, "1.3", ""]},
            "processes": [traces.process(name=name)],
            "extensions": [traces.elsewhere(name, host=name)],
        },
        partition=traces.partition(2_000, wait=1_158, dns=22, connect=51),
        shares=[["wait", f"{name}:443", 1_158 * MS]],
        destinations=[traces.destination(host=name, wait=[1_158], dns=[22])],
        level="syscalls",
        **changes,
    )  # fmt: skip


def _id(number: int) -> str:
    return f"{number:08x}-1d5c-4d3e-9a54-{number:012d}"


def _execution(number: int, *records: object, **changes: object) -> list[Item]:
    changes.setdefault("execution_id", _id(number))
    return traces.execution(*records, started_ns=NOW_NS - (number + 1) * 60 * S, **changes)


def store(path: Path, *executions: list[Item]) -> str:
    """A store with these executions, or with one of each kind; its URL."""
    return traces.write(path, *(executions or kinds().values()))


def large(path: Path, executions: int, records: int, calls: int) -> str:
    """A store for measuring memory: `executions` of `records` each, and one with `calls` syscalls.

    Of the former a third are connections, the others exchanges and waits in syscalls.
    """
    from lambdatrace import wire
    from lambdatrace.items import make_items
    from lambdatrace.store.sqlite import SqliteStore

    store = SqliteStore(str(path))

    def keep(items: list[Item]) -> None:
        assert not store.write(items, time.monotonic() + 60), store.last_error

    third = records // 3
    connections = [
        traces.connection(n, address=f"10.0.{n % 7}.{n % 250}", started=n, established=n + 1,
                          first_out=n + 2, first_in=n + 3, closed=n + 4, exchanges=1)
        for n in range(1, third + 1)
    ]  # fmt: skip
    exchanges = [traces.exchange(n, first_out=n + 2, first_in=n + 3) for n in range(1, third + 1)]
    blocked = [
        traces.blocked("fsync", started=n, ended=n + 2, path=b"/tmp/orders.csv")
        for n in range(records - 2 * third)
    ]
    for number in range(executions):
        keep(
            traces.execution(
                connections, exchanges=exchanges, blocked=blocked,
                execution_id=f"{number:08x}-1d5c-4d3e-9a54-{number:012d}",
                started_ns=NOW_NS - (number + 2) * 100 * MS,
                partition=traces.partition(2_000, wait=1_000),
                destinations=[traces.destination()],
            )
        )  # fmt: skip
    call = wire.SyscallRecord.unpack(traces.syscall("sendto", result=31))
    made = bytearray()
    for number in range(calls):
        call.started += 1_000 + number * 7 % 5_000
        call.tid = 100 + number % 16
        made += call.pack()
    summary = traces.summary("ffffffff-large", started_ns=NOW_NS - 50 * MS, level="syscalls")
    keep(make_items(summary, {wire.KIND_SYSCALL: bytes(made)}, 0))
    store.close()
    return f"sqlite://{path}"


# A command, and what it took at its peak.
_MEASURED = """
import resource, sys
from lambdatrace.cli.environment import Environment
from lambdatrace.cli.main import program
try:
    raise SystemExit(program(sys.argv[1:], Environment()))
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_mb(*arguments: str) -> float:
    """What a command, in a process of its own, takes of memory at its peak, in 10^6 bytes."""
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return int(result.stderr.split()[-1]) * 1024 / 1e6
