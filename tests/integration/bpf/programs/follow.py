"""Loads the probe, runs programs/tree.py below it, and tells what was seen, as JSON.

A program of its own so that it can be run in a pid namespace. Argument: JSON of the ports.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import support_probe as kernel

PORTS = json.loads(sys.argv[1])
# Waits for its standard input to end, then connects from a child.
OUTSIDER = """
import os, socket, sys
sys.stdin.read()
if os.fork() == 0:
    socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
    os._exit(0)
assert os.wait()[1] == 0
"""


def connect(name: str) -> None:
    socket.create_connection(("127.0.0.1", PORTS[name])).close()


def outsider(*prefix: str) -> subprocess.Popen[bytes]:
    """A process that was there before the probe."""
    command = [*prefix, sys.executable, "-S", "-c", OUTSIDER, str(PORTS["outsider"])]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


others = [outsider(), outsider("unshare", "--pid", "--fork")]
with kernel.watching() as watch:
    connect("own")
    thread = threading.Thread(target=connect, args=("own",))
    thread.start()
    thread.join()
    for other in others:
        other.communicate()
        assert other.returncode == 0
    tree = subprocess.Popen(
        [sys.executable, "-S", Path(__file__).with_name("tree.py"), sys.argv[1]]
    )
    assert tree.wait() == 0
    seen = watch.connections()
    names = {port: name for name, port in PORTS.items()}
    print(
        json.dumps(
            {
                "seen": sorted(names.get(record.port, str(record.port)) for record in seen),
                "branches": len({record.branch for record in seen}),
                "commands": {names[r.port]: r.comm.rstrip(b"\0").decode() for r in seen},
                "processes": {names[r.port]: r.tgid for r in seen},
                "threads": {names[r.port]: r.tid for r in seen},
                "child": tree.pid,
                "lost": sum(watch.lost().values()),
            }
        )
    )
