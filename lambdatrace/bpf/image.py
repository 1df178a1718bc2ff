"""The file that holds the compiled probe: probe.bin.

A head of lines, an empty line, and then the programs' instructions back to back:
    lambdatrace-probe FORMAT SHA-256-OF-HEADER-AND-SOURCE
    map NAME TYPE KEY-SIZE VALUE-SIZE MAX-ENTRIES FLAGS
    program NAME FIRST-INSTRUCTION INSTRUCTIONS [INSTRUCTION:MAP …]
Plain words, because importing json would be a tenth of the agent's start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FORMAT = 2
_MARK = "lambdatrace-probe"


class Image:
    """The compiled probe: `maps` in order of their index, `programs` by name, and `code`.

    A map is (name, type, key size, value size, max entries, flags), sizes in bytes; a program is
    (name, first instruction, instructions, relocations), a relocation (instruction, map index).
    """

    __slots__ = ("code", "maps", "programs", "source")

    def __init__(
        self,
        source: str,
        maps: Sequence[tuple[Any, ...]],
        programs: Sequence[tuple[Any, ...]],
        code: bytes,
    ) -> None:
        self.source = source  # SHA-256 of what was compiled, hexadecimal
        self.maps = maps
        self.programs = programs
        self.code = code


def pack(image: Image) -> bytes:
    """The content of the file."""
    lines = [f"{_MARK} {FORMAT} {image.source}"]
    lines += [" ".join(("map", *map(str, row))) for row in image.maps]
    for name, first, count, relocations in image.programs:
        places = [f"{instruction}:{index}" for instruction, index in relocations]
        lines.append(" ".join(("program", name, str(first), str(count), *places)))
    return "\n".join([*lines, "", ""]).encode() + image.code


def unpack(content: bytes) -> Image:
    """Read the content of the file. Raises ValueError when it is none, or of another format."""
    head, separator, code = content.partition(b"\n\n")
    first, *rows = head.decode("ascii").split("\n")
    words = first.split(" ")
    if not separator or len(words) != 3 or words[:2] != [_MARK, str(FORMAT)]:
        raise ValueError("it does not begin as it should")
    maps: list[tuple[Any, ...]] = []
    programs: list[tuple[Any, ...]] = []
    for row in rows:
        kind, name, *numbers = row.split(" ")
        if kind == "map":
            maps.append((name, *map(int, numbers)))
        else:
            places = [place.split(":") for place in numbers[2:]]
            relocations = [(int(instruction), int(index)) for instruction, index in places]
            programs.append((name, int(numbers[0]), int(numbers[1]), relocations))
    return Image(words[2], maps, programs, code)
