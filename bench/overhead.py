"""What tracing costs the traced program: one send(), untraced, with the probe, with strace."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from _harness import interleave, report

ROUNDS = 7
WRITES = 40_000

# Small writes to a real connection, whose other end a thread of another process reads.
PROGRAM = f"""
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    peer, _ = server.accept()
    while peer.recv(1 << 16): pass
    os._exit(0)
client = socket.create_connection(server.getsockname())
send = client.send
begin = time.perf_counter()
for _ in range({WRITES}): send(b"x")
print((time.perf_counter() - begin) / {WRITES} * 1e9, file=sys.stderr)
client.close(); os.wait()
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite://{folder}/bench.db"

        def run(*prefix: str) -> float:
            done = subprocess.run(
                [*prefix, sys.executable, "-c", PROGRAM],
                check=True,
                stderr=subprocess.PIPE,
                text=True,
            )
            return next(float(line) for line in done.stderr.splitlines() if line[:1].isdigit())

        ours = (
            str(Path(sys.executable).with_name("lambdatrace")),
            "run",
            "--store",
            store,
        )
        found = interleave(
            ROUNDS,
            {
                "untraced": run,
                "flows": lambda: run(*ours, "--"),
                "syscalls": lambda: run(*ours, "--level", "syscalls", "--"),
                "strace": lambda: run("strace", "-f", "-e", "trace=network", "-o", "/dev/null"),
            },
        )
    report("One send() of one byte on a TCP connection", "ns", found, "untraced")


if __name__ == "__main__":
    sys.exit(main())
