"""What a shared library says of itself and of those it needs: the part of ELF that tells it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

X86_64, AARCH64 = 62, 183  # e_machine
_DYNAMIC, _VERSIONS_NEEDED = 6, 0x6FFFFFFE  # sh_type
_NEEDED, _SONAME = 1, 14  # d_tag
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NEED = struct.Struct("<HHIII")
_VERSION = struct.Struct("<IHHII")


@dataclass(frozen=True)
class Library:
    """`versions`: of the library on the left, those on the right are needed."""

    machine: int
    soname: str
    needed: tuple[str, ...]
    versions: dict[str, frozenset[str]]


def read(path: Path) -> Library:
    """A 64-bit little-endian library."""
    content = path.read_bytes()
    assert content[:6] == b"\x7fELF\x02\x01"
    (machine,) = struct.unpack_from("<H", content, 18)
    (table,) = struct.unpack_from("<Q", content, 40)
    size, count = struct.unpack_from("<HH", content, 58)
    sections = [_SECTION.unpack_from(content, table + size * each) for each in range(count)]
    dynamic: list[tuple[int, str]] = []
    versions: dict[str, frozenset[str]] = {}
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind not in (_DYNAMIC, _VERSIONS_NEEDED):
            continue
        names = sections[link][4]

        def text(index: int, names: int = names) -> str:
            return content[names + index : content.index(b"\0", names + index)].decode()

        if kind == _DYNAMIC:
            entries = struct.iter_unpack("<QQ", content[offset : offset + length])
            dynamic = [(tag, text(value)) for tag, value in entries if tag in (_NEEDED, _SONAME)]
        else:
            while True:
                _, members, file, first, step = _NEED.unpack_from(content, offset)
                wanted, place = set(), offset + first
                for _ in range(members):
                    _, _, _, name, further = _VERSION.unpack_from(content, place)
                    wanted.add(text(name))
                    place += further
                versions[text(file)] = frozenset(wanted)
                if not step:
                    break
                offset += step
    needed = tuple(name for tag, name in dynamic if tag == _NEEDED)
    (soname,) = [name for tag, name in dynamic if tag == _SONAME]
    return Library(machine, soname, needed, versions)
