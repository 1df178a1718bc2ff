"""What of a connection belongs to which execution: counters are told once, not again each time.

The kernel counts over a connection's whole life; a connection that is kept alive is seen by many
executions. Each gets the difference to what the executions before it were told.
"""

from __future__ import annotations

from lambdatrace import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_COUNTERS = (
    "bytes_out", "bytes_in", "waited", "transferred", "sends", "receives", "retransmits",
    "exchanges",
)  # fmt: skip
# What else makes a connection worth telling again when it changes.
_STATES = ("established", "error", "tls_started", "tls_ended")


# Connections that are remembered, and their latest exchanges: those an environment keeps alive, and
# more. Of some no end is ever told, where the ring was full.
MAX_TOLD = 4096


class Ledger:
    """Remembers, by connection id, what has been told of connections that are still open."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, ...]] = {}
        self._exchanges: dict[int, tuple[int, ...]] = {}

    def exchanges(
        self,
        complete: Iterable[wire.ExchangeRecord],
        latest: Iterable[wire.ExchangeRecord],
        *,
        peek: bool = False,
    ) -> list[wire.ExchangeRecord]:
        """The execution's exchanges by start: what was told before as it stands is left out.

        Parameters
        ----------
        complete
            Those that another followed, or whose connection has ended.
        latest
            The latest one of each connection that is still open.
        peek
            Only look: the execution goes on and will be told everything again.
        """
        told = dict(self._exchanges) if peek else self._exchanges
        found = []
        for record in complete:
            if told.get(record.connection) == _state(record):
                del told[record.connection]
            else:
                found.append(record)
        for record in latest:
            before, state = told.pop(record.connection, None), _state(record)
            told[record.connection] = state
            if before != state:
                found.append(record)
        _limit(told)
        return sorted(found, key=lambda record: record.first_out or record.first_in)

    def share(
        self,
        finished: Iterable[wire.ConnectionRecord],
        open_ones: Iterable[wire.ConnectionRecord],
        started: int,
        ended: int,
        killed: Mapping[int, int] | None = None,
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
        killed
            When each of its processes ended that a signal ended, by process id.
        peek
            Only look: the execution goes on and will be told everything again.
        """
        told = dict(self._told) if peek else self._told
        shares = {}
        for original, is_open in [(r, False) for r in finished] + [(r, True) for r in open_ones]:
            if is_unused(original):
                continue
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
            if record.closed >= min(ended, (killed or {}).get(record.tgid, ended)):
                # Only the end of its process closed it (a crash, a time-out, a signal).
                record.flags |= wire.CONNECTION_OPEN
            if record.closed and record.closed <= started:
                record.flags |= wire.CONNECTION_BEFORE
            elif record.started < started:
                record.flags |= wire.CONNECTION_REUSED
            shares[record.id] = record
        _limit(told)
        return sorted(shares.values(), key=lambda record: record.started)


def _limit(told: dict[int, tuple[int, ...]]) -> None:
    # Those that are still open are put back each time, so the others come first.
    while len(told) > MAX_TOLD:
        del told[next(iter(told))]


def is_unused(record: wire.ConnectionRecord) -> bool:
    """Whether no datagram ever went over it.

    Resolvers connect a datagram socket to each address of a name, to see from where it would be
    reached (RFC 6724), and send nothing.
    """
    return (
        record.protocol == wire.PROTOCOL_UDP
        and not record.sends
        and not record.receives
        and not record.error
    )


def _state(record: wire.ExchangeRecord) -> tuple[int, ...]:
    return record.first_out, record.first_in, record.bytes_out, record.bytes_in
