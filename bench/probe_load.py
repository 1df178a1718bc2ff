"""Loading and attaching the probe, next to bcc compiling the same source at run time."""

from __future__ import annotations

import json
import subprocess
import sys

from _harness import BCC_PYTHON, REPOSITORY, interleave, report

ROUNDS = 9

OURS = """
import json, os, resource, sys, time
sys.path.insert(0, sys.argv[1])
from lambdatrace.bpf.loader import Probe
begin = time.perf_counter()
probe = Probe.load(root=os.getpid())
took = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([took * 1e3, peak / 1024]), flush=True)
os._exit(0)
"""
BCC = """
import json, os, resource, sys, time
sys.path.insert(0, sys.argv[1])
from lambdatrace.bpf.compile import source_text
import bcc
text = source_text()
begin = time.perf_counter()
module = bcc.BPF(text=text)
took = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([took * 1e3, peak / 1024]), flush=True)
os._exit(0)
"""


def main() -> None:
    """Measure and print."""
    peaks: dict[str, list[float]] = {"lambdatrace": [], "bcc.BPF(text=…)": []}

    def case(name: str, program: str) -> float:
        done = subprocess.run(
            [BCC_PYTHON, "-c", program, str(REPOSITORY)],
            check=True,
            capture_output=True,
            text=True,
        )
        took, peak = json.loads(done.stdout)
        peaks[name].append(peak)
        return float(took)

    found = interleave(
        ROUNDS,
        {
            "lambdatrace": lambda: case("lambdatrace", OURS),
            "bcc.BPF(text=…)": lambda: case("bcc.BPF(text=…)", BCC),
        },
    )
    report("Load and attach the probe (bcc: compile only)", "ms", found, "lambdatrace")
    report("Peak memory of the loading process", "MB", peaks, "lambdatrace")


if __name__ == "__main__":
    sys.exit(main())
