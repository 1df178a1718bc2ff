"""Many executions one after the other under AWS's emulator: whether the agent grows or loses any.

    soak.py [EXECUTIONS]          10,000 unless said otherwise; about 4 ms each

Samples threads, descriptors and private memory of both of the agent's processes, and in the end
compares the store with what was invoked. Ends with 1 if one is missing or told twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _harness import matrix

from lambdatrace.emulator import Emulator, agent_command
from lambdatrace.items import HOUR_NS, read_summary
from lambdatrace.store import open_store

EXECUTIONS = 10_000
SAMPLES = 10
HANDLER = """
import socket

def handler(event, context):
    with socket.create_connection(("127.0.0.1", event["port"])) as connection:
        connection.sendall(b"x")
        connection.recv(1)
"""
SERVER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    data = client.recv(1)
    time.sleep(float(sys.argv[1]))
    client.sendall(data)
    client.close()
"""


def agents(mark: str) -> list[int]:
    """The registered process and its worker."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = mark.encode() in (entry / "environ").read_bytes().split(b"\0")
            if ours and any(word.endswith(b"packages/start.py") for word in words):
                found[int(entry.name)] = int((entry / "stat").read_text().rsplit(")")[1].split()[1])
        except OSError:
            continue
    return sorted(found, key=lambda pid: found[pid] in found)


def look(pids: list[int]) -> dict[str, str]:
    """Figures of both, as cells of a table."""
    cells = {}
    for name, pid in zip(("registered", "worker"), pids, strict=True):
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        kilobytes = int(status["RssAnon"].split()[0])
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        cells[name] = f"{kilobytes} kB, {descriptors} fds, {status['Threads'].strip()} threads"
    return cells


def main() -> int:
    """Run and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else EXECUTIONS
    ids, rows, lines = [], {}, []
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, "0"], stdout=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.py").write_text(HANDLER)
        store, mark = f"sqlite://{folder}/soak.db", f"LAMBDATRACE_SOAK={folder}"
        name, _, value = mark.partition("=")
        event = json.dumps({"port": int(server.stdout.readline())}).encode()
        with Emulator(
            "app.handler",
            Path(folder),
            timeout_s=20,
            environ={"PATH": os.environ["PATH"], "LAMBDATRACE_STORE": store, name: value},
            extensions={"lambdatrace": agent_command()},
            log=lambda _, line: lines.append(line) if line.startswith("lambdatrace") else None,
        ) as emulator:
            began = time.monotonic()
            for number in range(1, count + 1):
                invocation = emulator.invoke(event)
                if invocation.error:
                    raise SystemExit(f"{invocation.request_id}: {invocation.error}")
                ids.append(invocation.request_id)
                if number % max(1, count // SAMPLES) == 0:
                    rows[str(number)] = look(agents(mark))
            took = time.monotonic() - began
        opened, now = open_store(store), time.time_ns()
        found = [
            read_summary(row)["execution_id"]
            for row in opened.index(now - int(took * 1e9) - HOUR_NS, now)
        ]
        opened.close()
    server.kill()
    server.wait()
    matrix(
        f"The agent over {count} executions, {took / count * 1e3:.1f} ms each",
        {"registered": "registered process", "worker": "worker"},
        rows,
    )
    lost, twice = len(set(ids) - set(found)), len(found) - len(set(found))
    print(f"missing: {lost}, told twice: {twice}, never invoked: {len(set(found) - set(ids))}")
    print(f"lines in the log: {len(lines)}")
    print()
    return bool(lost or twice or lines)


if __name__ == "__main__":
    sys.exit(main())
