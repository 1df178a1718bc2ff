"""Where an execution's wall-clock time went: exclusive parts that sum to its duration.

The rule: while a thread of the function is on a CPU it is CPU; while one could run and none does it
is the run queue (or, of what looks like CPU, what the host stole); while all are asleep the time
belongs to whatever ended that. How long each of these was, the kernel has summed up (EdgeRecord):
by what the thread that was woken had waited in. Pauses longer than the threshold are told one by
one (PauseRecord), so what ended them can be looked up among the spans of connections and
namelookups. Shorter ones on the network are spread over the spans of that time in proportion to
their length: the one place where a figure is shared out instead of measured.

Used by the agent, which stores the result with each summary, and by readers, which want to know
what each pause went into. All times are ns on the records' clock. Standard library only, and little
of it.
"""

from __future__ import annotations

from _bisect import bisect_left, bisect_right
from _heapq import heappop, heappush

from lambdatrace import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# In the order in which a summary has them; model.Part names the same ones.
PARTS = (
    "dns", "connect", "tls", "wait", "transfer", "file", "sleep", "lock", "cpu", "runqueue",
    "steal", "other",
)  # fmt: skip
DNS, CONNECT, TLS, WAIT, TRANSFER, FILE, SLEEP, LOCK, CPU, RUNQUEUE, STEAL, OTHER = range(12)

_DNS_PORT = 53
# A connection's state changes, and then the thread that waits for it is woken: within one soft
# interrupt, a few µs. ns
_SLACK = 50_000
# Whoever waited for what a peer says first has received it so soon after it was woken. ns
_WOKEN = 10_000_000
# A summary names so many shares, and none below a hundredth of the duration.
MOST_SHARES = 8

_OF_WAITS = {
    wire.WAITS_NUMBERS["file"]: FILE,
    wire.WAITS_NUMBERS["fault"]: FILE,
    wire.WAITS_NUMBERS["sleep"]: SLEEP,
    wire.WAITS_NUMBERS["lock"]: LOCK,
    wire.WAITS_NUMBERS["runqueue"]: RUNQUEUE,
}
NETWORK = (wire.WAITS_NETWORK, wire.WAITS_POLL)


class Span:
    """A stretch in which a connection or a namelookup was at something.

    A loose one only says that somewhere in it there may have been: its exchanges are not known.
    """

    __slots__ = ("connection", "end", "loose", "part", "start", "subject")

    def __init__(
        self, start: int, end: int, part: int, subject: str, connection: int, loose: bool = False
    ) -> None:
        self.start = start
        self.end = end
        self.part = part
        self.subject = subject
        self.connection = connection
        self.loose = loose


class Blame:
    """What a pause went into."""

    __slots__ = ("connection", "part", "subject")

    def __init__(self, part: int, subject: str, connection: int = 0) -> None:
        self.part = part
        self.subject = subject
        self.connection = connection  # ConnectionRecord.id, 0: none


def subject_of(record: wire.ConnectionRecord, host: str | None) -> str:
    """A destination in words: host, else address, and port."""
    name = host or wire.address_text(record.family, record.address)
    # An IPv6 address is told from its port by brackets (RFC 3986, 3.2.2).
    return f"[{name}]:{record.port}" if ":" in name else f"{name}:{record.port}"


def spans(
    connections: Iterable[wire.ConnectionRecord],
    exchanges: Sequence[wire.ExchangeRecord],
    lookups: Iterable[tuple[str, int, int, int]],
    hosts: Mapping[int, str],
    ended: int,
    told_apart: bool = True,
) -> list[Span]:
    """What connections and namelookups were at.

    Parameters
    ----------
    connections, exchanges
        An execution's.
    lookups
        (name, start, answer or 0, connection's id) of each.
    hosts
        Names by connection id.
    ended
        Until when what has no end lasted.
    told_apart
        Whether exchanges were recorded. Connections that have more of them than were told get a
        loose span.
    """
    found = []
    asked = set()
    told: dict[int, int] = {}
    for exchange in exchanges:
        told[exchange.connection] = told.get(exchange.connection, 0) + 1
    for name, started, answered, connection in lookups:
        asked.add(connection)
        found.append(Span(started, answered or ended, DNS, name, connection))
    known = {}
    for record in connections:
        if record.flags & wire.CONNECTION_BEFORE:
            continue
        subject, end = subject_of(record, hosts.get(record.id)), record.closed or ended
        begun = record.tls_ended or record.established or record.started
        known[record.id] = record.id, subject, begun, end
        is_dns = record.port == _DNS_PORT
        is_tcp = record.protocol == wire.PROTOCOL_TCP
        if is_tcp:
            part = DNS if is_dns else CONNECT
            found.append(Span(record.started, record.established or end, part, subject, record.id))
        if record.tls_started:
            found.append(Span(record.tls_started, record.tls_ended or end, TLS, subject, record.id))
        whole = is_tcp and told_apart and told.get(record.id, 0) >= record.exchanges
        if record.first_out and record.id not in asked and not whole:
            # An answer need not come to a datagram.
            awaits = is_tcp or is_dns
            last = record.last_in if record.last_in > record.last_out or not awaits else end
            part = DNS if is_dns else WAIT
            found.append(Span(record.first_out, last, part, subject, record.id, loose=not is_dns))
    for exchange in exchanges:
        if exchange.connection not in known:
            continue
        number, subject, begun, end = known[exchange.connection]
        if number in asked:
            continue
        sent, answered = exchange.last_out, exchange.first_in
        if sent:
            found.append(Span(exchange.first_out, sent, TRANSFER, subject, number))
            found.append(Span(sent, answered or end, WAIT, subject, number))
        else:
            # The peer spoke first, as mail servers and databases do. Since when that was waited
            # for is not known: what counts is who was woken by it.
            found.append(Span(max(begun, answered - _WOKEN), answered, WAIT, subject, number))
        if answered:
            found.append(Span(answered, exchange.last_in, TRANSFER, subject, number))
    return [span for span in found if span.end > span.start]


def blames(
    pauses: Sequence[wire.PauseRecord],
    candidates: Sequence[Span],
    blocked: Iterable[wire.BlockedRecord],
) -> list[Blame]:
    """What each of `pauses` (by end) went into, in their order."""
    strict = _Active([span for span in candidates if not span.loose])
    loose = _Active([span for span in candidates if span.loose])
    # By thread: when each ended, and each.
    calls: dict[int, tuple[list[int], list[wire.BlockedRecord]]] = {}
    for call in sorted(blocked, key=_ended):
        ends, own = calls.setdefault(call.tid, ([], []))
        ends.append(call.ended)
        own.append(call)
    subjects: dict[int, str] | None = None  # by connection
    found = []
    for pause in pauses:
        of_thread = calls.get(pause.tid)
        call_or_none = None if of_thread is None else _call(pause, *of_thread)
        if pause.waits not in NETWORK:
            part = _OF_WAITS.get(pause.waits, OTHER)
            found.append(Blame(part, _subject(pause, call_or_none)))
            continue
        span_or_none = strict.at(pause) or loose.at(pause)
        if span_or_none is not None:
            span = span_or_none
            found.append(Blame(span.part, span.subject, span.connection))
        elif pause.waits == wire.WAITS_NETWORK:
            # Nothing was asked for: it was waited for what the peer would say first.
            if subjects is None:
                subjects = {span.connection: span.subject for span in candidates}
            subject = subjects.get(pause.connection) or _subject(pause, call_or_none)
            found.append(Blame(WAIT, subject, pause.connection))
        else:
            # Nothing was under way: a poll that its time ended was a way to sleep.
            slept = call_or_none is not None and call_or_none.result == 0
            found.append(Blame(SLEEP if slept else OTHER, _subject(pause, call_or_none)))
    return found


class _Active:
    """Spans by when they end, for pauses that are asked about by when they end."""

    def __init__(self, spans: list[Span]) -> None:
        self._all = spans
        # Each is made when the first pause asks that needs it; there may be many thousand spans.
        self._waiting: list[int] | None = None  # their places, the first to start last
        self._by_connection: dict[int, list[Span]] | None = None
        self._heap: list[tuple[int, int]] = []  # (end, place) of what is under way

    def at(self, pause: wire.PauseRecord) -> Span | None:
        """Of the spans under way when `pause` ended the first to end; of its connection, if any."""
        ended = pause.ended
        least = ended - _SLACK
        if pause.connection:
            own = self._of(pause.connection)
            while own and own[-1].end < least:
                own.pop()
            under_way = [span for span in own[-_LOOKED_AT:] if span.start < ended]
            return under_way[-1] if under_way else None
        found, waiting, heap = self._all, self._waiting, self._heap
        if waiting is None:
            starts = [span.start for span in found]
            waiting = sorted(range(len(starts)), key=starts.__getitem__, reverse=True)
            self._waiting = waiting
        while waiting and found[waiting[-1]].start < ended:
            place = waiting.pop()
            end = found[place].end
            if end >= least:
                heappush(heap, (end, place))
        while heap and heap[0][0] < least:
            heappop(heap)
        return found[heap[0][1]] if heap else None

    def _of(self, connection: int) -> list[Span]:
        """The spans of a connection, the first to end last."""
        if self._by_connection is None:
            self._by_connection = {}
            for span in self._all:
                self._by_connection.setdefault(span.connection, []).append(span)
            for own in self._by_connection.values():
                own.sort(key=lambda span: -span.end)
        return self._by_connection.get(connection, [])


# Of one connection so many spans can be under way at once: its handshake's and its exchanges'.
_LOOKED_AT = 4


def _ended(record: wire.BlockedRecord) -> int:
    return record.ended


def _call(
    pause: wire.PauseRecord, ends: Sequence[int], calls: Sequence[wire.BlockedRecord]
) -> wire.BlockedRecord | None:
    """The blocked call of the thread that ended `pause`, of all of that thread's by end."""
    # One after the other: only the first that ended no earlier can be it. There may be thousands.
    place = bisect_left(ends, pause.ended)
    call = calls[place] if place < len(calls) else None
    return call if call is not None and call.started < pause.ended else None


def _subject(pause: wire.PauseRecord, call: wire.BlockedRecord | None) -> str:
    path = b"" if call is None else call.path.split(b"\0", 1)[0]
    if path:
        return path.decode("utf-8", "replace")
    if pause.waits == wire.WAITS_FAULT:
        return "page fault"
    return wire.OPS[pause.op] if pause.op else f"syscall {pause.number}"


class Division:
    """A partition: ns of each of PARTS, and what they went into."""

    __slots__ = ("knows_steal", "parts", "shares")

    def __init__(
        self, parts: list[int], shares: dict[tuple[int, str], int], knows_steal: bool
    ) -> None:
        self.parts = parts
        self.shares = shares
        self.knows_steal = knows_steal

    def row(self, blind: Sequence[int] = ()) -> list[int | None]:
        """The parts as a summary has them; of those in `blind` 0 means that nothing was seen."""
        return [
            None if (part == STEAL and not self.knows_steal) or (part in blind and not ns) else ns
            for part, ns in enumerate(self.parts)
        ]

    def shares_row(self) -> list[list[object]]:
        """The largest shares as a summary has them: [part, subject, ns]."""
        least = sum(self.parts) // 100
        ordered = sorted(self.shares.items(), key=lambda item: -item[1])
        return [
            [PARTS[part], subject, ns]
            for (part, subject), ns in ordered[:MOST_SHARES]
            if ns > least
        ]


def divide(
    execution: tuple[int, int],
    cpu: Sequence[int],
    idle: Sequence[int],
    steal: int | None,
    pauses: Sequence[wire.PauseRecord],
    found: Sequence[Blame],
    candidates: Iterable[Span],
) -> Division:
    """Divide an execution.

    Parameters
    ----------
    execution
        Its start and its end.
    cpu
        [CPU, wall time with CPU, run queue, wall time in it] meanwhile.
    idle
        How long all threads were asleep, by WAITS_*; that of WAITS_OTHER is not looked at.
    steal
        What the host took of its CPU time; None: that is not told.
    pauses, found
        The pauses by end, and what they went into.
    candidates
        Spans for the pauses that were too short to be told.
    """
    started, ended = execution
    duration = max(0, ended - started)
    parts = [0] * len(PARTS)
    shares: dict[tuple[int, str], int] = {}
    cpu_sum, cpu_wall, _, runqueue_wall = cpu
    # Threads that run side by side lose theirs side by side.
    stolen = min(cpu_wall, (steal or 0) * cpu_wall // max(1, cpu_sum, cpu_wall))
    parts[STEAL], parts[CPU], parts[RUNQUEUE] = stolen, cpu_wall - stolen, runqueue_wall
    network = 0
    for waits, ns in enumerate(idle):
        if waits in NETWORK:
            network += ns
        else:
            parts[_OF_WAITS.get(waits, OTHER)] += ns if waits != wire.WAITS_OTHER else 0
    for pause, blame in zip(pauses, found, strict=True):
        ns = max(0, min(pause.ended, ended) - max(pause.started, started))
        if pause.waits in NETWORK:
            ns = min(ns, network)
            network -= ns
            parts[blame.part] += ns
        if blame.part not in (RUNQUEUE, OTHER) and ns:
            key = (blame.part, blame.subject)
            shares[key] = shares.get(key, 0) + ns
    if network:
        network -= _spread(network, started, ended, pauses, candidates, parts, shares)
    parts[OTHER] = 0
    _fit(parts, duration)
    return Division(parts, shares, steal is not None)


def _spread(
    network: int,
    started: int,
    ended: int,
    pauses: Sequence[wire.PauseRecord],
    candidates: Iterable[Span],
    parts: list[int],
    shares: dict[tuple[int, str], int],
) -> int:
    """Share `network` ns out over what of the spans no pause covers, by length.

    Returns how much was.
    """
    covered = _Covered(pauses)
    lengths: dict[tuple[int, str], int] = {}
    for span in candidates:
        start, end = max(span.start, started), min(span.end, ended)
        if end > start:
            key = (span.part, span.subject)
            length = end - start - covered.within(start, end)
            lengths[key] = lengths.get(key, 0) + max(0, length)
    total = sum(lengths.values())
    if not total:
        return 0
    shared = min(network, total)
    given = reached = 0
    for key, length in lengths.items():
        reached += length
        ns = shared * reached // total - given
        given += ns
        parts[key[0]] += ns
        if ns:
            shares[key] = shares.get(key, 0) + ns
    return given


class _Covered:
    """How much of a stretch pauses cover; they do not overlap."""

    def __init__(self, pauses: Sequence[wire.PauseRecord]) -> None:
        ordered = sorted((pause.started, pause.ended) for pause in pauses)
        self._starts = [start for start, _ in ordered]
        self._ends = [end for _, end in ordered]
        self._sums = [0]
        for start, end in ordered:
            self._sums.append(self._sums[-1] + end - start)

    def within(self, start: int, end: int) -> int:
        """Ns of [start, end] that pauses cover."""
        return self._until(end) - self._until(start)

    def _until(self, moment: int) -> int:
        number = bisect_right(self._starts, moment)
        if not number:
            return 0
        return self._sums[number] - max(0, self._ends[number - 1] - moment)


def _fit(parts: list[int], duration: int) -> None:
    """What no part has is other; what they have too much goes off the largest.

    Too much can only be what two CPUs counted in the same moment (probe.c), or what was counted at
    an edge and an execution's end that is not that edge.
    """
    parts[OTHER] = max(0, duration - sum(parts))
    excess = sum(parts) - duration
    for part in sorted(range(len(parts)), key=lambda part: -parts[part]):
        taken = min(excess, parts[part])
        parts[part] -= taken
        excess -= taken
