"""The C structs generated from wire.py are laid out by a C compiler as wire.py says."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

from support import require

from lambdatrace import wire
from lambdatrace.bpf import plan

if TYPE_CHECKING:
    from pathlib import Path

STRUCTS = {
    "connection_record": wire.ConnectionRecord,
    "edge_record": wire.EdgeRecord,
    "syscall_record": wire.SyscallRecord,
    "text_record": wire.TextRecord,
    "exchange_record": wire.ExchangeRecord,
    "exchange": wire.Exchange,
    "blocked_record": wire.BlockedRecord,
    "config": wire.Config,
}
PREFIXES = (
    "KIND_", "EDGE_", "EVENT_", "CONNECTION_", "DNS_", "TEXT_", "TLS_", "ENDING_", "UNSEEN_",
    "BLOCKED_",
)  # fmt: skip


def layout(record: type[wire.Record]) -> dict[str, tuple[int, int]]:
    """{field: (offset, size)} as Python packs them."""
    codes = iter(record.STRUCT.format.lstrip("<"))
    found, before = {}, "<"
    for name in record.NAMES:
        code = next(codes)
        while code.isdigit():
            code += next(codes)
        offset = struct.calcsize(before)
        before += code
        found[name] = (offset, struct.calcsize(before) - offset)
    return found


def compiled(folder: Path, body: str) -> list[str]:
    """The lines printed by a program with the generated header and `body` as its main."""
    require(shutil.which("cc"), "there is no C compiler")
    source, program = folder / "layout.c", folder / "layout"
    head = "#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
    source.write_text(
        f"{head}{wire.c_header()}{plan.c_header()}int main(void)\n{{\n{body}\nreturn 0;\n}}\n"
    )
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def test_every_field_is_where_the_c_compiler_puts_it(tmp_path: Path) -> None:
    statements = []
    for name, record in STRUCTS.items():
        statements.append(f'printf("{name} - 0 %zu\\n", sizeof(struct {name}));')
        statements += [
            f'printf("{name} {field} %zu %zu\\n", offsetof(struct {name}, {field}), '
            f"sizeof(((struct {name} *)0)->{field}));"
            for field in record.NAMES
        ]
    expected = []
    for name, record in STRUCTS.items():
        expected.append(f"{name} - 0 {record.SIZE}")
        expected += [
            f"{name} {field} {offset} {size}" for field, (offset, size) in layout(record).items()
        ]
    assert compiled(tmp_path, "\n".join(statements)) == expected


def test_the_compiler_knows_the_constants_by_the_same_values(tmp_path: Path) -> None:
    expected = {
        name: value
        for name, value in vars(wire).items()
        if name.startswith(PREFIXES) and isinstance(value, int)
    }
    expected |= {f"OP_{name.upper()}": number for number, name in enumerate(wire.OPS)}
    expected |= {f"LOST_{name.upper()}": number for number, name in enumerate(wire.COUNTERS)}
    expected["LOST_COUNT"] = len(wire.COUNTERS)
    expected |= {f"AT_{name}": number for name, number in plan.PLACE_NUMBERS.items()}
    expected |= {
        name: value
        for name, value in vars(plan).items()
        if name.startswith(("IS_", "HAS_")) or name == "RECEIVES"
    }
    assert len(expected) > 120
    body = "\n".join(f'printf("%d\\n", {name});' for name in expected)
    assert [int(line) for line in compiled(tmp_path, body)] == list(expected.values())
