"""The committed bytecode is what the source compiles to, and holds what the loader asks it for."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from support import require

from lambdatrace import wire
from lambdatrace.bpf import compile as compiler
from lambdatrace.bpf import image, loader, plan
from lambdatrace.capture import CAPTURE

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")  # Debian's python3-bpfcc belongs to it
INSTRUCTION = 8
LOAD_64 = 0x18
CALL = 0x85
ATOMIC = (0xC3, 0xDB)  # 32 and 64 bits; 5.10 knows addition without a result, which is 0
# BPF helpers (include/uapi/linux/bpf.h) and the kernel they came with; 5.10 has to do.
HELPERS_UNTIL_5_10 = 155
PSEUDO_MAP_FD = 1


@pytest.fixture(scope="module")
def probe() -> image.Image:
    return image.unpack(compiler.OUTPUT.read_bytes())


def test_probe_bin_is_what_its_source_compiles_to() -> None:
    require(os.geteuid() == 0, "bcc compiles for root only")
    require(SYSTEM_PYTHON.exists(), f"there is no {SYSTEM_PYTHON}")
    has_bcc = subprocess.run([SYSTEM_PYTHON, "-c", "import bcc"], capture_output=True, check=False)
    require(has_bcc.returncode == 0, "bcc's Python module is not installed (python3-bpfcc)")
    headers = Path("/lib/modules") / os.uname().release
    require(
        (headers / "build").exists() or (headers / "source").exists(),
        f"there are no kernel headers in {headers}",
    )
    ran = subprocess.run(
        [SYSTEM_PYTHON, "-m", "lambdatrace.bpf.compile", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "probe.bin is up to date\n"), ran.stderr


def test_probe_bin_was_made_from_this_source(probe: image.Image) -> None:
    source = compiler.source_text()
    assert probe.source == hashlib.sha256(source.encode()).hexdigest()
    # And that is all of it.
    parts = sorted(path.name for path in compiler.FOLDER.glob("*.c"))
    assert sorted(compiler.PARTS) == parts


def test_every_program_the_plan_names_is_there_and_no_other(probe: image.Image) -> None:
    programs = {name for name, *_ in probe.programs}
    everything = plan.programs(frozenset({*CAPTURE, plan.EXTENSIONS}), record_syscalls=True)
    assert programs == everything | set(plan.FALLBACKS.values())


def test_the_maps_hold_what_the_loader_reads_and_writes(probe: image.Image) -> None:
    maps = {name: (key, value, entries) for name, _, key, value, entries, *_ in probe.maps}
    assert maps["config"] == (4, wire.Config.SIZE, 1)
    assert maps["lost"] == (4, 8, len(wire.COUNTERS))
    numbers = [number for table in plan.SYSCALL_NUMBERS.values() for number in table]
    assert maps["operations"][:2] == (4, 8)  # op, entry, exit, traits, waits
    assert maps["operations"][2] > max(numbers)
    assert maps["places"][:2] == (4, 4)
    assert maps["places"][2] > max(plan.PLACE_NUMBERS.values())
    # The sizes of what loader.py takes apart; BPF pads nothing that a C compiler would not.
    assert maps["connections"][:2] == (8, loader._CONNECTION_VALUE.size)
    assert maps["sockets"][:2] == (loader._SOCKET_KEY.size, loader._SOCKET_VALUE.size)
    assert maps["branches"][:2] == (4, loader._BRANCH_VALUE.size)
    # Its path goes into a record as it is.
    path = wire.BlockedRecord.unpack(bytes(wire.BlockedRecord.SIZE)).path
    assert maps["files"][:2] == (loader._SOCKET_KEY.size, len(path))
    assert maps["scratch"][1] >= wire.EVENT_BYTES
    assert {"events", "syscalls", "threads"} <= set(maps)


# Fields in their order, of the structs that loader.py unpacks; padding has no name.
STRUCTS = {
    "connection": (loader._CONNECTION_VALUE, ("record", "exchange")),
    "branch": (loader._BRANCH_VALUE, ()),
    "socket": (loader._SOCKET_VALUE, ()),
}


@pytest.mark.parametrize("name", STRUCTS)
def test_the_loader_takes_structs_apart_as_the_c_compiler_puts_them_together(
    tmp_path: Path, name: str
) -> None:
    require(shutil.which("cc"), "there is no C compiler")
    text = (compiler.FOLDER / "probe.c").read_text()
    [body] = re.findall(rf"^struct {name} {{\n(.*?)^}};", text, re.MULTILINE | re.DOTALL)
    fields = re.findall(r"(\w+)(?:\[\d+\])?;", re.sub(r"//.*", "", body))
    unpacked, joined = STRUCTS[name]
    types = "".join(
        f"typedef __{kind}{bits} {kind}{bits};\n" for kind in "us" for bits in (8, 16, 32, 64)
    )
    prints = "".join(
        f'printf("{field} %zu\\n", offsetof(struct {name}, {field}));\n' for field in fields
    )
    source, program = tmp_path / "struct.c", tmp_path / "struct"
    source.write_text(
        "#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        f"{types}{wire.c_header()}struct {name} {{\n{body}}};\n"
        f'int main(void)\n{{\n{prints}printf("- %zu\\n", sizeof(struct {name}));\nreturn 0;\n}}\n'
    )
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source], check=True)
    ran = subprocess.run([program], check=True, capture_output=True, text=True)
    offsets = [int(line.split()[1]) for line in ran.stdout.splitlines()]
    assert unpacked.size == offsets.pop()
    by_name = dict(zip(fields, offsets, strict=True))
    if joined:
        # The loader takes the record and its exchange as one.
        assert [by_name.pop(each) for each in joined] == [0, wire.ConnectionRecord.SIZE]
        assert next(iter(by_name.values())) == wire.EVENT_BYTES
        by_name = {"joined": 0, **by_name}
    if "x" in unpacked.format:
        del by_name["pad"]
    assert list(by_name.values()) == python_offsets(unpacked)


def python_offsets(packed: struct.Struct) -> list[int]:
    """Where each value of a struct stands, bytes; padding is none."""
    found, before = [], "<"
    for count, code in re.findall(r"(\d*)([a-zA-Z])", packed.format):
        for one in [count + code] if code in "sx" else [code] * int(count or 1):
            if code != "x":
                found.append(struct.calcsize(before))
            before += one
    return found


def test_programs_lie_back_to_back_and_their_map_references_are_all_relocated(
    probe: image.Image,
) -> None:
    code = probe.code
    position = 0
    all_references = []
    for name, first, count in probe.programs:
        assert first == position, name
        position += count
        body = code[first * INSTRUCTION : position * INSTRUCTION]
        skip = False
        for number in range(count):
            opcode, registers, _, value = struct.unpack_from("<BBhi", body, number * INSTRUCTION)
            if skip:
                skip = False
                continue
            skip = opcode == LOAD_64
            if opcode == LOAD_64 and registers >> 4 == PSEUDO_MAP_FD:
                assert value == 0, name  # no descriptor of the compiling process
                all_references.append(first + number)
            assert opcode not in ATOMIC or value == 0, name
            if opcode == CALL:
                assert registers >> 4 == 0, name  # helpers only
                assert 0 < value <= HELPERS_UNTIL_5_10, f"{name} calls helper {value}"
    assert sorted(each for map_ in probe.maps for each in map_[-1]) == all_references
    assert len(code) == position * INSTRUCTION
