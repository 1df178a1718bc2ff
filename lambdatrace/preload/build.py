"""Build time: compiles the library for both architectures. `python -m lambdatrace.preload.build`.

With PyPI's ziglang, which brings C libraries of every age: what is built needs glibc 2.17 and
nothing newer. The same sources make the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lambdatrace.preload.layout import c_header

SOURCES = Path(__file__).with_name("src")
GLIBC = "2.17"
MACHINES = ("x86_64", "aarch64")
# To prefetch for writing: CPUs that cannot take it for nothing to do.
MORE_FLAGS = {"x86_64": ("-mprfchw",), "aarch64": ()}
FLAGS = (
    "-std=gnu11", "-O2", "-g0", "-s", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-plt",
    "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-fno-sanitize=all",
    "-Wl,--build-id=none", "-Wl,--as-needed", "-Wl,-soname,liblambdatrace_preload.so",
)  # fmt: skip


def library(machine: str) -> Path:
    """Where the library for a machine (as `uname -m` names it) is kept."""
    return Path(__file__).with_name(f"liblambdatrace_preload-{machine}.so")


def compile_library(machine: str) -> bytes:
    """The library for `machine`. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "layout.h").write_text(c_header(), encoding="ascii")
        for source in SOURCES.iterdir():
            (here / source.name).write_bytes(source.read_bytes())
        subprocess.run(  # noqa: S603  # the pinned compiler
            [
                sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-gnu.{GLIBC}",
                *FLAGS, *MORE_FLAGS[machine], "-o", "library.so", "preload.c", "-ldl",
            ],
            cwd=here,
            check=True,
        )  # fmt: skip
        return (here / "library.so").read_bytes()


def main() -> None:
    """Compile both."""
    for machine in MACHINES:
        # Programs that have the old one loaded keep it: written over, they would crash.
        fresh = library(machine).with_suffix(".new")
        fresh.write_bytes(compile_library(machine))
        fresh.replace(library(machine))


if __name__ == "__main__":
    main()
