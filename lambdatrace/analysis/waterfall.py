"""An execution as a waterfall: what happened when, as rows of stretches over one axis of time.

Rows are numbered as `show --output json` has its arrays: n1 is the first of `namelookups`, c2 the
second of `connections`, e3 the third of `exchanges`. Slow calls have no array of their own: w1 is
the first that is shown.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lambdatrace.analysis.phases import Stretches, bare_exchange_phases, bare_phases
from lambdatrace.analysis.waiting import SlowCalls, slow_calls, worth_showing
from lambdatrace.model import (
    SHORT_CONNECTIONS,
    Connection,
    CpuTime,
    Exchange,
    Namelookup,
    Outcome,
    Part,
    PhaseKind,
)
from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lambdatrace.analysis.phases import BarePhase
    from lambdatrace.model import Pause, Trace

# From so many rows of a kind on, those that have a name or a destination in common are one.
_MOST_ROWS = 24
# So many calls are shown; the longest ones.
_MOST_CALLS = 8
# A connection's exchanges have rows of their own where there are so many at most, and one of them
# is long enough to be seen (of the duration).
_MOST_EXCHANGES = 6
_SEEN = 0.02
# Of a group, so many of those that failed have a row, and the longest if it was so many times as
# long as the median.
_MOST_FAILED = 3
_OUTLIER = 2
# Below this share of the duration a name or a destination with only a few rows joins the others.
_SMALL = 0.01
_FEW = 3
_UNREMARKABLE = frozenset({Outcome.OK, Outcome.OPEN, Outcome.GONE})
_NOT_OVER = frozenset({Outcome.OPEN, Outcome.CONNECTING})


class Activity(StrEnum):
    """What a stretch of a row was spent on."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    WAIT = "wait"
    TRANSFER = "transfer"
    EXCHANGES = "exchanges"  # as PhaseKind.EXCHANGES
    CALL = "call"  # a syscall waited
    RUNNING = "running"  # on a CPU, or asleep for less than the threshold
    RUNQUEUE = "runqueue"  # could have run and no thread did
    MEMBER = "member"  # one of a group was at something


class End(StrEnum):
    """How a row ended."""

    DONE = "done"
    FAILED = "failed"
    OPEN = "open"  # it had not when the execution ended


# A look into an enum takes as long as a call.
_DONE, _FAILED, _OPEN = End.DONE, End.FAILED, End.OPEN
_WAIT = Part.WAIT


class Stretch(NamedTuple):
    """A stretch of time, ns relative to the execution's start; there may be many."""

    activity: Activity
    start_ns: int
    end_ns: int


class Group(Value):
    """Rows of one kind taken together: those of one name or destination, or of all others."""

    # One of them stands for the name or the destination; None: they have several.
    example: Namelookup | Connection | None
    kind: str  # namelookup, connection
    names: int  # how many different ones
    count: int
    troubles: tuple[tuple[str, int], ...]  # in words, how often; the most frequent first
    median_ns: int  # of the times that they took
    longest_ns: int
    bytes_out: int
    bytes_in: int


Source = Namelookup | Connection | Exchange | SlowCalls | CpuTime | Group
# Of a row that may become one of a group, of which there may be very many: its number, its source,
# its start, its end, how long it was at something, from when to when it was, and how it ended.
Member = tuple[int, Source, int, int, int, int, int, End]
Kind = TypeVar("Kind")


class Row(Value):
    """One row, ns relative to the execution's start."""

    number: str  # n1, c1, e1, w1; empty for the CPU and for groups
    source: Source
    start_ns: int
    end_ns: int
    took_ns: int  # at something, within the execution
    stretches: tuple[Stretch, ...]  # by start but for those of a group
    end: End = End.DONE
    level: int = 0  # 1: it belongs to the row above
    note: str = ""  # why one of a group has a row, where it needs no other name


class Waterfall(Value):
    """The rows of one execution by start, the CPU's last, and what is not among them."""

    duration_ns: int
    rows: tuple[Row, ...]
    connections: int  # also those that are not among the rows
    carriers: tuple[int, ...]  # numbers of connections that carried namelookups and nothing else
    before: int  # connections that had ended before the execution began
    before_failed: int
    calls_left_out: int  # waits in syscalls
    only_looked: bool  # now and then: there may have been other connections
    pauses_known: bool  # so what held the execution up is known as well


def waterfall(trace: Trace, exchanges: Mapping[int, Sequence[Exchange]]) -> Waterfall:
    """The waterfall of an execution.

    `exchanges` are those of a connection, by its id, where all of them are known.
    """
    duration = max(1, trace.execution.duration_ns)
    lookups = _lookup_rows(trace, duration)
    carriers = _carriers(trace)
    blocks = [[row] for row in lookups]
    if len(blocks) > _MOST_ROWS:
        asked = (_member_of(place, row, duration) for place, row in enumerate(lookups))
        blocks = _folded(asked, "namelookup", duration, lookups.__getitem__)
    drawn = [
        (number, each)
        for number, each in enumerate(trace.connections, 1)
        if not each.before and number not in carriers
    ]

    waits = _waits(trace)

    def phases_of(connection: Connection) -> list[BarePhase]:
        own = exchanges.get(connection.id)
        phases = bare_phases(connection, own)
        if own is None or not (found := waits.get(connection.id)):
            return phases
        return _with_unasked(phases, found)

    def row_of(number: int) -> Row:
        connection = trace.connections[number - 1]
        return _connection_row(number, connection, phases_of(connection), duration)

    if len(drawn) > _MOST_ROWS:
        members = (
            # Without a call more for each; there may be very many.
            _member(number, each, bare_phases(each, exchanges.get(each.id)), duration)
            if each.id not in waits
            else _member(number, each, phases_of(each), duration)
            for number, each in drawn
        )
        blocks += _folded(members, "connection", duration, row_of)
    else:
        numbers = {id(each): number for number, each in enumerate(trace.exchanges, 1)}
        alone = [row_of(number) for number, _ in drawn]
        blocks += _with_exchanges(alone, exchanges, numbers, duration)
    calls = slow_calls(trace.blocked)
    pauses = trace.pauses if _has_pauses(trace) else None
    shown = worth_showing(calls, pauses, duration, _MOST_CALLS)
    blocks += [[_call_row(number, each, duration)] for number, each in enumerate(shown, 1)]
    blocks.sort(key=lambda block: block[0].start_ns)
    rows = [row for block in blocks for row in block]
    if pauses is not None and trace.execution.cpu is not None:
        rows.append(_cpu_row(trace.execution.cpu, pauses, duration))
    before = [each for each in trace.connections if each.before]
    return Waterfall(
        duration_ns=duration,
        rows=tuple(rows),
        connections=len(trace.connections),
        carriers=tuple(sorted(carriers)),
        before=len(before),
        before_failed=sum(each.outcome not in _UNREMARKABLE for each in before),
        calls_left_out=len(trace.blocked) - sum(len(each.calls) for each in shown),
        only_looked=SHORT_CONNECTIONS in trace.execution.unavailable,
        pauses_known=pauses is not None,
    )


def _has_pauses(trace: Trace) -> bool:
    execution = trace.execution
    groups = {"cpu", "blocked"} <= set(execution.capture)
    # An agent that did not know of the one did not know of the other.
    return groups and execution.partition is not None and execution.kept


def _carriers(trace: Trace) -> set[int]:
    """Connections of which the namelookups tell everything there is."""
    asked = {each.connection_id for each in trace.namelookups}
    if not asked:
        return set()
    return {
        number
        for number, each in enumerate(trace.connections, 1)
        if each.id in asked and each.outcome in _UNREMARKABLE and not each.before
    }


def _lookup_rows(trace: Trace, duration: int) -> list[Row]:
    if not trace.namelookups:
        return []
    ends = {each.id: each.started_ns + each.duration_ns for each in trace.connections}
    open_ones = {each.id for each in trace.connections if each.outcome is Outcome.OPEN}
    resolved = {each.name for each in trace.namelookups if each.addresses}
    return [
        _lookup_row(f"n{number}", each, ends, open_ones, resolved, duration)
        for number, each in enumerate(trace.namelookups, 1)
    ]


def _lookup_row(
    number: str,
    lookup: Namelookup,
    ends: Mapping[int, int],
    open_ones: set[int],
    resolved: set[str],
    duration: int,
) -> Row:
    start, end = lookup.started_ns, End.DONE
    if lookup.duration_ns is not None:
        stop = start + lookup.duration_ns
        # That a name has no address of one type matters little if it has some of another.
        if lookup.answer != "NOERROR" and lookup.name not in resolved:
            end = End.FAILED
    else:
        # Nobody asks any more once the socket is closed; what is told of it may be an older one.
        stop = max(start, min(duration, ends.get(lookup.connection_id, duration)))
        is_open = lookup.connection_id in open_ones or lookup.connection_id not in ends
        end = End.OPEN if is_open and stop >= duration else End.FAILED
    stretches = _stretches([(Activity.DNS, start, stop)], duration)
    return Row(number, lookup, start, stop, _sum(stretches), stretches, end)


def _waits(trace: Trace) -> Mapping[int, list[BarePhase]]:
    """The pauses in which a connection's peer was waited for, by the connection's id."""
    found: dict[int, list[BarePhase]] = {}
    for pause in trace.pauses:
        if pause.part is _WAIT and pause.connection_id is not None:
            started = pause.started_ns
            wait = PhaseKind.WAIT, started, started + pause.duration_ns
            found.setdefault(pause.connection_id, []).append(wait)
    return found


def _with_unasked(phases: Sequence[BarePhase], waits: Iterable[BarePhase]) -> list[BarePhase]:
    """Phases and those waits in which there is none: for what a peer says without being asked.

    No exchange tells since when that was waited for.
    """
    known = Stretches((start, end) for _, start, end in phases)
    unasked = [wait for wait in waits if not known.overlap(wait[1], wait[2])]
    return sorted([*phases, *unasked], key=_START)


def _connection_row(
    number: int, connection: Connection, phases: Iterable[BarePhase], duration: int
) -> Row:
    stretches = _of_phases(phases, duration)
    start, stop = connection.started_ns, connection.started_ns + connection.duration_ns
    took, end = _union_ns(stretches), _end_of(connection)
    return Row(f"c{number}", connection, start, stop, took, stretches, end)


def _end_of(connection: Connection) -> End:
    if connection.outcome in _NOT_OVER:
        return _OPEN
    if connection.outcome not in _UNREMARKABLE or connection.tls_error is not None:
        return _FAILED
    return _DONE


def _member(
    number: int, connection: Connection, phases: Sequence[BarePhase], duration: int
) -> Member:
    start = connection.started_ns
    first, last, took = _extent(phases, start, duration)
    stop = start + connection.duration_ns
    return number, connection, start, stop, took, first, last, _end_of(connection)


def _member_of(place: int, row: Row, duration: int) -> Member:
    first, last, _ = _extent(row.stretches, row.start_ns, duration)
    return place, row.source, row.start_ns, row.end_ns, row.took_ns, first, last, row.end


def _extent(
    spans: Sequence[tuple[object, int, int]], start: int, duration: int
) -> tuple[int, int, int]:
    """(from when on, until when, how long) something went on of what lies within the execution.

    What was at nothing stands where it began, at `start`.
    """
    first = last = took = 0
    for _, begun, over in spans:
        if not first <= begun <= over <= duration:
            break
        if over > last:
            took += over - max(begun, last)
            last = over
        first = begun
    else:
        # The usual case, and there may be very many: within, and one after the other.
        return (spans[0][1], last, took) if spans else (start, start, 0)
    within = _within(spans, duration)
    if not within:
        return start, start, 0
    first, last = min(each[1] for each in within), max(each[2] for each in within)
    return first, last, _union_ns(within)


def _with_exchanges(
    rows: Iterable[Row],
    exchanges: Mapping[int, Sequence[Exchange]],
    numbers: Mapping[int, int],
    duration: int,
) -> list[list[Row]]:
    """Connections, each with its exchanges below it where they say more than it does."""
    blocks = [[row] for row in rows]
    fits = _MOST_ROWS - len(blocks)

    def own(block: list[Row]) -> Sequence[Exchange]:
        source = block[0].source
        return exchanges.get(source.id, ()) if isinstance(source, Connection) else ()

    for block in sorted(blocks, key=lambda block: -block[0].took_ns):
        source, found = block[0].source, own(block)
        if not isinstance(source, Connection) or not 2 <= len(found) <= min(fits, _MOST_EXCHANGES):
            continue
        below = [
            _exchange_row(f"e{numbers[id(each)]}", source, each, duration)
            for each in found
            if id(each) in numbers
        ]
        if max((row.took_ns for row in below), default=0) >= _SEEN * duration:
            block += below
            fits -= len(below)
    return blocks


def _exchange_row(number: str, connection: Connection, exchange: Exchange, duration: int) -> Row:
    stretches = _of_phases(bare_exchange_phases(connection, exchange), duration)
    start = exchange.started_ns
    stop = max((each.end_ns for each in stretches), default=start)
    end = End.DONE
    if is_unanswered(exchange):
        is_open = connection.outcome in _NOT_OVER
        end = End.OPEN if is_open else End.FAILED
    return Row(number, exchange, start, stop, _sum(stretches), stretches, end, level=1)


def _call_row(number: int, calls: SlowCalls, duration: int) -> Row:
    stretches = _stretches(
        [
            (Activity.CALL, each.started_ns, each.started_ns + each.duration_ns)
            for each in calls.calls
        ],
        duration,
    )
    start = calls.calls[0].started_ns
    stop = max(each.started_ns + each.duration_ns for each in calls.calls)
    return Row(f"w{number}", calls, start, stop, calls.blocked_ns, stretches)


def _cpu_row(cpu: CpuTime, pauses: Sequence[Pause], duration: int) -> Row:
    """What no pause covers, and those in which a thread could have run."""
    spans = []
    running, waiting, for_cpu = Activity.RUNNING, Activity.RUNQUEUE, Part.RUNQUEUE
    free = 0
    for pause in pauses:
        start = pause.started_ns
        if start > free:
            spans.append((running, free, start))
        end = start + pause.duration_ns
        if pause.part is for_cpu:
            spans.append((waiting, start, end))
        if end > free:
            free = end
    if free < duration:
        spans.append((running, free, duration))
    return Row("", cpu, 0, duration, cpu.cpu_wall_ns, tuple(map(_made, spans)))


def _folded(
    members: Iterable[Member], kind: str, duration: int, row_of: Callable[[int], Row]
) -> list[list[Row]]:
    """Rows by name or destination: each that has several is one group, with what stands out."""
    found: dict[tuple[object, ...], _Gathered] = {}
    for member in members:
        key = _key(member[1])
        gathered = found.get(key)
        if gathered is None:
            found[key] = _Gathered(member, duration)
        else:
            gathered.add(member)
    ordered = sorted(found.values(), key=_Gathered.weight, reverse=True)
    own = [each for each in ordered if not each.is_small][: _MOST_ROWS - 1]
    chosen = {id(each) for each in own}
    others = [each for each in ordered if id(each) not in chosen]
    blocks = [_block([each], kind, row_of) for each in own]
    if others:
        blocks.append(_block(others, kind, row_of))
    return blocks


class _Gathered:
    """What is told of the rows of one name or destination; the rows themselves are not kept."""

    __slots__ = (
        "bytes_in", "bytes_out", "duration_ns", "first", "firsts", "has_failed", "is_done",
        "longest", "stop_ns", "stretches", "took", "troubles",
    )  # fmt: skip

    def __init__(self, member: Member, duration: int) -> None:
        self.duration_ns = duration  # of the execution
        self.took: list[int] = []
        # What each was at, from its first stretch to its last one: that many at once is the point.
        self.stretches: list[Stretch] = []
        self.stop_ns = member[3]
        self.first = self.longest = member  # the first of those that began first, took longest
        self.bytes_out = self.bytes_in = 0
        self.has_failed, self.is_done = False, True
        self.troubles: dict[str, int] = {}  # how often
        self.firsts: dict[str, int] = {}  # of each trouble, the number of the first
        self.add(member)

    def add(self, member: Member) -> None:
        """Take one more."""
        number, source, start, stop, took, begun, over, end = member
        self.took.append(took)
        # What was at nothing may have begun before the execution.
        if begun >= 0 and over <= self.duration_ns:
            self.stretches.append(_made((_MEMBER, begun, over)))
        if stop > self.stop_ns:
            self.stop_ns = stop
        if start < self.first[2]:
            self.first = member
        if took > self.longest[4]:
            self.longest = member
        if isinstance(source, Connection):
            self.bytes_out += source.bytes_out
            self.bytes_in += source.bytes_in
            if end is _DONE:
                return
        if end is not _DONE:
            self.is_done = False
            self.has_failed = self.has_failed or end is _FAILED
        words = _trouble(source, end)
        if words:
            self.troubles[words] = self.troubles.get(words, 0) + 1
            self.firsts.setdefault(words, number)

    def weight(self) -> tuple[bool, int]:
        """What is told first."""
        return self.has_failed, sum(self.took)

    @property
    def is_small(self) -> bool:
        """Whether they are too few and too short for a group of their own."""
        return (
            len(self.took) <= _FEW and self.is_done and sum(self.took) < _SMALL * self.duration_ns
        )


def _key(source: Source) -> tuple[object, ...]:
    if isinstance(source, Connection):
        return source.host or source.address, source.port, source.protocol
    return (source.name, source.type) if isinstance(source, Namelookup) else ()


def _block(gathered: Sequence[_Gathered], kind: str, row_of: Callable[[int], Row]) -> list[Row]:
    """A group, and below it its longest row and the first that failed in each way."""
    took = sorted(chain.from_iterable([each.took for each in gathered]))
    first = min([each.first for each in gathered], key=itemgetter(2))
    if len(took) == 1:
        return [row_of(first[0])]
    names = len(gathered)
    troubles: Counter[str] = Counter()
    firsts: dict[str, tuple[int, int]] = {}
    for place, each in enumerate(gathered):
        troubles.update(each.troubles)
        for words, number in each.firsts.items():
            firsts.setdefault(words, (place, number))
    example = first[1] if names == 1 else None
    group = Group(
        example=example if isinstance(example, Namelookup | Connection) else None,
        kind=kind,
        names=names,
        count=len(took),
        troubles=tuple(troubles.most_common()),
        median_ns=took[(len(took) - 1) // 2],
        longest_ns=took[-1],
        bytes_out=sum(each.bytes_out for each in gathered),
        bytes_in=sum(each.bytes_in for each in gathered),
    )
    stretches = tuple(chain.from_iterable([each.stretches for each in gathered]))
    stop = max(each.stop_ns for each in gathered)
    ending = End.FAILED if troubles else End.DONE
    whole = Row("", group, first[2], stop, _union_ns(stretches), stretches, ending)
    chosen = {where: f"first {words}" for words, where in list(firsts.items())[:_MOST_FAILED]}
    place, longest = max(
        [(place, each.longest) for place, each in enumerate(gathered)], key=lambda each: each[1][4]
    )
    if longest[4] >= _OUTLIER * group.median_ns:
        chosen.setdefault((place, longest[0]), "longest")
    below = [
        replaced(row_of(number), level=1, note=note if names == 1 else "")
        for (_, number), note in sorted(chosen.items())
    ]
    return [whole, *below]


def is_unanswered(exchange: Exchange) -> bool:
    """Whether no answer came."""
    return exchange.wait_ns is None and exchange.transfer_ns is None


def trouble(row: Row) -> str:
    """What went wrong in a row, in a word or two; empty: nothing did."""
    return _trouble(row.source, row.end)


def _trouble(source: Source, end: End) -> str:
    if isinstance(source, Namelookup):
        if source.answer is None:
            return "unanswered"
        return source.answer if end is End.FAILED else ""
    if isinstance(source, Connection):
        if source.tls_error is not None:
            return "TLS failed"
        if source.outcome in _UNREMARKABLE:
            return ""
        return "not connected" if source.outcome is Outcome.CONNECTING else str(source.outcome)
    return ""


def _of_phases(found: Iterable[BarePhase], duration: int) -> tuple[Stretch, ...]:
    return _stretches([(_ACTIVITIES[kind], start, end) for kind, start, end in found], duration)


_ACTIVITIES = {kind: Activity(kind.value) for kind in PhaseKind}
_MEMBER = Activity.MEMBER
_made = Stretch._make  # takes half as long as by its name


def _stretches(spans: Iterable[tuple[Activity, int, int]], duration: int) -> tuple[Stretch, ...]:
    """What of spans lies within the execution."""
    return tuple(map(_made, _within(spans, duration)))


def _within(spans: Iterable[tuple[Kind, int, int]], duration: int) -> list[tuple[Kind, int, int]]:
    """What of spans lies within the execution; a moment at its edge stays a moment."""
    found = []
    for span in spans:
        kind, start, end = span
        if start >= 0 and end <= duration:  # nearly all of them, and there may be many
            found.append(span)
        elif end >= 0 and start <= duration:
            found.append((kind, max(0, start), min(duration, end)))
    return found


def _sum(stretches: Iterable[Stretch]) -> int:
    return sum(each.end_ns - each.start_ns for each in stretches)


_START = itemgetter(1)


def _union_ns(stretches: Sequence[tuple[object, int, int]]) -> int:
    """How long at least one of them went on."""
    if len(stretches) == 1:
        return stretches[0][2] - stretches[0][1]
    total = reached = 0
    for _, start, end in sorted(stretches, key=_START):
        if end > reached:
            total += end - max(reached, start)
            reached = end
    return total
