"""The function under test: does what its event says, one step after the other.

Lambda configures it by environment: PORTS_AT_INIT (to connect to while it is imported) and
BACKGROUND_THREAD, BACKGROUND_PROCESS (to connect to all the time), AT_INIT (a step to do then).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from traffic import HOST, connect, exchange, keep_connecting

kept: dict[int, socket.socket] = {}


def handler(event: dict, context: object) -> dict:
    for step in event.get("steps", [event]):
        do(**step, request_id=context.aws_request_id)
    return {"id": context.aws_request_id, "secret": event.get("secret")}


def do(
    what: str = "",
    port: int = 0,
    send: int = 1,
    times: int = 1,
    payload: str = "",
    seconds: float = 0,
    path: str = "",
    request_id: str = "",
) -> None:
    if what == "connect":
        for _ in range(times):
            connect(port, payload.encode() or b"x" * send)
    elif what == "use_kept":
        if port not in kept:
            kept[port] = socket.create_connection((HOST, port))
        exchange(kept[port], b"x" * send)
    elif what == "use_dead":
        with contextlib.suppress(OSError):
            kept[port].sendall(b"x" * send)
            kept[port].recv(1)
    elif what == "leave_refused":
        kept[port] = socket.socket()
        kept[port].connect_ex((HOST, port))
    elif what == "wait_for":
        with socket.create_connection((HOST, port)) as gate:
            gate.recv(1)
    elif what == "child":
        subprocess.run(
            [sys.executable, "-c", f"import socket; socket.create_connection(('{HOST}', {port}))"],
            check=True,
        )
    elif what == "forge":  # an execution of another id, and this one a second time
        neighbour = os.path.join(os.path.dirname(__file__), "neighbour.py")  # noqa: PTH118, PTH120
        subprocess.run(
            [sys.executable, neighbour, "play", str(port), payload, request_id], check=True
        )
    elif what == "spin":
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
    elif what == "sleep":
        time.sleep(seconds)
    elif what == "sleep_in_a_thread":
        threading.Thread(target=time.sleep, args=(seconds,), daemon=True).start()
    elif what == "resolve":
        socket.getaddrinfo(payload, 443, socket.AF_INET)
    elif what == "open_pipe":  # nobody ever opens the other end
        if not os.path.exists(path):  # noqa: PTH110
            os.mkfifo(path)
        open(path, "rb")  # noqa: PTH123, SIM115
    elif what == "join":  # a cgroup
        with open(f"{path}/cgroup.procs", "w") as file:  # noqa: PTH123
            file.write(str(os.getpid()))
    elif what == "use_memory":
        greedy = []
        for _ in range(times):
            greedy.append(b"x" * (1 << 20))
    elif what == "use_descriptors":  # all there are, and keeps them
        with contextlib.suppress(OSError):
            while True:
                os.dup(0)
    elif what == "stop":
        sys.exit(1)
    elif what == "raise":
        raise ValueError("boom")
    elif what == "exit":
        os._exit(3)
    elif what == "segfault":
        ctypes.string_at(0)
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


for number in os.environ.get("PORTS_AT_INIT", "").split():
    connect(int(number))
if number := os.environ.get("BACKGROUND_THREAD"):
    threading.Thread(target=keep_connecting, args=(int(number),), daemon=True).start()
if number := os.environ.get("BACKGROUND_PROCESS"):
    subprocess.Popen(
        [sys.executable, "-c", f"import traffic; traffic.keep_connecting({number})"],
        env={"PYTHONPATH": os.path.dirname(__file__)},  # noqa: PTH120
    )
if step := os.environ.get("AT_INIT"):
    do(**json.loads(step))
