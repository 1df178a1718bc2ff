"""The traced program: calls.c's loops, then an HTTP client's. Figures go to a file, as JSON.

    _target.py CALLS PORT CPU FILE

Everything stays on one CPU, where the server is too. A request then always costs the same two
switches of it; on two CPUs it costs as much as waking the other one takes just then, which varied
by half from run to run where this was tried. What a tracer does in a process of its own may use
the other CPUs.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HTTP_S = 1.5
SLICE = 20  # requests


def http_loop(port: int) -> float:
    """Median ns a request on one kept connection; a slice in which others ran is left out."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def requests() -> float:
        begin = time.perf_counter_ns()
        for _ in range(SLICE):
            connection.request("GET", "/")
            connection.getresponse().read()
        return (time.perf_counter_ns() - begin) / SLICE

    for _ in range(5):
        requests()
    until = time.monotonic() + HTTP_S
    slices = []
    while time.monotonic() < until:
        slices.append(requests())
    connection.close()
    return statistics.median(slices)


def main() -> None:
    """Measure."""
    calls, port, cpu, file = sys.argv[1:]
    os.sched_setaffinity(0, {int(cpu)})
    printed = subprocess.run([calls, "cost"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {name: float(value) for name, value in map(str.split, printed.splitlines())}
    found["http"] = http_loop(int(port))
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
