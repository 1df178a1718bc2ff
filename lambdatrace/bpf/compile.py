"""Build time: compile the probe with bcc and save bytecode, maps and relocations as package data.

`python -m lambdatrace.bpf.compile` needs Debian's python3-bpfcc and kernel headers that bcc finds
under /lib/modules/$(uname -r); neither is needed to load the result. Run it with the interpreter
that has bcc (on Debian /usr/bin/python3). image.py says what probe.bin looks like.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
import sys
from pathlib import Path
from typing import Any

from lambdatrace import wire
from lambdatrace.bpf import image, plan
from lambdatrace.errors import ProbeError

FOLDER = Path(__file__).parent
OUTPUT = FOLDER / "probe.bin"
PARTS = (
    "probe.c", "probe_tree.c", "probe_tcp.c", "probe_calls.c", "probe_udp.c", "probe_text.c",
    "probe_blocked.c",
)  # fmt: skip

_INSN = struct.Struct("<BBhi")
_LOAD_64 = 0x18  # BPF_LD | BPF_IMM | BPF_DW: the only instruction that can name a map
_PSEUDO_MAP_FD = 1
_LOG_LEVEL_QUIET = 0


def source_text() -> str:
    """What the compiler is given: the generated headers and the parts of the probe."""
    parts = [(FOLDER / name).read_text() for name in PARTS]
    return wire.c_header() + plan.c_header() + "".join(parts)


def build() -> bytes:
    """Compile and return the content of probe.bin.

    Raises ProbeError when bcc is not there or refuses the source.
    """
    try:
        import bcc
    except ImportError as error:
        raise ProbeError(
            "bcc's Python module is not here",
            "apt-get install python3-bpfcc, and run this with /usr/bin/python3",
        ) from error
    text = source_text()
    try:
        module = bcc.BPF(text=text, debug=_LOG_LEVEL_QUIET)
    except Exception as error:  # bcc raises bare Exceptions
        raise ProbeError(f"bcc refused the probe: {error}", "its messages stand above") from error
    maps, by_fd = _maps(bcc.lib, module.module)
    programs: list[tuple[Any, ...]] = []
    references: list[list[int]] = [[] for _ in maps]
    code = b""
    names = sorted(
        _text(bcc.lib.bpf_function_name(module.module, number))
        for number in range(bcc.lib.bpf_num_functions(module.module))
    )
    for name in names:
        instructions, relocations = _relocatable(module.dump_func(name.encode()), by_fd)
        first = len(code) // _INSN.size
        programs.append((name, first, len(instructions) // _INSN.size))
        for instruction, index in relocations:
            references[index].append(first + instruction)
        if name == "on_edge":
            _check_ring_numbers({maps[index][0] for _, index in relocations})
        code += instructions
    source = hashlib.sha256(text.encode()).hexdigest()
    rows = [(*row, instructions) for row, instructions in zip(maps, references, strict=True)]
    return image.pack(image.Image(source, rows, programs, code))


def _maps(lib: ctypes.CDLL, module: object) -> tuple[list[tuple[Any, ...]], dict[int, int]]:
    lib.bpf_table_name.restype = ctypes.c_char_p
    lib.bpf_table_fd_id.restype = ctypes.c_int
    for function in ("bpf_table_name", "bpf_table_fd_id", "bpf_table_flags_id"):
        getattr(lib, function).argtypes = [ctypes.c_void_p, ctypes.c_ulonglong]
    rows = sorted(
        (
            _text(lib.bpf_table_name(module, i)),
            lib.bpf_table_type_id(module, i),
            lib.bpf_table_key_size_id(module, i),
            lib.bpf_table_leaf_size_id(module, i),
            lib.bpf_table_max_entries_id(module, i),
            lib.bpf_table_flags_id(module, i),
            lib.bpf_table_fd_id(module, i),
        )
        for i in range(lib.bpf_num_tables(module))
    )
    return [row[:-1] for row in rows], {row[-1]: index for index, row in enumerate(rows)}


def _relocatable(code: bytes, by_fd: dict[int, int]) -> tuple[bytes, list[tuple[int, int]]]:
    """`code` with this process's map descriptors taken out, and where they were."""
    patched = bytearray(code)
    relocations: list[tuple[int, int]] = []
    offset = 0
    while offset < len(code):
        opcode, registers, _, value = _INSN.unpack_from(code, offset)
        if opcode == _LOAD_64:
            if registers >> 4 == _PSEUDO_MAP_FD:
                relocations.append((offset // _INSN.size, by_fd[value]))
                struct.pack_into("<i", patched, offset + 4, 0)
            offset += _INSN.size
        offset += _INSN.size
    return bytes(patched), relocations


def _check_ring_numbers(named: set[str]) -> None:
    """probe.c names the two rings by bcc's internal numbers: on_edge names both, in other words."""
    if not {"events", "syscalls"} <= named:
        raise ProbeError(
            "EVENTS_MAP or SYSCALLS_MAP in probe.c no longer names its ring",
            "count the maps above them: bcc numbers them -1, -2, … in order of declaration",
        )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def main() -> int:
    """Write probe.bin; with --check only compare. Returns the exit code."""
    try:
        built = build()
    except ProbeError as error:
        print(f"error: {error.message}\n  {error.hint}", file=sys.stderr)
        return error.exit_code
    if "--check" in sys.argv[1:]:
        same = OUTPUT.is_file() and OUTPUT.read_bytes() == built
        print("probe.bin is up to date" if same else "probe.bin is not what probe.c compiles to")
        return 0 if same else 1
    OUTPUT.write_bytes(built)
    print(f"{OUTPUT.name}: {len(built)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
