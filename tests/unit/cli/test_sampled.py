"""What nothing but `/proc` has told, in every command: unavailable or null, and never 0."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from support_cli import run

from lambdatrace import wire

if TYPE_CHECKING:
    from pathlib import Path

ID = "4f2c9a10-0000-4000-8000-000000000001"
# Of Part, in order: cpu, runqueue, steal and other are known.
PARTITION = [*[None] * 8, 300 * traces.MS, 100 * traces.MS, 0, 1_600 * traces.MS]
SINCE = ("--since", "2026-11-22T00:00:00Z", "--until", "2026-11-23T00:00:00Z")


def sampled(
    number: int, port: int, *, fd: int = 9, flags: int = wire.CONNECTION_OPEN, **more: Any
) -> bytes:
    """A connection as looks find it."""
    packed = traces.connection(
        number, "192.0.2.7", port, socket.IPPROTO_TCP, started=0, established=0,
        flags=wire.SAMPLED_CONNECTION | flags, **more,
    )  # fmt: skip
    record = wire.ConnectionRecord.unpack(packed)
    moments = dict.fromkeys(("first_out", "first_in", "last_in"), 0)
    record.__dict__.update(moments, tid=0, sends=0, receives=0, waited=0, transferred=0, fd=fd)
    return record.pack()


@pytest.fixture
def store(tmp_path: Path) -> str:
    unseen = dict.fromkeys(("dns", "tls", "exchanges", "blocked", "processes"), "not in /proc")
    known: dict[str, Any] = {
        "backend": "proc",
        "backend_why": "the kernel refused eBPF (EPERM)",
        "edges": "looks",
        "tolerance_ns": 9 * traces.MS,
        "capture": ["cpu"],
        "unavailable": unseen,
        "partition": PARTITION,
        "duration_ns": 2_000 * traces.MS,
        "cpu": [300 * traces.MS, 300 * traces.MS, 100 * traces.MS, 100 * traces.MS],
        "status": "ok",
        "dropped": {},
        "folded": {},
        "destinations": [["api.example", "192.0.2.7", 443, "tcp", 1, 0, 500, 900, 0, []]],
    }
    one, other = (
        traces.execution(
            [sampled(1, 443, bytes_out=500, bytes_in=900), sampled(2, 5432, fd=-1)],
            execution_id=f"{ID[:-1]}{number}",
            **known,
        )
        for number in (1, 2)
    )
    return traces.write(tmp_path / "store.db", one, other)


def ran(*arguments: str, width: int | None = None) -> str:
    result = run(*arguments, width=width)
    assert (result.code, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("width", [80, 120, 200])
def test_show(store: str, width: int) -> None:
    text = " ".join(ran("show", ID, "--events", "--store", store, width=width).split())
    assert "proc, level flows, edges seen by looking: it ended up to 9.00 ms earlier" in text
    assert "because the kernel refused eBPF (EPERM)" in text
    assert "unavailable: dns, connect, tls, wait, transfer, file, sleep, lock" in text
    assert "unavailable: dns, tls, exchanges, blocked, processes: not in /proc" in text
    assert "what it waits for, proc cannot see" in text
    assert " 0 B" not in text


def test_what_was_gone_at_a_look_took_at_least_so_long(tmp_path: Path) -> None:
    gone = sampled(1, 443, flags=0, bytes_out=500, last_out=1, closed=700)
    items = traces.execution([gone], execution_id=ID, capture=["cpu"])
    url = traces.write(tmp_path / "gone.db", items)
    assert "\u2265 699 ms" in ran("show", ID, "--store", url, width=120)


def test_what_became_of_one_that_was_gone_is_not_known(tmp_path: Path) -> None:
    known: dict[str, Any] = {
        "capture": ["cpu"], "unavailable": {"short connections": "no", "errors": "no"},
    }  # fmt: skip
    gone = [
        sampled(1, 443, flags=0, bytes_out=500, last_out=1, closed=700),
        sampled(2, 5432, flags=0, closed=300),
    ]
    # Never seen to be established.
    record = wire.ConnectionRecord.unpack(sampled(3, 25, flags=0, closed=400))
    record.established = record.last_out = 0
    some = traces.execution([*gone, record.pack()], execution_id=ID, **known)
    none = traces.execution([], execution_id=f"{ID[:-1]}2", **known)
    url = traces.write(tmp_path / "gone.db", some, none)
    document = json.loads(ran("show", ID, "--store", url, "-o", "json"))
    sent, idle, asked = document["connections"]
    assert [each["outcome"] for each in (sent, idle, asked)] == ["gone"] * 3
    assert [each["wait_ms"] for each in (sent, idle, asked)] == [None] * 3
    names = ("bytes_out", "bytes_in", "retransmits")
    assert [sent[name] for name in names] == [500, None, None]
    assert [idle[name] for name in names] == [None] * 3
    assert (sent["connect_ms"], idle["connect_ms"], asked["connect_ms"]) == (None, None, 400)
    assert document["execution"]["error_count"] is None
    text = ran("show", ID, "--store", url, width=120)
    assert "gone" in text
    assert "abandoned" not in text
    unused = json.loads(ran("show", f"{ID[:-1]}2", "--store", url, "-o", "json"))
    assert unused["execution"]["connection_count"] is None
    text = ran("show", f"{ID[:-1]}2", "--store", url, width=120)
    assert "no connections were seen" in text
    assert "no connection was seen" in text
    assert "did not use the network" not in text
    for width in (80, 120, 200):
        assert ran("list", *SINCE, "--store", url, width=width)
    assert run("list", "--errors", *SINCE, "--store", url, "-o", "json").stdout.strip() == "[]"


def test_show_json(store: str) -> None:
    document = json.loads(ran("show", ID, "--store", store, "-o", "json"))
    assert document["execution"]["tolerance_ms"] == 9.0
    parts = document["execution"]["partition"]
    assert {name for name, ms in parts.items() if ms is not None} == {
        "cpu_ms", "runqueue_ms", "steal_ms", "other_ms",
    }  # fmt: skip
    counted, uncounted = document["connections"]
    unknown = ("connect_ms", "wait_ms", "transfer_ms", "sends", "receives", "thread_id")
    for connection in (counted, uncounted):
        assert connection["sampled"] is True
        assert [connection[name] for name in (*unknown, "exchanges")] == [None] * 7
    assert (counted["bytes_out"], counted["bytes_in"], counted["retransmits"]) == (500, 900, 0)
    assert [uncounted[name] for name in ("bytes_out", "bytes_in", "retransmits")] == [None] * 3


def test_many(store: str) -> None:
    for command in ("list", "stats", "top-destinations"):
        for width in (80, 120, 200):
            text = ran(command, *SINCE, "--store", store, width=width)
            assert "0 ms  0%" not in text
    (row,) = json.loads(ran("top-destinations", *SINCE, "--store", store, "-o", "json"))
    unknown = ("requests", "errors", "time_ms", "share", "change", "times_ms", "wait_p50_ms")
    assert [row[name] for name in unknown] == [None] * 7
    assert (row["connections"], row["bytes_out"]) == (2, 1_000)
    csv = ran("top-destinations", *SINCE, "--store", store, "-o", "csv").splitlines()
    assert len(csv) == 2
    figures = json.loads(ran("stats", *SINCE, "--store", store, "-o", "json"))["distributions"]
    known = {each["name"] for each in figures if each["count"]}
    assert known == {"total", "cpu", "runqueue", "steal", "other"}
    compared = json.loads(ran("compare", ID, f"{ID[:-1]}2", "--store", store, "-o", "json"))
    assert {each["part"] for each in compared["parts"] if each["a_ms"] is not None} <= known


@pytest.mark.parametrize("form", ["jsonl", "csv", "html", "otlp", "har", "chrome"])
def test_exports_take_it(store: str, tmp_path: Path, form: str) -> None:
    file = tmp_path / "out"
    ran("export", ID, "--store", store, "--format", form, "-o", str(file))
    assert file.stat().st_size
