"""The committed libraries are what the sources make, and ask little of the machine they run on."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import support_elf as elf
from support import require

from lambdatrace.preload import build, layout

if TYPE_CHECKING:
    from pathlib import Path

OLDEST_GLIBC = (2, 26)  # Amazon Linux 2's
MACHINES = {"x86_64": elf.X86_64, "aarch64": elf.AARCH64}


@pytest.mark.parametrize("machine", build.MACHINES)
def test_the_committed_library_is_what_the_sources_make(machine: str) -> None:
    require(find_spec("ziglang"), "ziglang is not installed")
    made = build.compile_library(machine)
    assert made == build.library(machine).read_bytes(), "make preload, and commit both"


@pytest.mark.parametrize("machine", build.MACHINES)
def test_it_needs_an_old_libc_and_nothing_else(machine: str) -> None:
    library = elf.read(build.library(machine))
    assert library.machine == MACHINES[machine]
    assert library.soname == "liblambdatrace_preload.so"
    assert set(library.needed) <= {"libc.so.6", "libdl.so.2", "libpthread.so.0"}
    for wanted in library.versions.values():
        for version in wanted:
            family, _, number = version.partition("_")
            assert family == "GLIBC"
            assert tuple(int(part) for part in number.split(".")) <= OLDEST_GLIBC


def test_python_and_c_lay_the_mapping_out_alike(tmp_path: Path) -> None:
    require(shutil.which("cc"), "there is no C compiler")
    records = {
        "map_header": layout.Header,
        "process_slot": layout.ProcessSlot,
        "connection_slot": layout.ConnectionSlot,
    }
    prints = "".join(
        f'printf("%zu\\n", offsetof(struct {name}, {field}));\n'
        for name, record in records.items()
        for field in record.NAMES
    )
    sizes = "".join(f'printf("%zu\\n", sizeof(struct {name}));\n' for name in records)
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text(
        "#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        f"{layout.c_header()}int main(void)\n{{\n{prints}{sizes}return 0;\n}}\n"
    )
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source], check=True)
    ran = subprocess.run([program], check=True, capture_output=True, text=True)
    expected = [record.offset(field) for record in records.values() for field in record.NAMES]
    expected += [record.SIZE for record in records.values()]
    assert [int(line) for line in ran.stdout.split()] == expected


def test_its_header_fits_the_first_page() -> None:
    assert layout.Header.SIZE <= layout.MAP_HEADER_BYTES
    for each in (layout.EVENT_STRIDE, layout.SYSCALL_STRIDE, layout.CONNECTION_STRIDE):
        assert each % 8 == 0
