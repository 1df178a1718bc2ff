"""Loads the probe, or says in one line of JSON why not. Runs with any Python, the system's too."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lambdatrace.bpf.loader import Probe
from lambdatrace.errors import LambdatraceError

try:
    probe = Probe.load(root=os.getpid())
except LambdatraceError as error:
    answer = {"error": error.message, "hint": error.hint, "type": type(error).__name__}
else:
    answer = {"unavailable": probe.unavailable, "lost": sum(probe.lost())}
answer["descriptors"] = len(list(Path("/proc/self/fd").iterdir()))  # type: ignore[assignment]
print(json.dumps(answer))
