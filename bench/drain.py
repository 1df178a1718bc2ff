"""Draining the ring and packing, next to a Python callback a record; and the size of events."""

from __future__ import annotations

import os
import socket
import sys
import time

from _harness import interleave, report

from lambdatrace import items, wire
from lambdatrace.bpf.loader import Probe

ROUNDS = 7


def _fill(probe: Probe, writes: int) -> None:
    """Real records: a traced child writes to a real connection."""
    pid = os.fork()
    if pid == 0:
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        for _ in range(writes):
            client.send(b"x" * 100)
            accepted.recv(100)
        os._exit(0)
    os.waitpid(pid, 0)


def main() -> None:
    """Measure and print."""
    probe = Probe.load(record_syscalls=True, root=os.getpid())
    sample = b""
    size = wire.SyscallRecord.SIZE

    def drain() -> float:
        nonlocal sample
        _fill(probe, 60_000)
        begin = time.perf_counter()
        sample = probe.syscalls.drain()
        took = time.perf_counter() - begin
        probe.events.drain()
        return len(sample) / size / took / 1e6

    def callbacks() -> float:
        begin = time.perf_counter()
        for offset in range(0, len(sample), size):
            wire.SyscallRecord.unpack(sample, offset)
        return len(sample) / size / (time.perf_counter() - begin) / 1e6

    def pack() -> float:
        begin = time.perf_counter()
        items.pack_records(wire.KIND_SYSCALL, size, sample)
        return len(sample) / size / (time.perf_counter() - begin) / 1e6

    found = interleave(
        ROUNDS, {"drain as slices": drain, "one object a record": callbacks, "pack": pack}
    )
    report("Million records a second", "M/s", found, "one object a record", best=max)
    packed = len(items.pack_records(wire.KIND_SYSCALL, size, sample))
    print(f"{len(sample) // size} records pack to {packed / (len(sample) / size):.1f} bytes each")
    print()
    sys.stdout.flush()
    # The kernel detaches in its own time.
    os._exit(0)


if __name__ == "__main__":
    main()
