"""A usual execution with its records: made up, packed as the agent packs them."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

from _harness import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests"))

import support_traces as traces

if TYPE_CHECKING:
    from lambdatrace.items import Item


def usual(**changes: Any) -> list[Item]:
    """A query, four requests on two connections, a file; `changes` are the summary's."""
    connections = [
        traces.connection(1, port=53, protocol=socket.IPPROTO_UDP, first_out=1, first_in=2,
                          closed=3),
        *(
            traces.connection(n, started=3, established=5, first_out=6, first_in=900,
                              closed=1_000, bytes_out=900, bytes_in=9_000, exchanges=2)
            for n in (2, 3)
        ),
    ]  # fmt: skip
    exchanges = [
        traces.exchange(n, first_out=first, first_in=first + 300, last_in=first + 310)
        for n in (2, 3)
        for first in (10, 400)
    ]
    return traces.execution(
        connections,
        exchanges=exchanges,
        blocked=[traces.blocked("fsync", started=1_100, ended=1_200, path=b"/tmp/out")],
        pauses=[
            traces.pause("network", started=10 + 400 * n, ended=310 + 400 * n, op="recvfrom")
            for n in range(2)
        ],
        partition=[0, 0, 0, 1_200 * traces.MS, 0, 100 * traces.MS, 0, 0, 700 * traces.MS, 0, 0, 0],
        **changes,
    )
