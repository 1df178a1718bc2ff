"""The preloaded library for arm64 under qemu's user emulation: `make preload-arm64`.

Its instructions are arm64's, its kernel is this machine's. The emulator hands on an int of
TCP_INFO: connect times are not known under it. Left out are scenarios in which it does otherwise
than an arm64 machine without the library, too: what exec() starts, errors of bad addresses.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from support_preload import PreloadWatch, preloading
from support_servers import Servers

from lambdatrace.preload.build import library

SOURCE = Path(__file__).parent / "integration/preload/programs/safety.c"
MACHINE = "aarch64"
# Scenario of safety.c: what each of its connections sends, bytes, sorted.
SCENARIOS = {
    "answered": [5],
    "one": [3],
    "vfork": [100],
    "closes_all": [3, 4],
    "threads": [5] * 400,
    "forks": [5] * 40,
}


def compiled(folder: Path) -> Path:
    """The program for arm64, by the compiler that makes the library."""
    program = folder / "safety"
    subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", f"{MACHINE}-linux-gnu.2.36"),
            *("-O2", "-pthread", "-o", program, SOURCE),
        ],
        check=True,
    )
    return program


def run(watch: PreloadWatch, root: str, program: Path, what: str, port: int) -> str:
    """What was wrong with a scenario; empty: nothing."""
    ran = subprocess.run(
        [
            *("qemu-aarch64", "-L", root, "-E", f"LD_PRELOAD={library(MACHINE)}"),
            *("-E", f"LAMBDATRACE_PRELOAD_MAP={watch.path}", program, what, str(port)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ran.returncode:
        return f"exit code {ran.returncode}: {ran.stderr}"
    records = watch.connections()
    sent = sorted(record.bytes_out for record in records)
    if sent != SCENARIOS[what]:
        return f"sent {sent}"
    answers = [(each.bytes_out, each.bytes_in) for each in watch.exchanges() if each.first_in]
    if answers != [(5, 5)] * (what == "answered"):
        return f"exchanges {answers}"
    lost = watch.lost()
    return f"lost {lost}" if any(lost.values()) else ""


def main(root: str) -> int:
    """Run all, print a line for each; 1 if any was wrong."""
    failures = 0
    with tempfile.TemporaryDirectory(prefix="lambdatrace-test-") as name, Servers() as servers:
        program, sink, echo = compiled(Path(name)), servers.sink(), servers.echo()
        for what in SCENARIOS:
            port = echo if what == "answered" else sink
            with preloading(scale=4) as watch:
                wrong = run(watch, root, program, what, port)
            failures += bool(wrong)
            print(f"{what}: {wrong or 'ok'}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
