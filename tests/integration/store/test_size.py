"""What an execution takes of DynamoDB, in write units as the engine meters them."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING

import support_traces as traces

from lambdatrace import items, wire
from lambdatrace.agent.writer import open_writer
from lambdatrace.analysis.trace import read_trace
from lambdatrace.store import open_store

if TYPE_CHECKING:
    from lambdatrace.items import Item

HOSTS = (
    "dynamodb.eu-west-1.amazonaws.com", "api.partner.example", "db-7.internal.example",
    "cache.internal.example", "sqs.eu-west-1.amazonaws.com", "hooks.chat.example",
    "orders-blue.svc.example", "vault.corp.example", "s3.eu-west-1.amazonaws.com",
    "geo.thirdparty.example", "mail.corp.example", "flags.features.example",
)  # fmt: skip
# What the agent tells of itself, and an execution has besides.
TOLD = {
    "kept": True,
    "keep": "all",
    "edges": "kernel",
    "memory_mb": 512,
    "xray": ["5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", 1],
    "agent": {
        "cpu_ns": 4_104_332, "peak_bytes": 18_345_984, "after_ns": 23_412_009, "sent_bytes": 3_412,
        "write_units": 3, "flushes": 1, "retries": 0, "spooled": 0, "drained": 0,
    },
}  # fmt: skip


def usual(
    connections: int, exchanges: int, blocked: int, lookups: int, *, has_pauses: bool = True
) -> list[Item]:
    """An execution of that many records, its times and sizes as scattered as real ones.

    With a pause for each exchange and each call that waited, unless those were short.
    """
    r = random.Random(connections * 1_000 + exchanges)
    clock = [2.0 + r.random()]

    def later(ms: float) -> float:
        clock[0] += r.expovariate(1 / ms)
        return clock[0]

    rows, told, waits, pauses, names, tls = [], [], [], [], [], {}
    for number in range(1, connections + 1):
        address = f"10.{r.randrange(255)}.{r.randrange(255)}.{r.randrange(255)}"
        started, established = later(5), later(3)
        mine = exchanges // connections + (number <= exchanges % connections)
        first_out, sent, received = later(1), 0, 0
        for _ in range(mine):
            out, size = r.randrange(100, 2_000), r.randrange(200, 60_000)
            begin, answer, end = later(0.2), later(20), later(4)
            told.append(
                traces.exchange(
                    number, first_out=begin, last_out=begin + r.random(), first_in=answer,
                    last_in=end, bytes_out=out, bytes_in=size, receives=r.randrange(1, 20),
                )
            )  # fmt: skip
            sent, received = sent + out, received + size
            # Its thread was asleep from soon after the request until the answer woke it.
            pauses.append(
                traces.pause(
                    op="recvfrom", connection=number, tgid=4_711, tid=4_711,
                    started=begin + 0.1 * r.random(), ended=answer - 0.1 * r.random(),
                )
            )  # fmt: skip
        rows.append(
            traces.connection(
                number, address, r.choice((443, 443, 5432, 6379)), started=started,
                established=established, first_out=first_out, last_out=later(0.3),
                first_in=later(10), last_in=later(3), closed=later(1), bytes_out=sent,
                bytes_in=received, waited=r.uniform(1, 300), transferred=r.uniform(0, 50),
                exchanges=mine, tls_started=first_out, tls_ended=later(4), tgid=4_711,
            )
        )  # fmt: skip
        tls[str(number)] = [HOSTS[number % len(HOSTS)], "1.3", ""]
    for _ in range(blocked):
        begin = later(4)
        end = begin + r.uniform(1, 90)
        waits.append(traces.blocked("futex", started=begin, ended=end, fd=-1))
        pauses.append(traces.pause("lock", op="futex", tgid=4_711, started=begin, ended=end))
    for number in range(lookups):
        begin = traces.moment(later(1))
        names.append(
            [HOSTS[number % len(HOSTS)], ("A", "AAAA")[number % 2], "169.254.78.1", begin,
             begin + r.randrange(900_000), 1, "NOERROR", 0,
             [f"52.94.{r.randrange(255)}.{r.randrange(255)}"], 4_711, 90 + number]
        )  # fmt: skip
        rows.append(
            traces.connection(
                90 + number, "169.254.78.1", 53, socket.IPPROTO_UDP, started=later(1),
                first_out=later(0.1), first_in=later(1), closed=later(0.1), bytes_out=40,
                bytes_in=120, tgid=4_711,
            )
        )  # fmt: skip
    destinations = [
        traces.destination(
            f"10.{r.randrange(255)}.{r.randrange(255)}.{r.randrange(255)}", host=host,
            bytes_out=r.randrange(10_000), connections=1, bytes_in=r.randrange(200_000),
            time=r.uniform(1, 900), connect=[r.uniform(1, 9)],
        )
        for host in HOSTS[:connections]
    ]  # fmt: skip
    parts = ("dns", "connect", "tls", "wait", "transfer", "sleep", "cpu", "other")
    partition = [0 if n % 3 == 2 else r.randrange(300 * traces.MS) for n in range(12)]
    shares = [
        [r.choice(parts), f"{HOSTS[n % connections]}:443", r.randrange(300 * traces.MS)]
        for n in range(min(8, 2 * connections))
    ]
    execution_id = f"{r.getrandbits(32):08x}-1234-4abc-8def-{r.getrandbits(48):012x}"
    return traces.execution(
        rows, exchanges=told, blocked=waits, pauses=pauses if has_pauses else (),
        details={"lookups": names, "hosts": {}, "tls": tls, "processes": []},
        execution_id=execution_id, destinations=destinations,
        duration_ns=r.randrange(2_000 * traces.MS), partition=partition, shares=shares, **TOLD,
    )  # fmt: skip


def metered(table: str, environ: dict[str, str], written: list[Item]) -> float:
    """Write units of an execution, which is read back."""
    writer = open_writer(table, environ)
    assert writer.write(written, time.monotonic() + 30) == 0, writer.last_error
    writer.close()
    execution_id = items.read_summary(written[-1])["execution_id"]
    store = open_store(table, environ=environ)
    trace = read_trace(store.get(execution_id))
    store.close()
    assert trace == read_trace(written)
    assert trace.missing_chunks == 0
    return writer.write_units


def test_a_usual_execution_of_40_records_takes_three_write_units(
    table: str, aws_environ: dict[str, str]
) -> None:
    # New connections, exchanges, calls that waited, namelookups with a UDP connection for each.
    mixes = {
        (1, 1, 0, 0): 2,
        (4, 12, 4, 2): 3,
        (5, 20, 9, 3): 3,
        (2, 30, 4, 2): 3,
        (3, 25, 10, 2): 3,
        # Ten new TLS connections to ten addresses.
        (10, 20, 6, 2): 3,
        (10, 30, 0, 0): 3,
        (6, 14, 8, 12): 3,
    }
    for mix, most in mixes.items():
        assert metered(table, aws_environ, usual(*mix)) <= most, mix


def test_up_to_twenty_new_connections_to_as_many_addresses_take_three_write_units(
    table: str, aws_environ: dict[str, str]
) -> None:
    for mix in ((14, 14, 6, 6), (8, 16, 0, 16), (20, 20, 0, 0)):
        assert metered(table, aws_environ, usual(*mix, has_pauses=False)) <= 3, mix


def test_an_execution_of_which_nothing_is_kept_takes_two(
    table: str, aws_environ: dict[str, str]
) -> None:
    summary = items.read_summary(usual(5, 20, 9, 3)[-1])
    written = items.make_items({**summary, "kept": False, "keep": "slow"}, {}, 0)
    assert metered(table, aws_environ, written) == 2


def test_a_thousand_syscalls_take_fifteen_write_units(
    table: str, aws_environ: dict[str, str]
) -> None:
    r = random.Random(5)
    clock, calls = 2.0, []
    for number in range(1_000):
        clock += r.expovariate(1 / 1.5)
        op = r.choice(("sendto", "recvfrom", "recvfrom", "write", "read", "connect"))
        took = r.expovariate(1 / 0.08)
        calls.append(
            traces.syscall(op, started=clock, duration=took, result=r.randrange(-1, 60_000),
                           connection=number % 7)
        )  # fmt: skip
        clock += took
    flows = [traces.connection(number, started=2, closed=900) for number in range(1, 8)]
    summary = items.read_summary(usual(5, 20, 9, 3)[-1])
    written = items.make_items(
        {**summary, "level": "syscalls"},
        {wire.KIND_CONNECTION: b"".join(flows), wire.KIND_SYSCALL: b"".join(calls)},
        0,
    )
    assert metered(table, aws_environ, written) <= 15
