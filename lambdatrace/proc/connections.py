"""A runtime's connections, made of looks at the sockets that it has."""

from __future__ import annotations

from lambdatrace import wire
from lambdatrace.proc import processes
from lambdatrace.proc.sockets import SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.proc.sockets import Diagnosis, Socket, Tables

# A socket that is not TCP's, or not connected yet, is asked for so often before it is forgotten.
_PATIENCE = 3


class Connections:
    """Those of one process and of all that it starts.

    Parameters
    ----------
    process_id, branch
        Whose they are.
    is_left_out
        Which sockets are none of the function's.
    """

    def __init__(self, process_id: int, branch: int, is_left_out: Callable[[Socket], bool]) -> None:
        self._process_id = process_id
        self._branch = branch
        self._is_left_out = is_left_out
        self._number = 0
        self._open: dict[int, tuple[wire.ConnectionRecord, Socket]] = {}  # by inode
        self._left_out: dict[int, Socket] = {}  # by inode
        self._others: dict[int, int] = {}  # inode -> how often nothing was told of it

    @property
    def left_out(self) -> list[Socket]:
        """Those that `is_left_out` named, as they were when they were first seen."""
        return list(self._left_out.values())

    def look(
        self, sockets: Diagnosis | Tables, now: int, opened: int, *, is_last: bool = False
    ) -> list[wire.ConnectionRecord]:
        """Take down what there is at `now`; returns the connections that are gone.

        What is new has been there since `opened`. Both ns, the records' clock. `is_last`: this
        execution will not be looked at again. Raises OSError.
        """
        if processes.is_ending(self._process_id):
            return self.end(now)
        owners: dict[int, tuple[int, int]] = {}
        for process_id in processes.tree(self._process_id):
            for inode, fd in processes.sockets(process_id).items():
                owners.setdefault(inode, (process_id, fd))
        for known in (self._left_out, self._others):
            for inode in known.keys() - owners.keys():
                del known[inode]
        unknown = owners.keys() - self._open.keys() - self._left_out.keys()
        if not is_last:
            unknown = {each for each in unknown if self._others.get(each, 0) < _PATIENCE}
        # All there are: the kernel goes through its whole table for that.
        told = {each.inode: each for each in sockets.sockets()} if unknown else {}
        gone = self._update(sockets, owners, now)
        for inode in unknown:
            socket = told.get(inode)
            if socket is None:
                self._others[inode] = self._others.get(inode, 0) + 1
            elif self._is_left_out(socket):
                self._left_out[inode] = socket
            else:
                record = self._record(socket, *owners[inode], opened)
                _update(record, socket, now)
                self._open[inode] = record, socket
        return gone

    def end(self, now: int) -> list[wire.ConnectionRecord]:
        """Its process has ended at `now` and took with it what was open, which is returned."""
        gone = [record for record, _ in self._open.values()]
        for record in gone:
            record.closed = now
            record.flags |= wire.CONNECTION_OPEN  # as far as it was seen, until then
        self._open = {}
        return gone

    def begun_by(self, moment: int) -> None:
        """Whatever has been seen began at `moment` (ns) at the latest: the looks came late."""
        for record, _ in self._open.values():
            if record.started > moment:
                record.started = moment
                record.established = min(record.established, moment)

    def open_ones(self) -> Iterator[wire.ConnectionRecord]:
        """As they were at the latest look."""
        for record, _ in self._open.values():
            copy = wire.ConnectionRecord(*record.__dict__.values())
            copy.closed = 0
            yield copy

    def _update(
        self, sockets: Diagnosis | Tables, owners: dict[int, tuple[int, int]], now: int
    ) -> list[wire.ConnectionRecord]:
        gone = []
        for inode, (record, socket) in list(self._open.items()):
            current = sockets.again(socket) if inode in owners else None
            if current is None:
                gone.append(record)
                del self._open[inode]
            else:
                _update(record, current, now)
        return gone

    def _record(
        self, socket: Socket, process_id: int, fd: int, opened: int
    ) -> wire.ConnectionRecord:
        self._number += 1
        record = wire.ConnectionRecord(*_EMPTY)
        record.__dict__.update(
            kind=wire.KIND_CONNECTION,
            family=socket.family,
            protocol=wire.PROTOCOL_TCP,
            id=self._number,
            tgid=process_id,
            branch=self._branch,
            fd=fd,
            local_port=socket.local_port,
            port=socket.port,
            flags=wire.SAMPLED_CONNECTION,
            address=socket.address,
            started=opened,
            comm=processes.name_of(process_id)[:15],
        )
        return record


_EMPTY = [b"" if kind[0] == "b" else 0 for kind in wire.ConnectionRecord.__annotations__.values()]


def _update(record: wire.ConnectionRecord, socket: Socket, now: int) -> None:
    if socket.state == SYN_SENT:
        record.state = wire.TCP_SYN_SENT
    else:
        record.state = wire.TCP_ESTABLISHED
        # It was at it at the look before, if there was one.
        record.established = record.established or record.closed or record.started
    record.closed = max(now, record.started)  # so far
    if socket.bytes_out is None or socket.bytes_in is None:
        record.fd = -1  # nothing is counted
        return
    record.bytes_out, record.bytes_in = socket.bytes_out, socket.bytes_in
    record.retransmits = socket.retransmits or 0
    if record.bytes_out:
        record.last_out = now - (socket.sent_ago or 0)
    if record.bytes_in:
        record.last_in = now - (socket.received_ago or 0)
