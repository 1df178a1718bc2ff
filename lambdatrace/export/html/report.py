"""One execution on the page: its verdict, where its time went, what happened when, all figures."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from lambdatrace.analysis.parts import part_rows, unknown_parts, why_unknown
from lambdatrace.analysis.phases import told_apart
from lambdatrace.analysis.waiting import SlowCalls
from lambdatrace.analysis.waterfall import Activity, End, Group, waterfall
from lambdatrace.cli.views import execution as header
from lambdatrace.cli.views import rows as words
from lambdatrace.cli.views.elsewhere import elsewhere_list
from lambdatrace.cli.views.listing import Column, Listing
from lambdatrace.cli.views.partition import PART_WORDS, part_name
from lambdatrace.cli.views.processes import failed_processes
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import duration_words, safe, status_style
from lambdatrace.cli.views.waterfall import ACTIVITY_NAMES, UNICODE, marks, named_marks
from lambdatrace.export.html import bars
from lambdatrace.export.html.markup import block, data, inline, isolated, items, table
from lambdatrace.export.html.palette import ink_of
from lambdatrace.model import Connection, CpuTime, Exchange, Namelookup
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.analysis.waterfall import Row
    from lambdatrace.model import Execution, Reference, Trace, Verdict

_MOST_SENTENCE = 800  # characters; as in views/verdict.py
_KINDS = {
    Namelookup: "name",
    Connection: "connection",
    Exchange: "connection",
    SlowCalls: "wait",
    CpuTime: "cpu",
}
_LETTERS = {"connection": "c", "namelookup": "n", "exchange": "e", "process": "x"}


class Report(Value):
    """One analysed execution: what `show` draws."""

    trace: Trace
    verdict: Verdict
    elsewhere_left_out: int = 0  # connections of other extensions that were not stored


class _Drawn(Value):
    """A row of the waterfall, and what identifies it on the page."""

    row: Row
    key: str
    id: str
    kind: str
    what: Text


def section(report: Report, number: int) -> Iterator[str]:
    """A report as HTML, the `number`th of its page."""
    trace, execution = report.trace, report.trace.execution
    drawing = _Drawing(report, number)
    yield from _head(execution)
    sentence = isolated(safe(report.verdict.text, limit=_MOST_SENTENCE))
    yield f'<p class="verdict">{sentence}</p>\n'
    yield drawing.evidence()
    yield _warnings(execution, trace.missing_chunks)
    yield from partition(report)
    yield from drawing.waterfall()
    yield "<h3>About this execution</h3>\n"
    yield items((label, text) for label, text in header.facts(execution) if label != "function")
    yield from drawing.figures()
    for view in failed_processes(trace.processes, drawing.lists):
        yield from block(view)
    if trace.elsewhere:
        yield from block(elsewhere_list(trace.elsewhere, report.elsewhere_left_out))
    yield f'<script type="application/json" class="data">{data(drawing.told())}</script>\n'


def title(execution: Execution) -> str:
    """An execution in a few words, not cleaned of markup."""
    took = duration_words(execution.duration_ns)
    return f"{safe(execution.function).plain}: {took}, {execution.status}"


def badges(execution: Execution) -> str:
    """How an execution ended."""
    tone = {"green": "good", "yellow": "warn"}.get(status_style(execution.status), "bad")
    found = f'<span class="badge {tone}">{escape(str(execution.status))}</span>'
    if execution.cold_start:
        found += ' <span class="badge">cold start</span>'
    return found


def partition(report: Report) -> Iterator[str]:
    """Where the time went, as one bar and as a table."""
    execution = report.trace.execution
    yield "<h3>Where the time went</h3>\n"
    if execution.partition is None:
        why = inline(safe(f"not known: {why_unknown(execution)}", limit=400))
        yield f'<p class="note">{why}</p>\n'
        return
    found = part_rows(execution.partition, execution, report.trace.pauses)
    yield bars.stacked([(ink_of(each.part), each.permille) for each in found], 1_000)
    yield '\n<table class="parts">\n<thead class="unseen"><tr>'
    for heading in ("part", "time", "share", "what it went into"):
        yield f'<th scope="col">{heading}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for row in found:
        into = PART_WORDS[row.part]
        subjects = f'<span class="dim">{escape(into)}</span>'
        if row.subjects:
            several = len(row.subjects) > 1
            subjects = ", ".join(
                isolated(safe(subject))
                + (f' <span class="dim">{duration_words(ns)}</span>' if several else "")
                for subject, ns in row.subjects
            )
        yield (
            f'<tr><th scope="row">{bars.swatch(ink_of(row.part))}{part_name(row.part)}</th>'
            f'<td class="figure">{duration_words(row.ns)}</td>'
            f'<td class="figure">{row.permille / 10:.1f}%</td>'
            f'<td class="into">{subjects}</td></tr>\n'
        )
    whole = duration_words(execution.duration_ns)
    yield (
        f'</tbody>\n<tfoot><tr><th scope="row">all</th><td class="figure">{whole}</td>'
        '<td class="figure">100.0%</td><td></td></tr></tfoot></table>\n'
    )
    if unknown := unknown_parts(execution.partition):
        yield f'<p class="note">unavailable: {", ".join(map(part_name, unknown))}</p>\n'


def _head(execution: Execution) -> Iterator[str]:
    facts = dict(header.facts(execution))
    yield f'<p class="function">{isolated(facts["function"])}</p>\n'
    yield f"<h2>{duration_words(execution.duration_ns)} {badges(execution)}</h2>\n"


def _warnings(execution: Execution, missing_chunks: int) -> str:
    found = header.warnings(execution, missing_chunks)
    rows = "".join(f"<li>{isolated(safe(each, limit=400))}</li>" for each in found)
    return f'<ul class="warnings">{rows}</ul>\n' if rows else ""


class _Drawing:
    """The waterfall of a report, in its several forms."""

    def __init__(self, report: Report, number: int) -> None:
        trace = report.trace
        execution = trace.execution
        whole = execution.dropped.is_whole and not trace.missing_chunks
        apart = told_apart(
            trace.connections, trace.exchanges, whole and not execution.folded.get("exchanges")
        )
        self._report = report
        self._prefix = f"r{number}"
        self._waterfall = waterfall(trace, apart)
        self._words = words.RowWords(self._waterfall, apart, trace.process_names)
        self._complete = whole and (execution.connections or 0) <= len(trace.connections)
        # What the page has no room for is to be had from the store.
        name = safe(execution.execution_id).plain
        self.lists = f"`lambdatrace show {name} --events` lists them"
        self._duration_ns = self._waterfall.duration_ns
        self._rows = [self._named(place, row) for place, row in enumerate(self._waterfall.rows, 1)]

    def _named(self, place: int, row: Row) -> _Drawn:
        kind = _KINDS.get(type(row.source), "connection")
        if isinstance(row.source, Group) and row.source.kind == "namelookup":
            kind = "name"
        key = row.number or ("cpu" if kind == "cpu" else f"g{place}")
        return _Drawn(row, key, f"{self._prefix}-{key}", kind, words.what(row, with_bytes=True))

    def evidence(self) -> str:
        """Links to the rows that the verdict rests on."""
        links: list[tuple[str, str]] = []
        for reference in self._report.verdict.evidence:
            found = self._row_of(reference)
            if found is not None and found.id not in {each for each, _ in links}:
                number = f"<b>{found.key}</b> " if found.row.number else ""
                text = f"{number}{isolated(found.what)}"
                links.append((found.id, f'<a href="#{found.id}">{text}</a>'))
        if not links:
            return ""
        return (
            f'<p class="evidence"><span>Seen in</span> {" ".join(each for _, each in links)}</p>\n'
        )

    def _row_of(self, reference: Reference) -> _Drawn | None:
        """The row that shows what a reference names; an exchange may only be its connection's."""
        trace, place = self._report.trace, reference.number - 1
        by_key = {each.key: each for each in self._rows}
        if reference.kind == "blocked":
            call = trace.blocked[place]
            holders = (
                each
                for each in self._rows
                if isinstance(each.row.source, SlowCalls)
                and any(own is call for own in each.row.source.calls)
            )
            return next(holders, None)
        if reference.kind == "pause":
            return by_key.get("cpu")
        found = by_key.get(f"{_LETTERS.get(reference.kind, '')}{reference.number}")
        if found is None and reference.kind == "exchange":
            owner = trace.exchanges[place].connection_id
            numbers = {each.id: number for number, each in enumerate(trace.connections, 1)}
            return by_key.get(f"c{numbers.get(owner, 0)}")
        return found

    def waterfall(self) -> Iterator[str]:
        """What happened when, as bars over one axis."""
        yield "<h3>What happened when</h3>\n"
        if self._rows:
            yield self._tools()
            yield '<table class="waterfall" role="table" aria-label="What happened when">\n'
            yield '<thead role="rowgroup"><tr role="row">'
            for name, heading in (("number", "#"), ("what", "what"), ("start", "start"),
                                  ("took", "took")):  # fmt: skip
                yield f'<th class="{name}" role="columnheader" scope="col">{heading}</th>'
            yield (
                '<th class="drawn" role="columnheader" scope="col"><span class="unseen">when</span>'
                f"{bars.axis(self._duration_ns)}</th>"
                '<th class="result" role="columnheader" scope="col">result</th>'
                '</tr></thead>\n<tbody role="rowgroup">\n'
            )
            for each in self._rows:
                yield self._line(each)
            yield "</tbody></table>\n"
            yield self._legend()
        for note in words.notes(self._waterfall, complete=self._complete, lists=self.lists):
            yield f'<p class="note">{escape(note)}</p>\n'

    def _tools(self) -> str:
        """What the script works with; nothing is shown of it without one."""
        kinds = [kind for kind in ("name", "connection", "wait", "cpu")
                 if any(each.kind == kind for each in self._rows)]  # fmt: skip
        labels = {"name": "names", "connection": "connections", "wait": "waits", "cpu": "CPU"}
        boxes = "".join(
            f'<label><input type="checkbox" name="kind" value="{kind}" checked> '
            f"{labels[kind]}</label>"
            for kind in kinds
        )
        return (
            '<div class="tools" hidden>'
            '<label class="find"><span class="unseen">Filter rows by text</span>'
            '<input type="search" name="text" placeholder="Filter" spellcheck="false" '
            'autocomplete="off"></label>'
            '<label class="slower">slower than <input type="number" name="slower" min="0" '
            'step="any" inputmode="decimal" placeholder="0"> ms</label>'
            f'<span class="kinds" role="group" aria-label="Kinds of rows">{boxes}</span>'
            '<span class="zoom" role="group" aria-label="Zoom">'
            '<button type="button" data-do="out" aria-label="Zoom out">&minus;</button>'
            '<button type="button" data-do="in" aria-label="Zoom in">+</button>'
            '<button type="button" data-do="reset">All</button></span>'
            '<output class="state" aria-live="polite"></output></div>\n'
        )

    def _line(self, drawn: _Drawn) -> str:
        row = drawn.row
        marked = marks(row, UNICODE)
        tags = f' <span class="marks">{inline(marked)}</span>' if marked else ""
        level = " below" if row.level else ""
        return (
            f'<tr role="row" id="{drawn.id}" class="row{level}" data-key="{drawn.key}">'
            f'<td class="number" role="cell">{row.number}</td>'
            f'<th class="what" role="rowheader" scope="row">{isolated(drawn.what)}{tags}</th>'
            f'<td class="start" role="cell">{inline(words.start(row))}</td>'
            f'<td class="took" role="cell">{inline(words.took(row))}</td>'
            f'<td class="drawn" role="cell">{bars.bar(row, self._duration_ns)}</td>'
            f'<td class="result" role="cell">{isolated(self._words.result(row))}</td></tr>\n'
        )

    def _legend(self) -> str:
        rows = [each.row for each in self._rows]
        used = {each.activity for row in rows if not isinstance(row.source, Group)
                for each in row.stretches}  # fmt: skip
        found = [
            (bars.swatch(ink_of(each)), ACTIVITY_NAMES.get(each, str(each)))
            for each in Activity
            if each in used
        ]
        if any(isinstance(row.source, Group) for row in rows):
            found.append((bars.swatch("member"), "how many at once"))
        if any(isinstance(row.source, Connection) for row in rows):
            found.append((bars.life_swatch(), "open, idle"))
        ends = {row.end for row in rows}
        found += [
            (bars.mark_swatch(end), name)
            for end, name in ((End.FAILED, "failed"), (End.OPEN, "not over"))
            if end in ends
        ]
        marked = {mark for row in rows for mark in marks(row, UNICODE).plain}
        found += [
            (f'<span class="marks">{glyph}</span>', name)
            for glyph, name, _ in named_marks(UNICODE)
            if glyph in marked
        ]
        entries = "".join(f"<li>{each} {name}</li>" for each, name in found)
        return f'<ul class="legend">{entries}</ul>\n'

    def _columns(self) -> list[tuple[str, Callable[[Row], Text], bool]]:
        return [
            ("start", words.start, True),
            ("took", words.took, True),
            ("process", self._words.process, False),
            ("connect", self._words.connect, True),
            ("tls", self._words.tls, True),
            ("wait", self._words.wait, True),
            ("transfer", self._words.transfer, True),
            ("out", words.bytes_out, True),
            ("in", words.bytes_in, True),
            ("result", self._words.result, False),
        ]

    def figures(self) -> Iterator[str]:
        """All that is known of each row, to read and to copy."""
        if not self._rows:
            return
        columns = [
            Column("#", [Text(each.row.number) for each in self._rows]),
            Column("what", [words.what(each.row, with_bytes=False) for each in self._rows],
                   right=False),
            *(
                Column(heading, [cell(each.row) for each in self._rows], 1, right)
                for heading, cell, right in self._columns()
            ),
        ]  # fmt: skip
        yield "<h3>All figures</h3>\n"
        yield from table(Listing("All figures", columns))

    def told(self) -> dict[str, Any]:
        """What the script draws from, and what it tells of a row that is pointed at."""
        return {
            "duration": self._duration_ns,
            "rows": {each.key: self._told_row(each) for each in self._rows},
        }

    def _told_row(self, drawn: _Drawn) -> dict[str, Any]:
        details = [
            [heading, text.plain]
            for heading, cell, _ in self._columns()
            if (text := cell(drawn.row))
        ]
        number = f"{drawn.row.number} " if drawn.row.number else ""
        return {
            "kind": drawn.kind,
            "name": f"{number}{drawn.what.plain}",
            "took": drawn.row.took_ns,
            "details": details,
            **bars.told(drawn.row, self._duration_ns),
        }
