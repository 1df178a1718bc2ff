"""What the agent adds to a response: warm invocations with it and without, in turn; and to init.

    latency.py [INVOCATIONS [MS]]     of each kind, 500 unless said otherwise; how long the server
                                      that the handler asks takes, 20 ms unless said otherwise

Two environments of the same function under AWS's emulator, one with the agent and one without, are
invoked in turn, so that a busy moment of the machine hits both; which of them comes first changes
each time. The handler asks a server on this machine one thing. Measured is

    response   from the event to the answer's acceptance, which the runtime's client notes: what
               Lambda's callers wait for, as the platform answers them then
    runtime    until the emulator has seen the runtime ask for the next event, when the agent begins
    caller     until the emulator answers, which it does when the extensions are done as well

A second environment without the agent differs by noise; one with an extension that does nothing but
ask for events differs by what the platform does for any extension.

Init: CPU and memory of the agent's two processes once the first execution is stored.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _harness import cpu_ns, matrix
from soak import HANDLER, SERVER, agents

from lambdatrace.emulator import Emulator, agent_command

INVOCATIONS = 500
SERVER_MS = 20
WITH, WITHOUT, AGAIN = "with the agent", "without", "without, again"
IDLE = "an idle extension"
IDLE_EXTENSION = """
import http.client, os
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
base = "/2020-01-01/extension/"
name = {"Lambda-Extension-Name": "lambdatrace"}
connection.request("POST", base + "register", '{"events": ["INVOKE"]}', name)
answer = connection.getresponse()
answer.read()
identifier = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}
while True:
    connection.request("GET", base + "event/next", headers=identifier)
    connection.getresponse().read()
"""
# AWS's runtime client, which notes in the file NOTES how long each response took, ns.
NOTING = """
import os, time
from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient as Client

notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
taken, took = 0, 0
waits, posts = Client.wait_next_invocation, Client.post_invocation_result

def wait(self):
    global taken
    if took:
        os.write(notes, b"%d\\n" % took)
    event = waits(self)
    taken = time.monotonic_ns()
    return event

def post(self, *arguments, **named):
    global took
    posts(self, *arguments, **named)
    took = time.monotonic_ns() - taken

Client.wait_next_invocation, Client.post_invocation_result = wait, post
"""
MEASURED = ("response", "runtime", "caller")
COLUMNS = {f"{each} p{percent}": f"{each} p{percent}" for each in MEASURED for percent in (50, 99)}


def percentile(values: list[float], percent: int) -> float:
    """One of a hundred quantiles."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def init_cost(mark: str) -> str:
    """CPU and memory of the agent so far."""
    parts = []
    for name, pid in zip(("registered process", "worker"), agents(mark), strict=True):
        cpu = cpu_ns(pid) / 1e6
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024
        parts.append(f"{name} {cpu:.0f} ms of CPU, {pss:.1f} MB (PSS)")
    return "; ".join(parts)


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else INVOCATIONS
    wait_ms = float(sys.argv[2]) if len(sys.argv) > 2 else SERVER_MS
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(wait_ms / 1e3)], stdout=subprocess.PIPE, text=True
    )
    event = json.dumps({"port": int(server.stdout.readline())}).encode()
    found: dict[str, dict[str, list[float]]] = {each: {} for each in MEASURED}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        (Path(folder) / "app.py").write_text(NOTING + HANDLER)
        name = "LAMBDATRACE_SOAK"
        environ = {
            "PATH": os.environ["PATH"],
            "LAMBDATRACE_STORE": f"sqlite://{folder}/latency.db",
            name: folder,
        }
        emulators = {}
        extensions = {WITH: agent_command(), IDLE: (sys.executable, "-I", "-c", IDLE_EXTENSION)}
        notes = {}
        for kind in (WITH, WITHOUT, AGAIN, IDLE):
            notes[kind] = Path(folder, f"notes {kind}")
            emulators[kind] = stack.enter_context(
                Emulator(
                    "app.handler",
                    Path(folder),
                    timeout_s=20,
                    environ={**environ, "NOTES": str(notes[kind])},
                    extensions={"lambdatrace": extensions[kind]} if kind in extensions else {},
                )
            )
            emulators[kind].invoke(event)
        time.sleep(0.5)
        cost = init_cost(f"{name}={folder}")
        kinds = list(emulators)
        for _ in range(count):
            for kind in kinds:
                began = time.perf_counter()
                invocation = emulators[kind].invoke(event)
                if invocation.error:
                    raise SystemExit(f"{kind}: {invocation.error}")
                took_ms = (time.perf_counter() - began) * 1e3
                found["caller"].setdefault(kind, []).append(took_ms)
                found["runtime"].setdefault(kind, []).append(invocation.duration_ms)
            kinds = [*kinds[1:], kinds[0]]
        for kind in kinds:
            took = [int(line) / 1e6 for line in notes[kind].read_text().splitlines()]
            found["response"][kind] = took[-count:]  # the first one was before
    server.kill()
    server.wait()
    rows: dict[str, dict[str, str]] = {kind: {} for kind in emulators}
    for prefix, values_of in found.items():
        for percent in (50, 99):
            base = percentile(values_of[WITHOUT], percent)
            for kind, values in values_of.items():
                value = percentile(values, percent)
                rows[kind][f"{prefix} p{percent}"] = f"{value:.2f} ({value / base:.3f})"
    title = f"{count} warm invocations each, server {wait_ms:g} ms: ms (times {WITHOUT})"
    matrix(title, COLUMNS, rows)
    print(f"After the first execution: {cost}")
    print()


if __name__ == "__main__":
    main()
