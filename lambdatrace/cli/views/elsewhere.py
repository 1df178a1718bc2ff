"""What other extensions of the environment connected to, apart from all that is the function's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.cli.views.listing import Column, Listing
from lambdatrace.cli.views.stack import Stack
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    GOOD,
    counted,
    destination,
    duration,
    process_text,
    safe,
    size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from lambdatrace.model import Elsewhere

_NAME = 12  # cells that a name or a destination keeps at least


def elsewhere_note(connections: Sequence[Elsewhere], left_out: int) -> Text:
    """How many there were; `left_out` were not stored."""
    total = len(connections) + left_out
    failed = sum(each.error is not None for each in connections)
    words = f" ({failed:,} failed)" if failed else ""
    what = counted(total, "connection")
    return Text(f"other extensions: {what}{words}: --events lists them", style=DIM)


def elsewhere_list(connections: Sequence[Elsewhere], left_out: int) -> RenderableType:
    """One row for each connection, by start; `left_out` were not stored."""
    processes = [process_text(each.process_name, each.process_id) for each in connections]
    where = [destination(each.host, each.address, each.port, each.protocol) for each in connections]
    listing = Listing(
        f"{counted(len(connections), 'connection')} of other extensions",
        [
            Column("process", processes, right=False, least=_NAME),
            Column("destination", where, right=False, least=_NAME),
            Column("start", [duration(each.started_ns) for each in connections], 1),
            Column("connect", [duration(each.connect_ns) for each in connections], 2),
            Column("total", [duration(each.duration_ns) for each in connections]),
            Column("out", [size(each.bytes_out) for each in connections], 3),
            Column("in", [size(each.bytes_in) for each in connections], 3),
            Column("outcome", [_outcome(each) for each in connections], right=False),
        ],
    )
    if not left_out:
        return listing
    return Stack(listing, Text(f"and {left_out:,} more that were not stored", style=DIM))


def _outcome(connection: Elsewhere) -> Text:
    if connection.error:
        return safe(connection.error, BAD)
    return Text("open", style=DIM) if connection.duration_ns is None else Text("ok", style=GOOD)
