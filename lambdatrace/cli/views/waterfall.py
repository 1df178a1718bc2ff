"""An execution as a waterfall: one row for each thing that took time, to scale.

A cell shows the activity that takes most of it, each with a glyph of its own, so that it reads
without colours. Less than half a cell is drawn as a bar of that many eighths.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lambdatrace.analysis.phases import connect_ns, handshake_ns, transfer_ns, wait_ns
from lambdatrace.analysis.waiting import SlowCalls
from lambdatrace.analysis.waterfall import (
    Activity,
    End,
    Group,
    Row,
    Waterfall,
    is_unanswered,
    trouble,
)
from lambdatrace.cli.views.bars import sparkline
from lambdatrace.cli.views.outcomes import connection_outcome, lookup_answer
from lambdatrace.cli.views.text import (
    BAD,
    DIM,
    WARNING,
    counted,
    cut_middle,
    destination,
    duration,
    duration_words,
    process_text,
    safe,
    size,
)
from lambdatrace.model import Connection, CpuTime, Exchange, Namelookup, Outcome
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lambdatrace.analysis.waterfall import Stretch


class Glyphs(Value):
    """What bars and marks are drawn with."""

    activities: dict[Activity, str]
    slivers: str  # from one to four eighths of a cell, from its left
    life: str
    failed: str
    open: str
    reused: str
    resent: str
    stale: str
    tick: str
    axis: str
    below: str
    cut: str
    heights: str  # of a group: few, more, most
    in_turn: str  # waited for a CPU and ran in turn, from the least running to the most


UNICODE = Glyphs(
    activities={
        Activity.DNS: "▚",
        Activity.CONNECT: "░",
        Activity.TLS: "▓",
        Activity.SEND: "▄",
        Activity.WAIT: "▒",
        Activity.TRANSFER: "█",
        Activity.EXCHANGES: "═",
        Activity.CALL: "▬",
        Activity.RUNNING: "▆",
        Activity.RUNQUEUE: "▁",
    },
    slivers="▏▎▍▌",
    life="─",
    failed="✗",
    open="→",
    reused="↺",
    resent="‼",
    stale="†",
    tick="┬",
    axis="─",
    below="└ ",
    cut="…",
    heights="▁▄█",
    in_turn="▁▂▃▅▆",
)
ASCII = Glyphs(
    activities={
        Activity.DNS: "?",
        Activity.CONNECT: ":",
        Activity.TLS: "%",
        Activity.SEND: "^",
        Activity.WAIT: "=",
        Activity.TRANSFER: "#",
        Activity.EXCHANGES: "~",
        Activity.CALL: "w",
        Activity.RUNNING: "*",
        Activity.RUNQUEUE: ".",
    },
    slivers="||||",
    life="-",
    failed="x",
    open=">",
    reused="@",
    resent="!",
    stale="$",
    tick="+",
    axis="-",
    below="` ",
    cut="..",
    heights=".=#",
    in_turn=".oo*",
)
_STYLES = {
    Activity.DNS: "bright_blue",
    Activity.CONNECT: "yellow",
    Activity.TLS: "green",
    Activity.SEND: "bright_cyan",
    Activity.WAIT: "magenta",
    Activity.TRANSFER: "cyan",
    Activity.EXCHANGES: "blue",
    Activity.CALL: "bright_yellow",
    Activity.RUNNING: "bright_green",
    Activity.RUNQUEUE: "red",
    Activity.MEMBER: "cyan",
}
_NAMES = {
    Activity.EXCHANGES: "exchanges, not told apart",
    Activity.CALL: "waited in a syscall",
    Activity.RUNQUEUE: "waited for a CPU",
}
# With fewer cells a row has a number, what it is and how long it took; with more, also when it
# began and what became of it; with even more, how long each phase took, and bytes.
_ROOM_FOR_RESULTS = 110
_ROOM_FOR_PHASES = 160
_LEAST_BAR = 30
_MOST_BAR = 160
_MOST_WHAT = {0: 36, _ROOM_FOR_RESULTS: 32, _ROOM_FOR_PHASES: 44}
_MOST_RESULT = 30
_MOST_PROCESS = 20
_GAP = 2
_TICKS = 4


class WaterfallView:
    """The rows of a waterfall over the width at hand.

    `exchanges` are those of a connection, by its id, where they are known; `names` those of
    processes by id. `complete`: no connection of the execution is known to be missing.
    """

    def __init__(
        self,
        waterfall: Waterfall,
        exchanges: Mapping[int, Sequence[Exchange]],
        names: Mapping[int, str],
        *,
        complete: bool = True,
    ) -> None:
        self._waterfall = waterfall
        self._complete = complete
        self._exchanges = exchanges
        self._names = names
        calls = [row.source for row in waterfall.rows if isinstance(row.source, SlowCalls)]
        alike = len({(each.op, each.path, each.fd) for each in calls}) < len(calls)
        # Which thread it was is told where nothing else tells two rows apart.
        self._tells_threads = alike
        owners = [
            row.source.process_id
            for row in waterfall.rows
            if isinstance(row.source, Namelookup | Connection | SlowCalls)
        ]
        self._tells_processes = len(set(owners)) > 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the rows for the width at hand."""
        glyphs = ASCII if options.ascii_only else UNICODE
        rows, width = self._waterfall.rows, options.max_width
        if rows:
            yield from self._drawn(rows, width, glyphs, ascii_only=options.ascii_only)
        for note in self._notes():
            yield Text(note, style=DIM)

    def _drawn(
        self, rows: Sequence[Row], width: int, glyphs: Glyphs, *, ascii_only: bool
    ) -> RenderResult:
        tier = max(each for each in _MOST_WHAT if width >= each)
        columns = self._columns(rows, tier, glyphs)
        numbers = [Text(row.number, style=DIM) for row in rows]
        used = _width("#", numbers, None) + _GAP
        used += sum(_width(heading, cells, most) + _GAP for cells, _, heading, most in columns)
        whats = [_what(row, tier, glyphs) for row in rows]
        room = max(8, width - used - _GAP - _LEAST_BAR)
        what_width = min(_width("what", whats, _MOST_WHAT[tier]), room)
        bar_width = min(_MOST_BAR, max(_LEAST_BAR, width - used - what_width - _GAP))
        duration_ns = self._waterfall.duration_ns
        bars = [_bar(row, duration_ns, bar_width, glyphs, ascii_only) for row in rows]
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(width=what_width, no_wrap=True)
        for cells, right, heading, most in columns:
            grid.add_column(
                justify="right" if right else "left",
                width=_width(heading, cells, most),
                no_wrap=most is None,
                overflow="fold",
            )
        grid.add_column(width=bar_width, no_wrap=True, overflow="crop")
        names, axis = _scale(duration_ns, bar_width, glyphs)
        headings = [Text(heading, style=DIM) for _, _, heading, _ in columns]
        grid.add_row(Text(), Text(), *(Text() for _ in columns), names)
        grid.add_row(Text("#", style=DIM), Text("what", style=DIM), *headings, axis)
        for number, row in enumerate(rows):
            line = bars[number]
            if tier < _ROOM_FOR_RESULTS:
                _annotate(line, row)
            what = cut_middle(whats[number], what_width, glyphs.cut)
            grid.add_row(numbers[number], what, *(cells[number] for cells, *_ in columns), line)
        yield grid
        yield self._legend(rows, bars, width, tier, glyphs)

    def _columns(
        self, rows: Sequence[Row], tier: int, glyphs: Glyphs
    ) -> list[tuple[list[Text], bool, str, int | None]]:
        """(cells, right-justified, heading, most cells or None) between what it is and its bar."""
        columns: list[tuple[list[Text], bool, str, int | None]] = []

        def add(
            heading: str,
            cell: Callable[[Row], Text],
            most: int | None = None,
            *,
            right: bool = True,
        ) -> None:
            cells = [cell(row) for row in rows]
            if any(cells):
                columns.append((cells, right, heading, most))

        if tier >= _ROOM_FOR_RESULTS:
            add("start", _start)
        add("took", _took)
        if tier < _ROOM_FOR_RESULTS:
            add("", lambda row: _marks(row, glyphs), right=False)
            return columns
        if tier >= _ROOM_FOR_PHASES:
            if self._tells_processes:
                add("process", self._process, _MOST_PROCESS, right=False)
            add("connect", lambda row: _of_connection(row, connect_ns))
            add("tls", lambda row: _of_connection(row, handshake_ns))
            add("wait", self._wait)
            add("transfer", self._transfer)
            add("out", lambda row: _bytes(row, "bytes_out"))
            add("in", lambda row: _bytes(row, "bytes_in"))
        add("result", self._result, _MOST_RESULT, right=False)
        return columns

    def _process(self, row: Row) -> Text:
        if not isinstance(row.source, Namelookup | Connection | SlowCalls):
            return Text()
        number = row.source.process_id
        own = row.source.process_name if isinstance(row.source, Connection) else None
        return process_text(own or self._names.get(number), number)

    def _wait(self, row: Row) -> Text:
        if isinstance(row.source, Connection):
            return _or_blank(wait_ns(row.source, self._exchanges.get(row.source.id)))
        return _or_blank(row.source.wait_ns if isinstance(row.source, Exchange) else None)

    def _transfer(self, row: Row) -> Text:
        if isinstance(row.source, Connection):
            return _or_blank(transfer_ns(row.source, self._exchanges.get(row.source.id)))
        return _or_blank(row.source.transfer_ns if isinstance(row.source, Exchange) else None)

    def _result(self, row: Row) -> Text:
        """What became of it, in words."""
        match row.source:
            case Namelookup():
                return lookup_answer(row.source, row.end is not End.DONE)
            case Connection():
                return self._connection_result(row.source)
            case Exchange():
                return _exchange_result(row)
            case SlowCalls():
                return self._calls_result(row.source)
            case CpuTime():
                return self._cpu_result(row.source)
            case Group():
                return _group_result(row.source)

    def _connection_result(self, connection: Connection) -> Text:
        text = connection_outcome(connection)
        known = self._exchanges.get(connection.id, ())
        # Whoever closes a connection may not have wanted an answer; how a reset one ended is said.
        wanted = connection.outcome is Outcome.OPEN or connection.closed_by == "peer"
        if known and wanted and not connection.stale and is_unanswered(known[-1]):
            text.append(", not answered", style=WARNING)
        if connection.reused:
            text.append(", reused", style=DIM)
        if (connection.exchanges or 0) > 1:
            text.append(f", {connection.exchanges:,} exchanges", style=DIM)
        return text

    def _calls_result(self, calls: SlowCalls) -> Text:
        count = len(calls.calls)
        text = Text()
        if count > 1:
            text.append(f"{count:,} times, {duration_words(calls.longest_ns)} at most")
        if self._tells_threads:
            name = self._names.get(calls.process_id)
            text.append(", " if text else "")
            text.append_text(process_text(name, calls.process_id, calls.thread_id))
        return text

    def _cpu_result(self, cpu: CpuTime) -> Text:
        share = 100 * cpu.cpu_wall_ns / self._waterfall.duration_ns
        text = Text("<1%" if 0 < share < 0.5 else f"{share:.0f}%")
        if cpu.runqueue_wall_ns:
            text.append(f", {duration_words(cpu.runqueue_wall_ns)} waiting for one")
        return text

    def _notes(self) -> list[str]:
        waterfall = self._waterfall
        notes = []
        if not waterfall.connections:
            unused = "no connections: this execution did not use the network"
            notes.append(unused if self._complete else "no connections were kept")
        if waterfall.carriers:
            numbers = [f"c{number}" for number in waterfall.carriers[:3]]
            more = len(waterfall.carriers) - len(numbers)
            numbers += [f"{more:,} more"] * bool(more)
            what = "sockets" if len(waterfall.carriers) > 1 else "socket"
            notes.append(f"{_listed(numbers)}: {what} of the namelookups, not drawn")
        if waterfall.before:
            failed = f" ({waterfall.before_failed:,} failed)" if waterfall.before_failed else ""
            what = counted(waterfall.before, "connection")
            notes.append(f"{what} that ended before this execution began{failed}: not drawn")
        if waterfall.calls_left_out:
            what = counted(waterfall.calls_left_out, "more wait")
            which = ", which hardly held it up" if waterfall.pauses_known else ""
            notes.append(f"{what} in syscalls{which}: --events lists them")
        return notes

    def _legend(
        self, rows: Sequence[Row], bars: Sequence[Text], width: int, tier: int, glyphs: Glyphs
    ) -> Text:
        """What the glyphs mean, of those that are used."""
        used: set[str] = set()
        drawn: set[Activity] = set()
        for row, line in zip(rows, bars, strict=True):
            if isinstance(row.source, Group):
                continue  # heights, which have other meanings as glyphs
            cells = set(line.plain)
            used |= cells
            if isinstance(row.source, CpuTime):
                if cells & set(glyphs.in_turn):
                    drawn |= {each.activity for each in row.stretches}
            else:
                drawn |= {each for each, glyph in glyphs.activities.items() if glyph in cells}
        named = [
            (glyph, _NAMES.get(activity, str(activity)), _STYLES[activity])
            for activity, glyph in glyphs.activities.items()
            if activity in drawn
        ]
        if any(isinstance(row.source, Group) for row in rows):
            named.append((glyphs.heights, "how many at once", _STYLES[Activity.MEMBER]))
        named += [
            other
            for other in (
                (glyphs.life, "open, idle", ""),
                (glyphs.failed, "failed", BAD),
                (glyphs.open, "not over", "bold"),
            )
            if other[0] in used
        ]
        if tier < _ROOM_FOR_RESULTS:
            marked = {mark for row in rows for mark in _marks(row, glyphs).plain}
            named += [
                other
                for other in (
                    (glyphs.reused, "reused", ""),
                    (glyphs.resent, "packets resent", WARNING),
                    (glyphs.stale, "stale", WARNING),
                )
                if other[0] in marked
            ]
        legend = Text(style=DIM)
        free = width  # cells left in the line
        for glyph, name, style in named:
            needed = len(f"  {glyph} {name}")
            if legend:
                legend.append("  " if needed <= free else "\n")
            free = (free if needed <= free else width + len("  ")) - needed
            legend.append(glyph, style=f"not dim {style}").append(f" {name}")
        return legend


def _width(heading: str, cells: Sequence[Text], most: int | None) -> int:
    natural = max(len(heading), *(each.cell_len for each in cells))
    return natural if most is None else min(natural, most)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def _what(row: Row, tier: int, glyphs: Glyphs) -> Text:
    below = Text(glyphs.below, style=DIM) if row.level else Text()
    if row.note:
        return below.append(row.note)
    match row.source:
        case Namelookup():
            return below.append_text(_lookup_name(row.source))
        case Connection():
            return below.append_text(_where(row.source))
        case Exchange():
            if tier >= _ROOM_FOR_PHASES:  # bytes have columns of their own
                return below.append("exchange", style=DIM)
            sizes = f"{size(row.source.bytes_out)} out, {size(row.source.bytes_in)} in"
            return below.append(sizes, style=DIM)
        case SlowCalls():
            text = safe(row.source.op)
            if row.source.path is not None:
                text.append(" ").append_text(safe(row.source.path))
            elif row.source.fd is not None:
                text.append(f" fd {row.source.fd}", style=DIM)
            return text
        case CpuTime():
            return Text("on a CPU")
        case Group():
            return _group_name(row.source)


def _lookup_name(lookup: Namelookup) -> Text:
    return safe(lookup.name or ".").append(" ").append_text(safe(lookup.type, DIM))


def _where(connection: Connection) -> Text:
    return destination(connection.host, connection.address, connection.port, connection.protocol)


def _group_name(group: Group) -> Text:
    # Of as many others each is there once.
    text = Text(f"{group.count:,} times " if group.count != group.names else "", style="bold")
    match group.example:
        case Namelookup():
            return text.append_text(_lookup_name(group.example))
        case Connection():
            return text.append_text(_where(group.example))
    what = "names" if group.kind == "namelookup" else "destinations"
    return text.append(f"{group.names:,} other {what}")


def _start(row: Row) -> Text:
    return Text() if isinstance(row.source, CpuTime) else duration(row.start_ns)


def _took(row: Row) -> Text:
    # What a connection was at is not always known.
    is_unknown = isinstance(row.source, Connection) and not row.stretches
    return duration(None if is_unknown else row.took_ns)


def _marks(row: Row, glyphs: Glyphs) -> Text:
    text = Text()
    if isinstance(row.source, Connection):
        text.append(glyphs.reused * row.source.reused)
        text.append(glyphs.stale * bool(row.source.stale), style=WARNING)
    if isinstance(row.source, Connection | Exchange):
        text.append(glyphs.resent * bool(row.source.retransmits), style=WARNING)
    return text


def _or_blank(ns: int | None) -> Text:
    return Text() if ns is None else duration(ns)


def _of_connection(row: Row, figure: Callable[[Connection], int | None]) -> Text:
    return _or_blank(figure(row.source) if isinstance(row.source, Connection) else None)


def _bytes(row: Row, name: str) -> Text:
    source = row.source
    if not isinstance(source, Connection | Exchange | Group):
        return Text()
    if isinstance(source, Group) and source.kind != "connection":
        return Text()
    if isinstance(source, Connection) and not source.transfers_seen:
        return safe(None)
    return size(getattr(source, name))


def _exchange_result(row: Row) -> Text:
    text = Text()
    if row.end is End.FAILED:
        text.append("unanswered", style=BAD)
    elif row.end is End.OPEN:
        text.append("not answered yet", style=WARNING)
    if isinstance(row.source, Exchange) and row.source.retransmits:
        text.append(", " if text else "")
        text.append(f"resent {row.source.retransmits}", style=WARNING)
    return text


def _group_result(group: Group) -> Text:
    text = Text()
    for words, count in group.troubles:
        text.append(", " if text else "").append_text(safe(f"{count:,} {words}", BAD))
    text.append(", " if text else "")
    return text.append(f"median {duration_words(group.median_ns)}")


def _bar(row: Row, duration_ns: int, width: int, glyphs: Glyphs, ascii_only: bool) -> Text:
    """One row as `width` cells, which stand for 0 to `duration_ns`."""
    if isinstance(row.source, Group):
        return _density(row.stretches, duration_ns, width, ascii_only)

    def position(moment_ns: int) -> float:
        return min(1.0, max(0.0, moment_ns / duration_ns)) * width

    cells: list[tuple[str, str]] = [(" ", "")] * width
    begin, end = position(row.start_ns), position(row.end_ns)
    first = min(width - 1, floor(begin))
    last = max(first, min(width, ceil(end)) - 1)
    if isinstance(row.source, Connection):
        for cell in range(first, last + 1):
            # What is left of a cell behind a phase is not worth a dash that looks like a whole one.
            if first == last or min(cell + 1, end) - max(cell, begin) >= 0.5:
                cells[cell] = (glyphs.life, DIM)
    covered: list[dict[Activity, float] | None] = [None] * width
    for stretch in row.stretches:
        start, stop = position(stretch.start_ns), position(stretch.end_ns)
        for cell in range(floor(start), min(width, ceil(stop))):
            shares = covered[cell]
            if shares is None:
                shares = covered[cell] = {}
            share = min(cell + 1.0, stop) - max(float(cell), start)
            shares[stretch.activity] = shares.get(stretch.activity, 0.0) + share
    for cell, shares in enumerate(covered):
        if shares:
            activity = max(shares, key=lambda each: shares[each])
            cells[cell] = (_glyph(activity, shares, glyphs), _STYLES[activity])
    mark = _mark(row, glyphs)
    if mark is not None:
        # Behind the bar, which stays to scale, unless that ends at the edge.
        cells[min(width - 1, last + 1)] = mark
    return Text.assemble(*cells)


def _density(stretches: Sequence[Stretch], duration_ns: int, width: int, ascii_only: bool) -> Text:
    """How many were at something at once, cell by cell."""
    changes = [0] * (width + 1)
    for stretch in stretches:
        first = min(width - 1, stretch.start_ns * width // duration_ns)
        last = min(width - 1, stretch.end_ns * width // duration_ns)
        changes[first] += 1
        changes[last + 1] -= 1
    counts = []
    at_once = 0
    for change in changes[:width]:
        at_once += change
        counts.append(at_once)
    return sparkline(counts, ascii_only=ascii_only)


def _glyph(activity: Activity, shares: Mapping[Activity, float], glyphs: Glyphs) -> str:
    covered = sum(shares.values())
    eighths = round(covered * 8)
    if eighths > len(glyphs.slivers):
        if Activity.RUNQUEUE in shares:
            # A thread that has to share its CPU runs and waits many times within one cell.
            running = shares.get(Activity.RUNNING, 0.0) / covered
            return glyphs.in_turn[round(running * (len(glyphs.in_turn) - 1))]
        return glyphs.activities[activity]
    return glyphs.slivers[max(0, eighths - 1)]


def _mark(row: Row, glyphs: Glyphs) -> tuple[str, str] | None:
    if row.end is End.OPEN:
        return (glyphs.open, "bold")
    return (glyphs.failed, BAD) if row.end is End.FAILED else None


def _annotate(line: Text, row: Row) -> None:
    """Say beside a bar what went wrong, where there is room for it."""
    words = trouble(row)
    if isinstance(row.source, Group):
        words = ", ".join(f"{count:,} {what}" for what, count in row.source.troubles)
    if not words:
        return
    if not words.isascii():
        return  # one may take two cells
    words = safe(words).plain
    drawn = line.plain.rstrip()
    ahead = len(drawn) - len(drawn.lstrip())
    if len(drawn) + 1 + len(words) <= len(line):
        place = len(drawn) + 1
    elif len(words) + 1 <= ahead:
        place = ahead - 1 - len(words)
    else:
        return
    line.plain = line.plain[:place] + words + line.plain[place + len(words) :]
    line.stylize(BAD, place, place + len(words))


def _scale(duration_ns: int, width: int, glyphs: Glyphs) -> tuple[Text, Text]:
    """Times, and the ticks below that they belong to."""
    names = [" "] * width
    axis = [glyphs.axis] * width
    free = 0  # the first cell a name may begin in
    marks = range(_TICKS + 1)
    for tick in (0, _TICKS, *marks[1:-1]):
        cell = min(width - 1, tick * width // _TICKS)
        axis[cell] = glyphs.tick
        name = "0" if tick == 0 else duration_words(duration_ns * tick // _TICKS)
        start = cell if tick < _TICKS else width - len(name)
        if tick == _TICKS or (
            start >= free and "".join(names[start : start + len(name) + 1]).isspace()
        ):
            names[start : start + len(name)] = name
            free = start + len(name) + 1 if tick < _TICKS else free
    return Text("".join(names), style=DIM), Text("".join(axis), style=DIM)
