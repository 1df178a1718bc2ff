"""The page as a whole: a file of its own that loads nothing, whatever the trace holds.

Its content-security-policy allows the one style sheet and the one script that are in it, by their
hashes, and nothing else: no request, no frame, no form, no other script.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from itertools import islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from lambdatrace import __version__
from lambdatrace.analysis.largest import largest
from lambdatrace.analysis.words import counted
from lambdatrace.cli.views.executions import unique_length
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import (
    BAD,
    UNKNOWN,
    WARNING,
    duration_words,
    moment,
    number,
    percent,
    safe,
)
from lambdatrace.export.html.markup import inline, isolated
from lambdatrace.export.html.palette import patterns, variables
from lambdatrace.export.html.report import Report, badges, section, title

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.model import Execution

# More reports than this make a file that nobody reads and browsers are slow with.
MOST_REPORTS = 100
_SUBJECT = 60  # characters


def page(reports: Iterable[Report], others: Iterable[object] = ()) -> Iterator[str]:
    """The page of one or several executions, MOST_REPORTS at most, in pieces.

    The same reports give the same bytes. `others` are only counted, after the reports were taken.
    """
    taken = [
        (report.trace.execution, "".join(section(report, place)))
        for place, report in enumerate(islice(reports, MOST_REPORTS), 1)
    ]
    left_out = sum(1 for _ in others)
    executions = [execution for execution, _ in taken]
    alone = len(taken) == 1 and not left_out
    heading = title(executions[0]) if alone else counted(len(taken), "execution")
    head, tail = _around(heading)
    yield head
    if alone:
        yield f'<article class="report" id="r1">\n{taken[0][1]}</article>\n'
    else:
        yield from _list(executions, left_out)
        for place, (execution, text) in enumerate(taken, 1):
            yield (
                f'<details class="report" id="r{place}"><summary>{_in_short(execution)}</summary>\n'
                f"{text}</details>\n"
            )
    yield tail


def policy(style: str, script: str) -> str:
    """The content-security-policy (CSP level 3) for a page with this style and script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _around(heading: str) -> tuple[str, str]:
    """The page before and after its content."""
    style, script = variables() + _part("style.css"), _part("script.js")
    values = {
        "policy": policy(style, script),
        "version": escape(__version__),
        "title": escape(f"{heading} · lambdatrace"),
        "style": style,
        "script": script,
        "patterns": patterns(),
    }
    # Taken apart first: what is put in may hold the mark.
    head, _, tail = _part("page.html").partition("$content")
    return Template(head).substitute(values), Template(tail).substitute(values)


@cache
def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _list(executions: list[Execution], left_out: int) -> Iterator[str]:
    """All executions of the page, each linked to its report."""
    yield f"<h1>{counted(len(executions), 'execution')}</h1>\n"
    if left_out:
        are = "is" if left_out == 1 else "are"
        yield (
            f'<p class="note">{left_out:,} more {are} not on this page: narrow the window or the '
            "filter (--since, --until, --filter), or name executions by their ids.</p>\n"
        )
    shown = unique_length([each.execution_id for each in executions])
    yield '<div class="scroll"><table class="list">\n<thead><tr>'
    for heading, right in (
        ("execution", False), ("function", False), ("started UTC", False), ("took", True),
        ("status", False), ("most of it", False), ("connections", True), ("errors", True),
        ("lost", True),
    ):  # fmt: skip
        yield f'<th scope="col"{_aligned(right)}>{heading}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for place, each in enumerate(executions, 1):
        yield _list_row(place, each, shown)
    yield "</tbody></table></div>\n"


def _list_row(place: int, execution: Execution, shown: int) -> str:
    name = isolated(safe(execution.execution_id[:shown]))
    cells: list[tuple[str, int | None]] = [
        (f'<a href="#r{place}">{name}</a>', None),
        (isolated(safe(execution.function)), None),
        (moment(execution.started_at_ns).plain, execution.started_at_ns),
        (duration_words(execution.duration_ns), execution.duration_ns),
        (badges(execution), None),
        (isolated(_most_of_it(execution)), None),
        _count(number(execution.connections), execution.connections),
        _count(number(execution.errors, BAD), execution.errors),
        _count(number(execution.dropped.total, WARNING), execution.dropped.total),
    ]
    figures = {3, 6, 7, 8}
    row = "".join(
        f"<td{_aligned(at in figures)}{_sorted_by(value)}>{text}</td>"
        for at, (text, value) in enumerate(cells)
    )
    return f"<tr>{row}</tr>\n"


def _count(text: Text, value: int | None) -> tuple[str, int | None]:
    return inline(text), value


def _sorted_by(value: int | None) -> str:
    """What script.js sorts by where the text does not tell; of one length, to be sorted as text."""
    return "" if value is None else f' data-value="{value:020d}"'


def _aligned(right: bool) -> str:
    return ' class="figure"' if right else ""


def _in_short(execution: Execution) -> str:
    return (
        f"{isolated(safe(execution.function))} <b>{duration_words(execution.duration_ns)}</b> "
        f'{badges(execution)} <span class="dim">{isolated(safe(execution.execution_id))}</span>'
    )


def _most_of_it(execution: Execution) -> Text:
    """`83% wait api.example:443`: the largest part, and what most of that went into."""
    found = largest(execution)
    if found is None:
        return Text(UNKNOWN)
    text = Text.assemble(percent(found.ns, execution.duration_ns), f" {found.part}")
    if found.subject is not None:
        text.append(" ").append_text(safe(found.subject, limit=_SUBJECT))
    return text
