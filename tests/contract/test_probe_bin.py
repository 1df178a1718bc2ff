"""The committed bytecode is what the source compiles to, and holds what the loader asks it for."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from pathlib import Path

import pytest
from support import require

from lambdatrace import wire
from lambdatrace.bpf import compile as compiler
from lambdatrace.bpf import image, loader, plan

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
    source = wire.c_header() + (ROOT / "lambdatrace" / "bpf" / "probe.c").read_text()
    assert probe.source == hashlib.sha256(source.encode()).hexdigest()


def test_every_program_the_plan_names_is_there_and_no_other(
    probe: image.Image,
) -> None:
    programs = {name for name, *_ in probe.programs}
    named = {each.program for each in plan.PLAN}
    named |= {program for pair in plan.DISPATCH.values() for program in pair if program}
    assert programs == named


def test_the_maps_hold_what_the_loader_reads_and_writes(
    probe: image.Image,
) -> None:
    maps = {name: (key, value, entries) for name, _, key, value, entries, _ in probe.maps}
    assert maps["config"] == (4, wire.Config.SIZE, 1)
    assert maps["lost"] == (4, 8, len(wire.COUNTERS))
    numbers = [number for table in plan.SYSCALL_NUMBERS.values() for number in table]
    assert maps["operations"][:2] == (4, 1)
    assert maps["operations"][2] > max(numbers)
    for name in ("entries", "exits"):
        assert maps[name][2] >= len(wire.OPS)
    # The sizes of what loader.py takes apart; BPF pads nothing that a C compiler would not.
    assert maps["connections"][:2] == (8, loader._CONNECTION_VALUE.size)
    assert maps["sockets"][:2] == (loader._SOCKET_KEY.size, loader._SOCKET_VALUE.size)
    assert {"events", "syscalls", "threads"} <= set(maps)


def test_programs_lie_back_to_back_and_their_map_references_are_all_relocated(
    probe: image.Image,
) -> None:
    code = probe.code
    position = 0
    for name, first, count, relocations in probe.programs:
        assert first == position, name
        position += count
        body = code[first * INSTRUCTION : position * INSTRUCTION]
        references, skip = [], False
        for number in range(count):
            opcode, registers, _, value = struct.unpack_from("<BBhi", body, number * INSTRUCTION)
            if skip:
                skip = False
                continue
            skip = opcode == LOAD_64
            if opcode == LOAD_64 and registers >> 4 == PSEUDO_MAP_FD:
                assert value == 0, name  # no descriptor of the compiling process
                references.append(number)
            assert opcode not in ATOMIC or value == 0, name
            if opcode == CALL:
                assert registers >> 4 == 0, name  # helpers only
                assert 0 < value <= HELPERS_UNTIL_5_10, f"{name} calls helper {value}"
        assert [number for number, _ in relocations] == references
        assert all(0 <= index < len(probe.maps) for _, index in relocations)
    assert len(code) == position * INSTRUCTION
