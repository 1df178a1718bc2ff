"""What other extensions of the environment do, on request: apart from all that is the function's.

They began before the probe was there, so they are found in /proc and followed from then on.
"""

from __future__ import annotations

import os

from lambdatrace import wire
from lambdatrace.agent.ledger import Ledger
from lambdatrace.agent.names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lambdatrace.agent.attribution import Records

# Of one execution: a summary of about 1 kB must not carry an extension's whole day.
MAX_ROWS = 100


def siblings(parent: int, own: int, proc: str = "/proc") -> list[int]:
    """The children of the process `parent` but for `own`, ids in this namespace."""
    found = []
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            with open(f"{proc}/{name}/stat", "rb") as file:
                # pid (name) state parent …; the name may hold anything.
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended
        if len(words) > 1 and int(words[1]) == parent and int(name) != own:
            found.append(int(name))
    return found


class Neighbours:
    """What has been told of other extensions, between executions."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._names = Names()

    def details(
        self,
        records: Records,
        open_ones: Iterable[wire.ConnectionRecord],
        started: int,
        ended: int,
    ) -> dict[str, Any]:
        """What items.py describes as `extensions` and `extensions_left_out`.

        `records` came since the execution before, `started` and `ended` are this one's (ns, the
        records' clock).
        """
        shares = self._ledger.share(records.connections, open_ones, started, ended)
        lookups = self._names.read(records.texts)
        self._names.forget_open()
        hosts = self._names.hosts(shares, lookups)
        return {
            "extensions": [_row(record, hosts.get(record.id)) for record in shares[:MAX_ROWS]],
            "extensions_left_out": max(0, len(shares) - MAX_ROWS),
        }


def _row(record: wire.ConnectionRecord, host: str | None) -> list[Any]:
    return [
        record.comm.split(b"\0", 1)[0].decode("utf-8", "replace"),
        record.tgid,
        host,
        wire.address_text(record.family, record.address),
        record.port,
        record.protocol,
        record.started,
        record.established,
        record.closed,
        record.bytes_out,
        record.bytes_in,
        record.error,
    ]
