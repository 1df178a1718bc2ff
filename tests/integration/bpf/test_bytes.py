"""200,000 small writes in one execution: every byte and every lost record is accounted for."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import support_probe as kernel
from support_servers import Servers

if TYPE_CHECKING:
    from pathlib import Path

WRITES = 200_000
ANSWER_S = 2  # the bound for the command line


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    """A program that does nothing but write: as fast as it gets."""
    return kernel.compiled("many_writes.c", tmp_path)


@pytest.mark.parametrize("level", ["flows", "syscalls"])
def test_every_byte_of_200_000_writes_is_accounted_for(
    tmp_path: Path, writer: Path, level: str
) -> None:
    with Servers() as servers:
        port = servers.sink()
        document = kernel.trace(tmp_path, [writer, str(port), str(WRITES)], level)
    [connection] = document["connections"]
    assert (connection["port"], connection["outcome"]) == (port, "ok")
    assert connection["bytes_out"] == WRITES
    assert connection["sends"] == WRITES
    assert connection["bytes_in"] == connection["receives"] == 0

    execution = document["execution"]
    if level == "flows":
        assert execution["dropped"] == 0
        assert "syscalls" not in document
    else:
        check_syscalls(document)

    shown = show(tmp_path)
    assert f":{port}" in shown
    assert ("dropped" in shown) == (execution["dropped"] > 0)


def check_syscalls(document: dict[str, Any]) -> None:
    """Each call is kept or counted as lost, and what is kept is what was done."""
    execution, calls = document["execution"], document["syscalls"]
    dropped = execution["dropped_by"].get("syscalls", 0)
    assert execution["dropped"] == dropped  # nothing else got lost
    assert len(calls) + dropped == WRITES + 1
    assert {call["op"] for call in calls} <= {"connect", "write"}
    assert {call["result"] for call in calls if call["op"] == "write"} == {1}
    assert {call["connection_id"] for call in calls} == {document["connections"][0]["id"]}
    print(f"{dropped} of {WRITES + 1} syscall records were dropped")


def show(folder: Path) -> str:
    """What a person sees, who waits no longer than the issue says.

    The bound is on CPU time: that is what the answer takes where nobody else wants the machine.
    """
    began, before = time.monotonic(), cpu_of_children()
    shown = kernel.lambdatrace("show", "@latest", "--store", f"sqlite://{folder / 'store.db'}")
    took = cpu_of_children() - before
    print(f"lambdatrace show: {time.monotonic() - began:.2f} s, {took:.2f} s of CPU")
    assert shown.returncode == 0, shown.stderr
    assert took < ANSWER_S
    return shown.stdout


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_ring_that_is_too_small_loses_records_and_says_how_many(writer: Path) -> None:
    with Servers() as servers:
        port = servers.sink()
        with kernel.watching(record_syscalls=True, syscalls_ring=4096) as watch:
            kernel.run([writer, str(port), str(WRITES)])
            [record] = watch.connections()
            lost = watch.lost()
    assert (record.bytes_out, record.sends) == (WRITES, WRITES)
    assert lost["syscalls"] > WRITES // 2  # nobody was draining
    assert len(watch.syscalls) + lost.pop("syscalls") == WRITES + 1
    assert not any(lost.values())


def test_what_the_kernel_lost_is_in_the_summary(tmp_path: Path, writer: Path) -> None:
    """The whole way, with a ring of one page, which no agent can drain in time."""
    start = (
        "from lambdatrace.bpf.loader import Probe\n"
        "Probe.load.__func__.__kwdefaults__['syscalls_ring'] = 4096\n"
        "from lambdatrace.agent.run import main; raise SystemExit(main())"
    )
    with Servers() as servers:
        port = servers.sink()
        read_end, write_end = os.pipe()
        wanted = {
            "command": [str(writer), str(port), str(WRITES)],
            "name": "writes",
            "store": f"sqlite://{tmp_path / 'store.db'}",
            "environ": {"LAMBDATRACE_LEVEL": "syscalls"},
            "report_fd": write_end,
        }
        subprocess.run(
            [sys.executable, "-P", "-c", start, json.dumps(wanted)],
            pass_fds=[write_end],
            env=kernel.environment(),
            check=True,
            timeout=60,
        )
        os.close(write_end)
        with os.fdopen(read_end) as file:
            report = json.loads(file.readline())
    document = json.loads(
        kernel.lambdatrace("show", "@latest", "--store", wanted["store"], "--output", "json").stdout
    )
    assert document["execution"]["dropped_by"] == report["summary"]["dropped"]
    assert document["execution"]["dropped_by"]["syscalls"] > 0
    check_syscalls(document)
    assert "dropped" in show(tmp_path)


def test_threads_that_send_on_one_socket_at_once_lose_no_byte(tmp_path: Path) -> None:
    threads, sends = 2 * (os.cpu_count() or 1), 50_000
    with (
        socket.socket(type=socket.SOCK_DGRAM) as target,
        kernel.watching(record_syscalls=True) as watch,
    ):
        target.bind(("127.0.0.1", 0))
        port = target.getsockname()[1]
        hammer = kernel.compiled("hammer.c", tmp_path)
        kernel.run([hammer, str(port), str(sends), str(threads), "shared"])
        [record] = [record for record in watch.connections() if record.port == port]
        made = len(watch.syscalls) + watch.lost()["syscalls"]
    assert record.sends == threads * sends
    assert record.bytes_out == threads * sum(n % 1000 + 1 for n in range(sends))
    assert made == threads * sends + 1


@pytest.mark.parametrize("connects", [True, False])
def test_an_empty_datagram_is_one(tmp_path: Path, connects: bool) -> None:
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "there = ('127.0.0.1', int(sys.argv[1]))\n"
        "s.connect(there) if sys.argv[2] else None\n"
        "s.send(b'') if sys.argv[2] else s.sendto(b'', there)\n"
        "assert s.recv(10) == b''\n"
    )
    with Servers() as servers:
        port = servers.answering(lambda query: query, "127.0.0.1")
        arguments = [str(port), "yes" if connects else ""]
        document = kernel.trace(tmp_path, [sys.executable, "-S", "-c", program, *arguments])
    [connection] = document["connections"]
    assert (connection["port"], connection["protocol"]) == (port, "udp")
    assert (connection["sends"], connection["receives"]) == (1, 1)
    assert (connection["bytes_out"], connection["bytes_in"]) == (0, 0)
