"""An execution as a waterfall: what happened when, as rows of stretches over one axis of time.

Rows are numbered as `show --output json` has its arrays: n1 is the first of `namelookups`, c2 the
second of `connections`, e3 the third of `exchanges`. Slow calls have no array of their own: w1 is
the first that is shown.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace.analysis.phases import exchange_phases, phases
from lambdatrace.analysis.waiting import SlowCalls, slow_calls, worth_showing
from lambdatrace.model import (
    SHORT_CONNECTIONS,
    Connection,
    CpuTime,
    Exchange,
    Namelookup,
    Outcome,
    Part,
    Phase,
    PhaseKind,
)
from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    ends = {each.id: each.started_ns + each.duration_ns for each in trace.connections}
    open_ones = {each.id for each in trace.connections if each.outcome is Outcome.OPEN}
    resolved = {each.name for each in trace.namelookups if each.addresses}
    lookups = [
        _lookup_row(f"n{number}", each, ends, open_ones, resolved, duration)
        for number, each in enumerate(trace.namelookups, 1)
    ]
    carriers = _carriers(trace)
    numbers = {id(each): number for number, each in enumerate(trace.exchanges, 1)}
    blocks = [[row] for row in lookups]
    if len(blocks) > _MOST_ROWS:
        blocks = _folded(lookups, "namelookup", duration)
    drawn = [
        _connection_row(f"c{number}", each, exchanges.get(each.id), duration)
        for number, each in enumerate(trace.connections, 1)
        if not each.before and number not in carriers
    ]
    if len(drawn) > _MOST_ROWS:
        blocks += _folded(drawn, "connection", duration)
    else:
        blocks += _with_exchanges(drawn, exchanges, numbers, duration)
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
    return {
        number
        for number, each in enumerate(trace.connections, 1)
        if each.id in asked and each.outcome in _UNREMARKABLE and not each.before
    }


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
    stretches = _clipped([(Activity.DNS, start, stop)], duration)
    return Row(number, lookup, start, stop, _sum(stretches), stretches, end)


def _connection_row(
    number: str, connection: Connection, exchanges: Sequence[Exchange] | None, duration: int
) -> Row:
    stretches = _of_phases(phases(connection, exchanges), duration)
    start, stop = connection.started_ns, connection.started_ns + connection.duration_ns
    end = End.DONE
    if connection.outcome in (Outcome.OPEN, Outcome.CONNECTING):
        end = End.OPEN
    elif connection.outcome not in _UNREMARKABLE or connection.tls_error is not None:
        end = End.FAILED
    return Row(number, connection, start, stop, _union_ns(stretches), stretches, end)


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
    stretches = _of_phases(exchange_phases(connection, exchange), duration)
    start = exchange.started_ns
    stop = max((each.end_ns for each in stretches), default=start)
    end = End.DONE
    if is_unanswered(exchange):
        is_open = connection.outcome in (Outcome.OPEN, Outcome.CONNECTING)
        end = End.OPEN if is_open else End.FAILED
    return Row(number, exchange, start, stop, _sum(stretches), stretches, end, level=1)


def _call_row(number: int, calls: SlowCalls, duration: int) -> Row:
    stretches = _clipped(
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
    stretches = []
    free = 0
    for pause in pauses:
        if pause.started_ns > free:
            stretches.append(Stretch(Activity.RUNNING, free, pause.started_ns))
        end = pause.started_ns + pause.duration_ns
        if pause.part is Part.RUNQUEUE:
            stretches.append(Stretch(Activity.RUNQUEUE, pause.started_ns, end))
        free = max(free, end)
    if free < duration:
        stretches.append(Stretch(Activity.RUNNING, free, duration))
    return Row("", cpu, 0, duration, cpu.cpu_wall_ns, tuple(stretches))


def _folded(rows: Sequence[Row], kind: str, duration: int) -> list[list[Row]]:
    """Rows by name or destination: each that has several is one group, with what stands out."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(_key(row), []).append(row)
    ordered = sorted(found.values(), key=_weight, reverse=True)
    own = [each for each in ordered if not _is_small(each, duration)][: _MOST_ROWS - 1]
    chosen = {id(each) for each in own}
    others = [each for each in ordered if id(each) not in chosen]
    blocks = [_block(each, kind, 1, duration) for each in own]
    if others:
        rest = [row for each in others for row in each]
        blocks.append(_block(rest, kind, len(others), duration))
    return blocks


def _is_small(rows: Sequence[Row], duration: int) -> bool:
    if len(rows) > _FEW or any(row.end is not End.DONE for row in rows):
        return False
    return sum(row.took_ns for row in rows) < _SMALL * duration


def _key(row: Row) -> tuple[object, ...]:
    source = row.source
    if isinstance(source, Connection):
        return source.host or source.address, source.port, source.protocol
    return (source.name, source.type) if isinstance(source, Namelookup) else ()


def _weight(rows: Sequence[Row]) -> tuple[bool, int]:
    failed = any(row.end is End.FAILED for row in rows)
    return failed, sum(row.took_ns for row in rows)


def _block(rows: list[Row], kind: str, names: int, duration: int) -> list[Row]:
    """A group, and below it its longest row and the first that failed in each way."""
    if len(rows) == 1:
        return rows
    troubles: Counter[str] = Counter()
    firsts: dict[str, Row] = {}
    for row in rows:
        words = trouble(row)
        if words:
            troubles[words] += 1
            firsts.setdefault(words, row)
    took = sorted(row.took_ns for row in rows)
    sources = [row.source for row in rows if isinstance(row.source, Connection)]
    first = min(rows, key=lambda row: row.start_ns)
    example = first.source if names == 1 else None
    group = Group(
        example=example if isinstance(example, Namelookup | Connection) else None,
        kind=kind,
        names=names,
        count=len(rows),
        troubles=tuple(troubles.most_common()),
        median_ns=took[(len(took) - 1) // 2],
        longest_ns=took[-1],
        bytes_out=sum(each.bytes_out for each in sources),
        bytes_in=sum(each.bytes_in for each in sources),
    )
    members = []
    for row in rows:
        # What it was at, from its first stretch to its last one: that many at once is the point.
        start = min((each.start_ns for each in row.stretches), default=row.start_ns)
        end = max((each.end_ns for each in row.stretches), default=row.start_ns)
        members.append((Activity.MEMBER, start, end))
    stop = max(row.end_ns for row in rows)
    stretches = _clipped(members, duration)
    ending = End.FAILED if troubles else End.DONE
    whole = Row("", group, first.start_ns, stop, _union_ns(stretches), stretches, ending)
    chosen = {id(row): f"first {words}" for words, row in list(firsts.items())[:_MOST_FAILED]}
    longest = max(rows, key=lambda row: row.took_ns)
    if longest.took_ns >= _OUTLIER * group.median_ns:
        chosen.setdefault(id(longest), "longest")
    below = [
        replaced(row, level=1, note=chosen[id(row)] if names == 1 else "")
        for row in rows
        if id(row) in chosen
    ]
    return [whole, *below]


def is_unanswered(exchange: Exchange) -> bool:
    """Whether no answer came."""
    return exchange.wait_ns is None and exchange.transfer_ns is None


def trouble(row: Row) -> str:
    """What went wrong in a row, in a word or two; empty: nothing did."""
    source = row.source
    if isinstance(source, Namelookup):
        if source.answer is None:
            return "unanswered"
        return source.answer if row.end is End.FAILED else ""
    if isinstance(source, Connection):
        if source.tls_error is not None:
            return "TLS failed"
        if source.outcome is Outcome.CONNECTING:
            return "not connected"
        return "" if source.outcome in _UNREMARKABLE else str(source.outcome)
    return ""


def _of_phases(found: Iterable[Phase], duration: int) -> tuple[Stretch, ...]:
    return _clipped(
        [(_ACTIVITIES[phase.kind], phase.start_ns, phase.end_ns) for phase in found], duration
    )


_ACTIVITIES = {kind: Activity(kind.value) for kind in PhaseKind}


def _clipped(spans: Iterable[tuple[Activity, int, int]], duration: int) -> tuple[Stretch, ...]:
    """What of spans lies within the execution; a moment at its edge stays a moment."""
    found = []
    for activity, start, end in spans:
        if start >= 0 and end <= duration:  # nearly all of them, and there may be many
            found.append(Stretch(activity, start, end))
        elif end >= 0 and start <= duration:
            found.append(Stretch(activity, max(0, start), min(duration, end)))
    return tuple(found)


def _sum(stretches: Iterable[Stretch]) -> int:
    return sum(each.end_ns - each.start_ns for each in stretches)


_START = attrgetter("start_ns")


def _union_ns(stretches: Sequence[Stretch]) -> int:
    """How long at least one of them went on."""
    if len(stretches) == 1:
        return stretches[0].end_ns - stretches[0].start_ns
    total = reached = 0
    for _, start, end in sorted(stretches, key=_START):
        if end > reached:
            total += end - max(reached, start)
            reached = end
    return total
