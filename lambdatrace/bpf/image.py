"""The file that holds the compiled probe: probe.bin.

A head of lines, an empty line, and then the programs' instructions back to back:
    lambdatrace-probe FORMAT SHA-256-OF-HEADER-AND-SOURCE
    map NAME TYPE KEY-SIZE VALUE-SIZE MAX-ENTRIES FLAGS [INSTRUCTION …]
    program NAME FIRST-INSTRUCTION INSTRUCTIONS
The instructions behind a map are those that name it.
Plain words, because importing json would be a tenth of the agent's start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FORMAT = 3
_MARK = "lambdatrace-probe"


class Image:
    """The compiled probe: `maps` in order of their index, `programs` by name, and `code`.

    A map is (name, type, key size, value size, max entries, flags, instructions), sizes in bytes,
    the instructions by number in `code`; a program is (name, first instruction, how many).
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
    for *row, instructions in image.maps:
        lines.append(" ".join(map(str, ("map", *row, *instructions))))
    lines += [" ".join(map(str, ("program", *row))) for row in image.programs]
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
        kind, name, *rest = row.split(" ")
        numbers = list(map(int, rest))
        if kind == "map":
            type_, key, value, entries, flags, *instructions = numbers
            maps.append((name, type_, key, value, entries, flags, instructions))
        else:
            start, count = numbers
            programs.append((name, start, count))
    return Image(words[2], maps, programs, code)
