"""What is tried again for the host's sake, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# The host has {stolen} ns of each second that this machine wants.
CONFTEST = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from support_host import Patience

class Stolen:
    def since(self):
        return {stolen}, 1_000_000_000 - {stolen}, 0

def pytest_configure(config):
    config.pluginmanager.register(Patience(Stolen))
"""
TEST = """
from pathlib import Path

def test_it(tmp_path_factory):
    tried = Path(__file__).with_suffix(".tried")
    count = len(tried.read_text()) if tried.exists() else 0
    tried.write_text("x" * (count + 1))
    assert count >= {fails}
"""


def run(folder: Path, fails: int, stolen: int) -> tuple[int, int, str]:
    """(exit code, how often it was tried, what was printed) of a test that fails so many times."""
    (folder / "conftest.py").write_text(
        CONFTEST.format(stolen=stolen, tests=str(TESTS), root=str(TESTS.parent))
    )
    (folder / "test_it.py").write_text(TEST.format(fails=fails))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        folder,
        folder,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return ran.returncode, len((folder / "test_it.tried").read_text()), ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("fails", "stolen", "code", "tried"),
    [
        (0, 500_000_000, 0, 1),
        (1, 10_000_000, 1, 1),  # the host had next to nothing: it is the test's own failure
        (1, 500_000_000, 0, 2),
        (2, 500_000_000, 0, 3),
        (3, 500_000_000, 1, 3),
    ],
)
def test_what_failed_while_the_host_had_the_cpus_is_tried_again(
    tmp_path: Path, fails: int, stolen: int, code: int, tried: int
) -> None:
    returned, times, printed = run(tmp_path, fails, stolen)
    assert (returned, times) == (code, tried), printed
    assert printed.count("of the CPUs' time") == tried - 1
    assert ("1 passed" in printed, "1 failed" in printed) == (code == 0, code == 1)
