"""What a process loads to have the probe: it starts cold beside the function and pays for each
module.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import support_probe

ROOT = Path(__file__).parents[2]
# typing and dataclasses cost 20 ms of CPU together (wire.py), ctypes 2, the others more.
HEAVY = {
    "typing", "dataclasses", "ctypes", "functools", "re", "asyncio", "subprocess", "http.client",
    "email", "ssl", "urllib",
    "pathlib", "logging", "bcc", "boto3", "botocore", "pandas", "numpy", "rich", "typer", "sqlite3",
}  # fmt: skip
IMPORT = "from lambdatrace.bpf.loader import Probe"
LOAD = "import os; probe = Probe.load(root=os.getpid(), runtime_api='127.0.0.1:9001')"
USE = "probe.events.drain(); probe.lost(); list(probe.followed_connections()); probe.handover()"


def modules(*statements: str) -> set[str]:
    """What is loaded after the statements, by an interpreter that begins with nothing."""
    script = "\n".join(
        [
            f"import sys; sys.path.insert(0, {str(ROOT)!r})",
            *statements,
            "print(*sorted(sys.modules))",
        ]
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("statements", [(IMPORT,), (IMPORT, LOAD, USE)], ids=["import", "load"])
def test_loading_the_probe_loads_nothing_heavy(statements: tuple[str, ...]) -> None:
    if len(statements) > 1:
        support_probe.require_probe()
    loaded = modules(*statements)
    assert "lambdatrace.bpf.loader" in loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY or name in HEAVY}
    assert {name for name in loaded if name.startswith("lambdatrace.")} == {
        "lambdatrace.bpf", "lambdatrace.bpf.image", "lambdatrace.bpf.kernel",
        "lambdatrace.bpf.loader", "lambdatrace.bpf.loading", "lambdatrace.bpf.native",
        "lambdatrace.bpf.plan", "lambdatrace.bpf.ring",
        "lambdatrace.capture", "lambdatrace.errors", "lambdatrace.wire",
    }  # fmt: skip
