"""The agent on a machine whose wall clock has gone on while everything else stood still.

As it is after a freeze or a restore on Lambda. The file $LAMBDATRACE_TEST/skew says by how much
(s); the kernel's monotonic clock, which no test may stop, is left as it is.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

SKEW = f"{os.environ['LAMBDATRACE_TEST']}/skew"
_now, _now_ns = time.time, time.time_ns


def skew() -> int:
    try:
        with open(SKEW, encoding="ascii") as file:  # noqa: PTH123  # nothing more is imported
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


time.time = lambda: _now() + skew()
time.time_ns = lambda: _now_ns() + skew() * 10**9

# The layer's own beginning, with its folder, once the clocks are replaced.
runpy.run_path(sys.argv[1], run_name="__main__")
