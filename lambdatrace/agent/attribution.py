"""Cuts the stream of records into executions. Pure: records in, cuts out; no clock, no I/O.

The kernel shows the runtime's own HTTP: `next`, the reply with the request id, the response. What
is recorded between two responses of one runtime belongs to the execution that the second one ends:
its own work, and before it what happened during init or in the background. That a response has
begun is not the end: it may be streamed, and until the runtime asks for the next execution the
platform waits for it, and tells of a time-out or a crash. A runtime and all it started share a
`branch` (wire.py), so executions that overlap in one environment stay apart, and what other
extensions do is nobody's.
"""

from __future__ import annotations

from lambdatrace import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

OK: Final = "ok"
ERROR: Final = "error"
CRASH: Final = "crash"
TIMEOUT: Final = "timeout"
UNFINISHED: Final = "unfinished"

KERNEL: Final = "kernel"
EXTENSION: Final = "extension"
LOOKS: Final = "looks"

_SIGKILL, _SIGTERM = 9, 15  # importing signal would cost 6 ms of CPU, for enum
# What the kernel reads of the reply to `next` begins in the midst of the first one's name.
_REQUEST_ID = b"request-id: "
_DEADLINE = b"deadline-ms: "
_DEADLINE_DIGITS = 13  # ms since the epoch, until 2286
_REQUEST_ID_CHARACTERS = 36  # a UUID, from AWS and from its emulator

# Records of a branch that has not yet proved to be a runtime (it may be another extension) are
# kept up to here, then the oldest go: its first execution needs what happened during init.
MAX_UNCLAIMED = 4096
# Of the others so many are kept (about 2 kB each, beside a function that pays for the memory); what
# comes on top is counted.
MAX_CLAIMED = 16_384
# Every extension and every runtime is one; Managed Instances run dozens of these.
MAX_BRANCHES = 1024
# Executions under way in one process.
MAX_OPEN = 256
# Decided: a runtime that asks for the next execution later than this (ns) after it has begun to
# answer was still at it, and its execution has ended when it asks.
ANSWERING_NS = 10_000_000


class Records:
    """What was recorded of a branch, by kind; each list in the order it came."""

    __slots__ = ("blocked", "connections", "exchanges", "pauses", "processes", "texts")

    def __init__(self) -> None:
        self.connections: list[wire.ConnectionRecord] = []
        self.exchanges: list[wire.ExchangeRecord] = []
        self.texts: list[wire.TextRecord] = []
        self.blocked: list[wire.BlockedRecord] = []
        self.pauses: list[wire.PauseRecord] = []
        self.processes: list[wire.EdgeRecord] = []  # those that ended

    def lists(self) -> tuple[list[Any], ...]:
        """All of them, always in the same order."""
        return (
            self.connections, self.exchanges, self.texts, self.blocked, self.pauses, self.processes
        )  # fmt: skip

    def extend(self, other: Records) -> None:
        """Add what `other` holds."""
        for mine, others in zip(self.lists(), other.lists(), strict=True):
            mine += others

    def split(self, moment: int) -> Records:
        """Take out what began before `moment` (ns, the records' clock); the rest stays."""
        taken = Records()
        for mine, into in zip(self.lists(), taken.lists(), strict=True):
            into += [record for record in mine if _began(record) < moment]
            mine[:] = [record for record in mine if _began(record) >= moment]
        return taken


def _began(record: Any) -> int:
    if isinstance(record, wire.ExchangeRecord):
        return record.first_out or record.first_in
    moment: int = record.time if hasattr(record, "time") else record.started
    return moment


# Kind of a record -> its layout, and the list of Records it goes into.
_KEPT_AS_THEY_ARE: dict[int, tuple[type[wire.Record], str]] = {
    wire.KIND_DNS: (wire.TextRecord, "texts"),
    wire.KIND_TLS: (wire.TextRecord, "texts"),
    wire.KIND_EXCHANGE: (wire.ExchangeRecord, "exchanges"),
    wire.KIND_BLOCKED: (wire.BlockedRecord, "blocked"),
    wire.KIND_PAUSE: (wire.PauseRecord, "pauses"),
}


class Cut:
    """One execution's part of the stream. Times are ns on the records' clock."""

    __slots__ = (
        "answer",
        "branch",
        "deadline_ms",
        "edges",
        "ended",
        "figures",
        "figures_before",
        "in_init",
        "is_contested",
        "is_shared",
        "lost",
        "offset",
        "records",
        "request_id",
        "started",
        "status",
        "syscalls_position",
        "tolerance",
        "was_written",
    )

    def __init__(self, request_id: str, branch: int, started: int, edges: str) -> None:
        self.request_id = request_id
        self.branch = branch
        self.started = started  # 0: not known
        self.edges = edges
        self.ended = 0
        self.tolerance: int | None = None  # ns by which it may have ended earlier; None: exact
        # Wall clock minus records' clock, ns: whoever writes the cut first takes it, once, because
        # the execution's keys are made from it.
        self.offset: int | None = None
        self.status = ""
        self.answer: wire.EdgeRecord | None = None  # it has begun to answer
        self.deadline_ms = 0  # since the epoch, as the runtime was told; 0: not known
        self.records = Records()
        self.lost = 0  # records that were not kept
        self.is_contested = False  # another branch claims to have been given it, too
        # Another one was under way in the same process: what was recorded is of either.
        self.is_shared = False
        # The branch's figures at its edges, where edges tell them.
        self.figures_before: wire.EdgeRecord | None = None
        self.figures: wire.EdgeRecord | None = None
        # Where in the syscall ring it ends (bytes); None: everything there is.
        self.syscalls_position: int | None = None
        self.was_written = False  # as it stood before its deadline
        self.in_init = False  # its runtime failed before it asked for an execution

    def own_end(self) -> wire.EdgeRecord | None:
        """The end of the execution's own process, not of one it started; None: it goes on."""
        for edge in self.records.processes:
            if not edge.parent:
                return edge
        return None


class Death:
    """A child of the platform that ended by itself before any asked for an execution: its init
    has failed.

    `edge` is its end, `status` what an execution is that was meant for it.
    """

    __slots__ = ("edge", "status")

    def __init__(self, edge: wire.EdgeRecord, has_told: bool) -> None:
        self.edge = edge
        self.status = ERROR if has_told else CRASH


class _Branch:
    __slots__ = (
        "asking",
        "cuts",
        "has_asked",
        "has_told",
        "is_confirmed",
        "is_runtime",
        "lost",
        "records",
    )

    def __init__(self) -> None:
        self.records = Records()
        self.asking = 0  # the process (tgid) that has asked and was not seen to be given anything
        self.has_asked = False  # it was seen to ask for an execution, so it will be seen again
        self.cuts: list[Cut] = []  # executions under way; one, unless several may be
        self.is_runtime = False
        self.is_confirmed = False  # the platform has told of one of its executions
        self.has_told = False  # it has told the platform that its init failed
        self.lost = 0

    @property
    def cut(self) -> Cut | None:
        """The execution under way, the latest one of several."""
        return self.cuts[-1] if self.cuts else None


class Attribution:
    """The state between two slices of the stream. So many records of a kind are kept a branch.

    `several`: one process may have several executions under way (Lambda Managed Instances: threads
    of one runtime). Their beginnings and ends are known, but not whose a record is.
    """

    def __init__(self, max_claimed: int = MAX_CLAIMED, *, several: bool = False) -> None:
        self._max_claimed = max_claimed
        self._several = several
        self._snapshot: wire.EdgeRecord | None = None
        # Branches known to be other extensions': all traffic, where that is one's, is without them.
        self.apart: set[int] = set()
        self._branches: dict[int, _Branch] = {}
        self._refused = 0
        self._has_seen_runtime = False
        # Who ended instead of becoming the environment's runtime.
        self.death: Death | None = None

    @property
    def sees_runtime(self) -> bool:
        """Whether a runtime's own HTTP has been seen: if not, only INVOKE events cut the stream."""
        return bool(self.runtimes())

    def runtimes(self) -> list[int]:
        """The branches that are known to be one."""
        return [number for number, branch in self._branches.items() if branch.is_runtime]

    def open_cut(self, request_id: str) -> Cut | None:
        """The execution with this id that has begun and not ended."""
        # The kernel reads as much of an id as AWS's have.
        spellings = (request_id, request_id[:_REQUEST_ID_CHARACTERS])
        for cut in self.open_cuts():
            if cut.request_id in spellings:
                return cut
        return None

    def open_cuts(self) -> list[Cut]:
        """Every execution that has begun and not ended."""
        return [cut for branch in self._branches.values() for cut in branch.cuts]

    def may_be_anonymous(self, cut: Cut, request_id: str) -> bool:
        """Whether a cut without an id can only be that of `request_id`."""
        others = (branch for number, branch in self._branches.items() if number != cut.branch)
        return self.open_cut(request_id) is None and not any(each.is_runtime for each in others)

    def confirm(self, number: int) -> None:
        """The platform has told of an execution of this branch."""
        branch = self._branches.get(number)
        if branch is not None:
            branch.is_confirmed = True

    def take_refused(self) -> int:
        """How often, since the last call, somebody answered for another or claimed its own."""
        refused, self._refused = self._refused, 0
        return refused

    def take_snapshot(self) -> wire.EdgeRecord | None:
        """The edge at which a snapshot was to be taken, if one has come since the last call."""
        edge, self._snapshot = self._snapshot, None
        return edge

    def take_others(self, moment: int) -> Records:
        """What other extensions began before `moment` (ns, the records' clock).

        Where a runtime's own HTTP has been seen, whoever has none is one.
        """
        taken = Records()
        for number, branch in self._branches.items():
            if number in self.apart or (number and self.sees_runtime and not branch.is_runtime):
                taken.extend(branch.records.split(moment))
        return taken

    def resume(self, request_id: str, number: int, time: int) -> Cut:
        """An execution whose beginning was seen by somebody else, of a branch that is a runtime."""
        branch = self._branch(number)
        branch.is_runtime = True
        cut = Cut(request_id, number, time, KERNEL)
        branch.cuts = [cut]
        return cut

    def begin(self, request_id: str, time: int, edges: str = EXTENSION) -> Cut:
        """Begin an execution that no edge in the stream tells of (ns on the records' clock).

        It is given to the branch with a runtime if there is just one, else to all traffic.
        """
        runtimes = self.runtimes()
        number = runtimes[0] if len(runtimes) == 1 else 0
        cut = Cut(request_id, number, time, edges)
        self._branch(number).cuts = [cut]
        return cut

    def feed(self, events: bytes) -> list[Cut]:
        """Take the next slice of the events ring; returns the executions that ended in it.

        Raises ValueError when `events` is not whole records.
        """
        size = wire.EVENT_BYTES
        if len(events) % size:
            raise ValueError(f"{len(events)} bytes are not whole records of {size}")
        ended = []
        for offset in range(0, len(events), size):
            kind = events[offset]
            if kind == wire.KIND_CONNECTION:
                exchange = wire.Exchange.unpack(events, offset + wire.ConnectionRecord.SIZE)
                self.keep(wire.ConnectionRecord.unpack(events, offset), exchange)
            elif kind in _KEPT_AS_THEY_ARE:
                layout, name = _KEPT_AS_THEY_ARE[kind]
                record: Any = layout.unpack(events, offset)
                branch = self._branch(record.branch)
                self._keep(branch, getattr(branch.records, name), record)
            elif kind == wire.KIND_EDGE:
                ended += self._edge(wire.EdgeRecord.unpack(events, offset))
        return ended

    def keep(self, record: wire.ConnectionRecord, exchange: wire.Exchange) -> None:
        """Take a connection that has ended, and its latest exchange."""
        branch = self._branch(record.branch)
        self._keep(branch, branch.records.connections, record)
        told = exchange_record(record, exchange)
        if told is not None:
            self._keep(branch, branch.records.exchanges, told)

    def end(self, cut: Cut, status: str, time: int, position: int | None = None) -> Cut:
        """End an execution that begins to look as if nothing more came of it."""
        branch = self._branch(cut.branch)
        cut.ended, cut.status, cut.syscalls_position = time, status, position
        branch.cuts = [other for other in branch.cuts if other is not cut]
        # Of several at once the last one takes everything; whoever packs it shows nothing of it.
        if not cut.is_shared or not branch.cuts:
            self._take(cut)
        return cut

    def conclude(self, cut: Cut, last: wire.EdgeRecord) -> Cut:
        """End an execution that has been answered; `last` is the edge that says it is over."""
        answer = cut.answer or last
        if last.time - answer.time < ANSWERING_NS:
            last = answer
        cut.figures = last
        status = OK if answer.edge == wire.EDGE_RESPONSE else ERROR
        return self.end(cut, status, last.time, last.syscalls_position)

    def peek(self, cut: Cut) -> None:
        """Put into `cut` what has been recorded for it so far; it goes on."""
        cut.records = Records()
        for branch in self._branches_of(cut):
            cut.records.extend(branch.records)

    def _take(self, cut: Cut) -> None:
        cut.records = Records()
        for branch in self._branches_of(cut):
            cut.lost += branch.lost
            branch.lost = 0
            cut.records.extend(branch.records.split(cut.ended))

    def _branches_of(self, cut: Cut) -> list[_Branch]:
        if cut.branch:
            return [self._branch(cut.branch)]
        return [each for number, each in self._branches.items() if number not in self.apart]

    def _keep(self, branch: _Branch, kept: list[Any], record: object) -> None:
        everyones = self._branches.get(0)
        if branch.is_runtime or (everyones is not None and everyones.cuts):
            if len(kept) >= self._max_claimed:
                branch.lost += 1
                return
        elif len(kept) >= MAX_UNCLAIMED:
            del kept[: MAX_UNCLAIMED // 2]
            # Nobody's loss, unless this turns out to be the runtime.
            branch.lost += MAX_UNCLAIMED // 2
        kept.append(record)

    def _branch(self, number: int) -> _Branch:
        branch = self._branches.get(number)
        if branch is None:
            if len(self._branches) >= MAX_BRANCHES:
                # Rather one that has nothing to do with an execution.
                idle = [n for n, each in self._branches.items() if not each.is_runtime and n]
                del self._branches[next(iter(idle or self._branches))]
            branch = self._branches[number] = _Branch()
        return branch

    def _edge(self, edge: wire.EdgeRecord) -> list[Cut]:
        """The executions that this edge ends."""
        branch = self._branch(edge.branch)
        if edge.edge == wire.EDGE_PROCESS_EXIT:
            return self._process_exit(edge, branch)
        if edge.edge == wire.EDGE_SNAPSHOT:
            # It happened once, and would be told by every environment that is made of it.
            for each in self._branches.values():
                each.records.split(edge.time)
                each.lost = 0
            self._snapshot = edge
            return []
        if edge.edge == wire.EDGE_INIT_ERROR:
            branch.has_told = True  # and will never ask for an execution
            return []
        branch.is_runtime = self._has_seen_runtime = True
        self.death = None
        if edge.edge == wire.EDGE_START:
            return self._start(edge, branch, request_id_in(edge.text))
        if edge.edge in (wire.EDGE_RESPONSE, wire.EDGE_ERROR):
            return self._answer(edge, branch)
        return self._ask(edge, branch) if edge.edge == wire.EDGE_NEXT else []

    def _ask(self, edge: wire.EdgeRecord, branch: _Branch) -> list[Cut]:
        """A process asks for the next execution, so the one that it was given is over.

        If its answer was not seen, it was not in the form in which it is looked for.
        """
        branch.asking, branch.has_asked = edge.tgid, True
        cut = branch.cut
        if cut is not None and cut.answer is not None:
            # Whichever of the runtime's processes asks: in a shell each `curl` is one of its own.
            return [self.conclude(cut, edge)]
        if self._several or cut is None or cut.figures_before is None or _is_anothers(cut, edge):
            return []
        cut.figures = edge
        return [self.end(cut, UNFINISHED, edge.time, edge.syscalls_position)]

    def _answer(self, edge: wire.EdgeRecord, branch: _Branch) -> list[Cut]:
        status = OK if edge.edge == wire.EDGE_RESPONSE else ERROR
        # Also ends what an INVOKE event began, before this branch was known (begin()).
        request_id = edge.text.rstrip(b"\0").decode("utf-8", "replace")
        cut = self.open_cut(request_id)
        if cut is None and branch.cut is not None and not branch.cut.request_id:
            # The reply to `next` did not show its id where it is looked for.
            cut = branch.cut
            cut.request_id = request_id
        if cut is not None and not cut.branch:
            # Now it is known whose it is.
            self._branch(0).cuts = []
            cut.branch = edge.branch
        if cut is None and branch.asking == edge.tgid and not self._several:
            # It was given this one in pieces too small to be looked at. When, nobody knows here.
            cut = Cut(request_id, edge.branch, 0, EXTENSION)
            branch.cuts.append(cut)
            branch.asking = 0
        if cut is None:
            return []
        # Nobody answers for another runtime, unless it is not known which of them is one.
        if cut.branch == edge.branch:
            if branch.has_asked and cut.edges == KERNEL and not self._several:
                cut.answer = cut.answer or edge
                return []
            cut.figures = edge
            if edge.flags & wire.SAMPLED_EDGE:
                cut.tolerance = edge.time - max(edge.born, cut.started)
        elif not cut.is_contested:
            self._refused += 1
            return []
        return [self.end(cut, status, edge.time, edge.syscalls_position)]

    def _start(self, edge: wire.EdgeRecord, branch: _Branch, request_id: str) -> list[Cut]:
        # That the runtime asked for this one was not seen, and since then it may have waited long.
        over = [(cut, cut.answer) for cut in branch.cuts if cut.answer is not None]
        ended = [self.conclude(cut, answer) for cut, answer in over]
        return ended + self._begin(edge, branch, request_id)

    def _begin(self, edge: wire.EdgeRecord, branch: _Branch, request_id: str) -> list[Cut]:
        known = self.open_cut(request_id)
        if known is not None and request_id:
            if known.edges == KERNEL and not self._gives_way(known, branch, edge):
                return []
            # An INVOKE event told of it first; the kernel knows better when and whose it is.
            self._branch(known.branch).cuts.remove(known)
        if branch.cut is not None and _is_anothers(branch.cut, edge):
            # A process that the function started, and its runtime is still at it.
            self._refused += 1
            return []
        unfinished = []
        if branch.cuts and (not self._several or len(branch.cuts) >= MAX_OPEN):
            # The runtime has moved on without an answer that was seen.
            left = branch.cuts[0]
            left.figures = edge
            unfinished = [self.end(left, UNFINISHED, edge.time, edge.syscalls_position)]
        branch.asking = 0
        edges = LOOKS if edge.flags & wire.SAMPLED_EDGE else KERNEL
        cut = Cut(request_id, edge.branch, edge.time, edges)
        cut.figures_before = edge
        cut.deadline_ms = deadline_in(edge.text)
        branch.cuts.append(cut)
        for each in branch.cuts[:-1]:
            each.is_shared = cut.is_shared = True
        return unfinished

    def _gives_way(self, known: Cut, branch: _Branch, edge: wire.EdgeRecord) -> bool:
        """Whether an execution that is under way is rather this branch's.

        The platform gives one once: one of the two has made it up.
        """
        self._refused += 1
        if known.branch == edge.branch or self._branch(known.branch).is_confirmed:
            return False
        known.is_contested = not branch.is_confirmed
        return branch.is_confirmed

    def _process_exit(self, edge: wire.EdgeRecord, branch: _Branch) -> list[Cut]:
        if not edge.parent and branch.is_runtime:
            branch.is_runtime = False
            ended = []
            for cut in list(branch.cuts):
                cut.figures = edge
                has_told = cut.answer is not None and cut.answer.edge == wire.EDGE_ERROR
                status = ERROR if has_told else CRASH
                ended.append(self.end(cut, status, edge.time, edge.syscalls_position))
                # Its own end is part of it.
                cut.records.processes.append(edge)
            if ended:
                return ended
        self._keep(branch, branch.records.processes, edge)
        by_itself = branch.has_told or not _was_ended(edge)
        if by_itself and not edge.parent and not self._has_seen_runtime:
            self.death = Death(edge, branch.has_told)
        return []

    def end_in_init(self, cut: Cut, death: Death, time: int) -> Cut:
        """End an execution that was told of, and that nobody was there to be given."""
        # It was for whoever ended, and the init of that is all there was of it.
        own = self._branch(cut.branch)
        own.cuts = [other for other in own.cuts if other is not cut]
        cut.branch, cut.in_init = death.edge.branch, True
        # What happened at the very moment of an end is not part of it; this death is.
        return self.end(cut, death.status, max(time, death.edge.time + 1))

    def claim(self, number: int) -> Records:
        """What came of a branch after its runtime had ended: the kernel closes its sockets last."""
        branch = self._branches.pop(number, None)
        return Records() if branch is None else branch.records


def exchange_record(
    connection: wire.ConnectionRecord, exchange: wire.Exchange
) -> wire.ExchangeRecord | None:
    """A connection's latest exchange as a record; None if there was none, or it is no stream."""
    if not exchange.first_out and not exchange.first_in:
        return None
    return wire.ExchangeRecord(
        wire.KIND_EXCHANGE, 0, 0, connection.id, connection.tgid, connection.branch,
        exchange.first_out, exchange.last_out, exchange.first_in, exchange.last_in,
        exchange.bytes_out, exchange.bytes_in, exchange.sends, exchange.receives,
        max(0, connection.retransmits - exchange.retransmits_before), 0,
    )  # fmt: skip


def _is_anothers(cut: Cut, edge: wire.EdgeRecord) -> bool:
    """Whether another process than the one that was given an execution is given the next one."""
    return cut.figures_before is not None and cut.figures_before.tgid != edge.tgid


def _was_ended(edge: wire.EdgeRecord) -> bool:
    """Whether a process was ended by somebody else: the platform ends its children so."""
    by_signal = edge.flags & wire.ENDING_SIGNAL in (_SIGKILL, _SIGTERM)
    return by_signal and not edge.flags & wire.ENDING_OUT_OF_MEMORY


def request_id_in(headers: bytes) -> str:
    """The id in a piece of the reply to `next`; empty if it is not there."""
    at = headers.lower().find(_REQUEST_ID)
    if at < 0:
        return ""
    at += len(_REQUEST_ID)
    # As it is spelled, and where it is shorter than AWS's, without what stands behind it.
    found = headers[at : at + _REQUEST_ID_CHARACTERS].partition(b"\r")[0]
    return found.rstrip(b"\0").decode("utf-8", "replace")


def is_beginning(seen: str, request_id: str) -> bool:
    """Whether `seen` is as much of a longer id than AWS's as the kernel reads."""
    return len(seen) == _REQUEST_ID_CHARACTERS and request_id.startswith(seen)


def deadline_in(headers: bytes) -> int:
    """The deadline in a piece of the reply to `next` (ms since the epoch); 0 if it is not there."""
    digits = headers.lower().partition(_DEADLINE)[2][:_DEADLINE_DIGITS]
    return int(digits) if len(digits) == _DEADLINE_DIGITS and digits.isdigit() else 0
