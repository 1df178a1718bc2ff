"""What is counted of many executions, ready to be added up: a glance at each index row.

Opening a hundred thousand summaries to count what is in them takes seconds. A local store makes
this of an index row when that is written, and keeps it beside the row.

A destination is told by its *shape*, a line of JSON without its brackets: host, address, port,
protocol, then how many times there are of each kind (TIMES) and the code of its numbers (as
`array` has it, little-endian). Its figures, the NUMBERS and then those times, stand in the order of
the lines, back to back. So all of one shape have each number at the same place, and what many
executions did there is added up column by column.

Used by the agent, which writes to a local store: standard library only, no `typing`.
"""

from __future__ import annotations

import struct
from itertools import chain

from lambdatrace import plain_json
from lambdatrace.errors import StoreError
from lambdatrace.items import read_summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.items import Item

    # function, status, whether it was a cold start, times taken, destinations that the summary had
    # no room for, shapes, figures. Behind the start (ns since the epoch) it is what a store gives.
    Glance = tuple[str, str, int, bytes, int, str, bytes]
    StoredGlance = tuple[int, str, str, int, bytes, int, str, bytes]

# Of a destination as it is stored (items.py): how much of it says where, and where behind that its
# numbers stand: connections, errors, bytes out and in, time (ns), reused connections, requests.
KEY = 4
NUMBERS = (0, 1, 2, 3, 4, 6, 7)
# And its times: connect (ns), wait, tls and dns (us).
TIMES = (5, 8, 9, 10)
# What a row means of which so much is missing, and with how little it may end.
_LATER: list[Any] = [0, 0, [], [], []]
_LEAST = 6
# In `taken`: how long it took in all and in each part, ns, as 64-bit integers.
UNKNOWN = -1
# As in analysis/summary.py.
_MOST_NS = 2**60
_MOST_32 = 2**32 - 1


def glance_of(item: Item) -> Glance | None:
    """What to count of an index row; None where that is not as the agent writes it."""
    try:
        return _glance(read_summary(item))
    except (StoreError, struct.error, TypeError, ValueError, LookupError):
        return None


def _glance(summary: dict[str, Any]) -> Glance:
    function, status, left_out = (
        summary[name] for name in ("function", "status", "destinations_left_out")
    )
    taken = [summary["duration_ns"], *(summary.get("partition") or ())]
    taken[1:] = [UNKNOWN if ns is None else ns for ns in taken[1:]]
    if (
        {type(function), type(status)} != {str}
        or type(summary["cold_start"]) is not bool
        or {type(left_out), *map(type, taken)} != {int}
        or not 0 <= left_out <= _MOST_NS
        or not 0 <= taken[0] <= max(taken) <= _MOST_NS
        or min(taken) < UNKNOWN
    ):
        raise ValueError(summary)
    function.encode()  # lone surrogates are no text to SQLite
    status.encode()
    told = [_told(row) for row in summary["destinations"]]
    return (
        function,
        status,
        int(summary["cold_start"]),
        struct.pack(f"<{len(taken)}q", *taken),
        left_out,
        "\n".join([shape for shape, _ in told]),
        b"".join([figures for _, figures in told]),
    )


def _told(row: list[Any]) -> tuple[str, bytes]:
    """(shape, figures) of a destination. Raises what `glance_of` catches."""
    figures = row[KEY:]
    figures += _LATER[len(figures) - _LEAST :]
    times = [figures[place] for place in TIMES]
    if len(figures) != _LEAST + len(_LATER) or {*map(type, times)} != {list}:
        raise ValueError(row)
    numbers = [*[figures[place] for place in NUMBERS], *chain.from_iterable(times)]
    if {*map(type, numbers)} != {int}:
        raise TypeError(row)
    code = "I" if max(numbers) <= _MOST_32 else "Q"
    shape = plain_json.dumps([*row[:KEY], *map(len, times), code], ascii_only=True)
    return shape[1:-1], struct.pack(f"<{len(numbers)}{code}", *numbers)
