"""The self-test that guests run (make test-kernels), on this machine's kernel."""

from __future__ import annotations

import subprocess
import sys

import support_probe as kernel
from support import in_a_calm_moment

SELFTEST = kernel.ROOT / "tests" / "kernels" / "selftest.py"


@in_a_calm_moment
def test_the_self_test_of_the_guests_passes_here() -> None:
    with kernel.Network() as network:  # port 53 is free in there
        ran = subprocess.run(
            network.command(sys.executable, "-S", SELFTEST),
            env=kernel.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "checks, 0 failed" in ran.stdout
