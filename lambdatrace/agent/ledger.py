"""What of a connection belongs to which execution: counters are told once, not again each time.

The kernel counts over a connection's whole life; a connection that is kept alive is seen by many
executions. Each gets the difference to what the executions before it were told.
"""

from __future__ import annotations

from lambdatrace import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_COUNTERS = ("bytes_out", "bytes_in", "waited", "transferred", "sends", "receives", "retransmits")
# What else makes a connection worth telling again when it changes.
_STATES = ("established", "error")


class Ledger:
    """Remembers, by connection id, what has been told of connections that are still open."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, ...]] = {}

    def share(
        self,
        finished: Iterable[wire.ConnectionRecord],
        open_ones: Iterable[wire.ConnectionRecord],
        started: int,
        ended: int,
        *,
        peek: bool = False,
    ) -> list[wire.ConnectionRecord]:
        """The execution's own part of each connection, by start, without the untouched ones.

        Parameters
        ----------
        finished, open_ones
            Records as the kernel has them. They are left as they are.
        started, ended
            The execution's (ns, the records' clock).
        peek
            Only look: the execution goes on and will be told everything again.
        """
        told = dict(self._told) if peek else self._told
        shares = {}
        for original, is_open in [(r, False) for r in finished] + [(r, True) for r in open_ones]:
            record = wire.ConnectionRecord(*original.__dict__.values())
            current = tuple(getattr(record, name) for name in _COUNTERS + _STATES)
            before = told.pop(record.id, None)
            if is_open:
                told[record.id] = current
                record.flags |= wire.CONNECTION_OPEN
            if before is not None:
                # While it is connecting nothing changes, and somebody waits.
                if before == current and record.state != wire.TCP_SYN_SENT:
                    continue
                for name, now, then in zip(_COUNTERS, current, before, strict=False):
                    setattr(record, name, max(0, now - then))
            if record.closed >= ended:
                # Only the end of its process closed it (a crash, a time-out).
                record.flags |= wire.CONNECTION_OPEN
            if record.closed and record.closed <= started:
                record.flags |= wire.CONNECTION_BEFORE
            elif record.started < started:
                record.flags |= wire.CONNECTION_REUSED
            shares[record.id] = record
        return sorted(shares.values(), key=lambda record: record.started)
