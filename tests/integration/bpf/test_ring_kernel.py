"""The kernel's ring under fire from every CPU: no record is half there, none goes uncounted."""

from __future__ import annotations

import os
import socket
import subprocess
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
import support_probe as kernel

from lambdatrace import wire

if TYPE_CHECKING:
    from pathlib import Path

SENDS = 60_000
SECOND = 1_000_000_000


@pytest.mark.parametrize("size", [4096, 1 << 16, 1 << 22])
def test_what_is_drained_while_all_cpus_write_is_whole_and_in_order(
    tmp_path: Path, size: int
) -> None:
    threads = 2 * (os.cpu_count() or 1)
    hammer = kernel.compiled("hammer.c", tmp_path)
    drains = 0
    with (
        socket.socket(type=socket.SOCK_DGRAM) as target,
        kernel.watching(record_syscalls=True, syscalls_ring=size) as watch,
    ):
        target.bind(("127.0.0.1", 0))
        port = target.getsockname()[1]
        running = subprocess.Popen([hammer, str(port), str(SENDS), str(threads)])
        while running.poll() is None:
            watch.drain()
            drains += 1
        assert running.returncode == 0
        connections = watch.connections()
        lost = watch.lost()

    assert drains > 1  # reading and writing did overlap
    assert len(watch.syscalls) + lost.pop("syscalls") == threads * (SENDS + 1)
    assert not any(lost.values())
    assert len(watch.syscalls) > threads
    assert [record.sends for record in connections] == [SENDS] * threads

    ids = {record.tid: record.id for record in connections}
    assert len(ids) == threads
    by_thread = defaultdict(list)
    for call in watch.syscalls:
        assert (call.kind, call.flags, call.tgid) == (wire.KIND_SYSCALL, 0, running.pid)
        assert call.connection == ids[call.tid]
        assert 0 <= call.duration < 10 * SECOND
        by_thread[call.tid].append(call)
    for calls in by_thread.values():
        ended = 0
        for call in calls:
            assert call.started > ended
            ended = call.started + call.duration
            if wire.OPS[call.op] == "connect":
                assert (call is calls[0], call.result) == (True, 0)
            else:
                assert wire.OPS[call.op] == "sendto"
                assert 1 <= call.result <= 1000
        if len(calls) == SENDS + 1:  # nothing of it was lost: then it is all there, one by one
            assert [call.result for call in calls[1:]] == [n % 1000 + 1 for n in range(SENDS)]
