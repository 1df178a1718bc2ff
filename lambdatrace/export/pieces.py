"""Many small pieces of bytes as few larger ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What is written at once: more costs memory, less costs time.
_PIECE_BYTES = 65_536


def batches(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at least _PIECE_BYTES, but for the last one."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
