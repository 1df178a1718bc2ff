"""Executions as the agent would store them: real records, really encoded, from a few words."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from lambdatrace import wire
from lambdatrace.analysis.destinations import By, Tally, add_executions
from lambdatrace.analysis.times import Window
from lambdatrace.items import make_items
from lambdatrace.partition import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lambdatrace.analysis.destinations import DestinationRow
    from lambdatrace.items import Item
    from lambdatrace.model import Execution

# 2026-11-22T07:00:00Z, in ns since the epoch, and what the machine's own clock said then.
STARTED_NS = 1_795_330_800_000_000_000
ORIGIN_NS = 5_000_000_000_000
MS = 1_000_000
HOUR_NS = 3_600_000_000_000


def connection(
    number: int = 1,
    address: str = "10.0.0.7",
    port: int = 443,
    protocol: int = socket.IPPROTO_TCP,
    *,
    started: float = 0.0,
    established: float | None = None,
    first_out: float | None = None,
    last_out: float | None = None,
    first_in: float | None = None,
    last_in: float | None = None,
    closed: float | None = None,
    error: int = 0,
    flags: int = 0,
    bytes_out: int = 0,
    bytes_in: int = 0,
    retransmits: int = 0,
    waited: float | None = None,
    transferred: float | None = None,
    exchanges: int = 0,
    tls_started: float | None = None,
    tls_ended: float | None = None,
    tgid: int = 100,
    comm: bytes = b"python3",
) -> bytes:
    """One connection record; times in ms since the start of the execution.

    `waited` and `transferred` are those of one exchange, unless given.
    """
    family = 6 if ":" in address else 4
    packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)

    if waited is None and None not in (first_out, first_in):
        sent = first_out if last_out is None else last_out
        waited = max(0, first_in - sent)  # of one exchange
    if transferred is None and None not in (first_in, last_in):
        transferred = last_in - first_in

    values = {
        "kind": wire.KIND_CONNECTION,
        "family": family,
        "protocol": protocol,
        "state": wire.TCP_ESTABLISHED if closed is None else wire.TCP_CLOSE,
        "id": number,
        "tgid": tgid,
        "tid": tgid,
        "branch": 1,
        "fd": 7,
        "local_port": (40_000 + number) % 65_536,
        "port": port,
        "error": error,
        "flags": flags,
        "address": packed.ljust(16, b"\0"),
        "started": moment(started),
        "established": moment(established),
        "first_out": moment(first_out),
        "last_out": moment(first_out if last_out is None else last_out),
        "first_in": moment(first_in),
        "last_in": moment(first_in if last_in is None else last_in),
        "closed": moment(closed),
        "bytes_out": bytes_out,
        "bytes_in": bytes_in,
        "waited": round((waited or 0) * MS),
        "transferred": round((transferred or 0) * MS),
        "sends": int(bytes_out > 0),
        "receives": int(bytes_in > 0),
        "retransmits": retransmits,
        "exchanges": exchanges,
        "comm": comm.ljust(16, b"\0"),
        "tls_started": moment(tls_started),
        "tls_ended": moment(tls_ended),
    }
    return wire.ConnectionRecord(*(values[name] for name in wire.ConnectionRecord.NAMES)).pack()


def moment(ms: float | None) -> int:
    """A time since the start of the execution on the clock of the records (ns); None: never."""
    return 0 if ms is None else ORIGIN_NS + round(ms * MS)


def exchange(
    connection: int = 1,
    *,
    first_out: float | None = 0.0,
    last_out: float | None = None,
    first_in: float | None = None,
    last_in: float | None = None,
    bytes_out: int = 100,
    bytes_in: int = 0,
    sends: int = 1,
    receives: int = 0,
    retransmits: int = 0,
) -> bytes:
    """One exchange record; times in ms. One send and one receive, unless given."""
    return wire.ExchangeRecord(
        wire.KIND_EXCHANGE, 0, 0, connection, 100, 1,
        moment(first_out),
        moment(first_out if last_out is None else last_out),
        moment(first_in),
        moment(first_in if last_in is None else last_in),
        bytes_out, bytes_in, sends, receives, retransmits, 0,
    ).pack()  # fmt: skip


def blocked(
    op: str = "flock",
    *,
    started: float = 0.0,
    ended: float = 10.0,
    waited: float | None = None,
    fd: int = 5,
    path: bytes = b"",
    number: int = 73,
    result: int = 0,
    tgid: int = 100,
    tid: int = 100,
) -> bytes:
    """One record of a syscall that waited; times in ms. It slept all the time, unless given."""
    slept = ended - started if waited is None else waited
    return wire.BlockedRecord(
        wire.KIND_BLOCKED, wire.OP_NUMBERS[op], number, fd, tgid, tid, 1, result,
        moment(started), moment(ended), round(slept * MS), path.ljust(96, b"\0"),
    ).pack()  # fmt: skip


def pause(
    waits: str = "network",
    *,
    started: float = 0.0,
    ended: float = 10.0,
    op: str = "none",
    number: int = 0,
    connection: int = 0,
    tgid: int = 100,
    tid: int = 100,
    idle: bool = False,
) -> bytes:
    """One record of a pause; times in ms, `waits` one of wire.WAITS."""
    return wire.PauseRecord(
        wire.KIND_PAUSE, wire.WAITS_NUMBERS[waits], wire.OP_NUMBERS[op], idle, connection,
        tgid, tid, 1, number, moment(started), moment(ended),
    ).pack()  # fmt: skip


def process(
    number: int = 200,
    *,
    parent: int = 100,
    name: str = "sh",
    started: float = 0.0,
    ended: float = 10.0,
    exit_code: int = 0,
    signal: int = 0,
    out_of_memory: bool = False,
) -> list[Any]:
    """One row of a process that ended; times in ms."""
    times = [moment(started), moment(ended)]
    return [number, parent, name, *times, exit_code, signal, int(out_of_memory)]


def elsewhere(
    name: str = "telegraf",
    *,
    host: str | None = None,
    address: str = "192.0.2.7",
    port: int = 443,
    protocol: int = wire.PROTOCOL_TCP,
    started: float = 1.0,
    established: float | None = 2.0,
    closed: float | None = 9.0,
    error: int = 0,
) -> list[Any]:
    """One row of a connection of another extension; times in ms."""
    ends = [moment(each) if each is not None else 0 for each in (established, closed)]
    return [name, 77, host, address, port, protocol, moment(started), *ends, 310, 4_200, error]


def lookup(
    name: str,
    kind: str = "A",
    *,
    server: str = "10.0.0.2",
    started: float = 0.0,
    answered: float | None = None,
    attempts: int = 1,
    answer: str | None = "NOERROR",
    addresses: Iterable[str] = ("10.0.0.7",),
    connection: int = 1,
) -> list[Any]:
    """One row of a namelookup; times in ms. Without an answer if `answered` is None."""
    times = [moment(started), moment(answered), attempts]
    told = [None if answered is None else answer, 0, list(addresses)]
    return [name, kind, server, *times, *told, 100, connection]


def partition(total: float = 2_000, **parts: float) -> list[int | None]:
    """A summary's partition of `total` ms: `parts` in ms by their names, the rest is other."""
    parts.setdefault("other", total - sum(parts.values()))
    return [round(parts.get(part, 0) * MS) for part in PARTS]


def syscall(
    op: str, *, started: float = 0.0, duration: float = 0.01, result: int = 0, connection: int = 1
) -> bytes:
    """One syscall record; times in ms."""
    return wire.SyscallRecord(
        wire.KIND_SYSCALL,
        wire.OP_NUMBERS[op],
        0,
        connection,
        100,
        100,
        7,
        result,
        ORIGIN_NS + round(started * MS),
        round(duration * MS),
    ).pack()


def summary(execution_id: str = "4f2c9a10-0000-4000-8000-000000000001", **changes: Any) -> dict:
    """A valid summary."""
    return {
        "execution_id": execution_id,
        "function": "checkout",
        "version": "7",
        "started_ns": STARTED_NS,
        "monotonic_ns": ORIGIN_NS,
        "duration_ns": 2_000 * MS,
        "status": "ok",
        "cold_start": False,
        "backend": "ebpf",
        "level": "flows",
        "edges": "kernel",
        "memory_mb": 512,
        "command": None,
        "exit_code": None,
        "connections": 0,
        "errors": 0,
        "chunks": 0,
        "dropped": {},
        "folded": {},
        "capture": ["dns", "tls", "exchanges", "cpu", "blocked", "processes"],
        "unavailable": {},
        "unseen": [],
        "cpu": [310 * MS, 300 * MS, 12 * MS, 9 * MS],
        "steal_ns": 0,
        "major_faults": 0,
        "ending": None,
        "agent": {"cpu_ns": 11_400_000, "peak_bytes": 18_300_000},
        "destinations": [],
        "destinations_left_out": 0,
        **changes,
    }


def destination(
    address: str = "10.0.0.7",
    port: int = 443,
    *,
    host: str | None = None,
    protocol: str = "tcp",
    connections: int = 1,
    errors: int = 0,
    bytes_out: int = 100,
    bytes_in: int = 2_000,
    time: float = 10.0,
    connect: Iterable[float] = (5.0,),
    reused: int = 0,
    requests: int | None = None,
    wait: Iterable[float] = (),
    tls: Iterable[float] = (),
    dns: Iterable[float] = (),
) -> list[Any]:
    """One row of a summary's destinations; times in ms. As many requests as waits, unless given."""
    connects = [round(ms * MS) for ms in connect]
    waits, handshakes, lookups = ([round(ms * 1_000) for ms in each] for each in (wait, tls, dns))
    figures = [connections, errors, bytes_out, bytes_in, round(time * MS)]
    later = [reused, len(waits) if requests is None else requests, waits, handshakes, lookups]
    while later and not later[-1]:
        later.pop()
    return [host, address, port, protocol, *figures, connects, *later]


def destination_rows(executions: Iterable[Execution], by: By = By.HOST) -> list[DestinationRow]:
    """What `top-destinations` makes of executions, over the hour from STARTED_NS on."""
    tally = Tally(by, Window(STARTED_NS, STARTED_NS + HOUR_NS))
    add_executions(tally, executions)
    return tally.rows()


def execution(
    connections: Iterable[bytes] = (),
    syscalls: Iterable[bytes] = (),
    *,
    exchanges: Iterable[bytes] = (),
    blocked: Iterable[bytes] = (),
    pauses: Iterable[bytes] = (),
    details: dict[str, Any] | None = None,
    **changes: Any,
) -> list[Item]:
    """All items of one execution; `changes` are the summary's, `details` as items.py has them."""
    records = list(connections)
    # Of what was not kept, three.
    changes.setdefault("connections", len(records) if changes.get("kept", True) else 3)
    kinds = {
        wire.KIND_CONNECTION: records,
        wire.KIND_EXCHANGE: exchanges,
        wire.KIND_BLOCKED: blocked,
        wire.KIND_PAUSE: pauses,
        wire.KIND_SYSCALL: syscalls,
    }
    packed = {kind: b"".join(each) for kind, each in kinds.items()}
    return make_items(summary(**changes), packed, 0, details)


def pipeline() -> list[bytes]:
    """The connections of a usual execution: a query, two requests, and what may go wrong."""
    return [
        connection(
            1, "10.0.0.2", 53, socket.IPPROTO_UDP, started=3, first_out=3, first_in=25, closed=26,
            bytes_out=31, bytes_in=47,
        ),
        connection(
            2, "10.0.0.7", 443, started=27, established=78, first_out=80, last_out=82,
            first_in=1_240, last_in=1_310, closed=1_312, bytes_out=1_812, bytes_in=48_210,
            retransmits=2,
        ),
        connection(3, "2001:db8::17", 8443, started=1_320, closed=1_321, error=111),
        connection(
            4, "10.0.0.9", 8000, started=-900, established=-880, first_out=1_330, first_in=1_338,
            last_in=1_339, flags=wire.CONNECTION_REUSED | wire.CONNECTION_OPEN, bytes_out=620,
            bytes_in=212,
        ),
        connection(5, "192.0.2.1", 5432, started=1_350, flags=wire.CONNECTION_OPEN),
    ]  # fmt: skip


def write(path: Path, *executions: list[Item]) -> str:
    """A new SQLite store with these executions; its URL."""
    from lambdatrace.store.sqlite import SqliteStore

    store = SqliteStore(str(path))
    for items in executions:
        left = store.write(items, time.monotonic() + 30)
        assert not left, store.last_error
    store.close()
    return f"sqlite://{path}"
