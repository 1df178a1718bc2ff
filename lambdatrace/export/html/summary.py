"""One execution as a piece of HTML for a notebook: its verdict, and where its time went."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from lambdatrace.analysis.parts import part_rows, unknown_parts, why_unknown
from lambdatrace.cli.views.partition import part_name
from lambdatrace.cli.views.text import duration_words, safe
from lambdatrace.export.html.palette import INKS, ink_of
from lambdatrace.export.html.report import title

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.analysis.parts import PartRow
    from lambdatrace.model import Execution, Pause, Verdict

_WIDTH = 480  # px
_MOST_SUBJECTS = 3
_MOST_SENTENCE = 800  # characters; as in views/verdict.py


def summary_html(execution: Execution, verdict: Verdict, pauses: Iterable[Pause] = ()) -> str:
    """The verdict and the partition, without script and style: notebooks drop or forbid both."""
    name = safe(execution.execution_id).plain
    head = f"<p><b>{escape(title(execution))}</b> <bdi>{escape(name)}</bdi></p>"
    sentence = f"<p><bdi>{escape(safe(verdict.text, limit=_MOST_SENTENCE).plain)}</bdi></p>"
    if execution.partition is None:
        why = safe(why_unknown(execution), limit=400).plain
        return f"<div>{head}{sentence}<p>where the time went is not known: {escape(why)}</p></div>"
    rows = part_rows(execution.partition, execution, pauses)
    body = "".join(map(_row, rows))
    unknown = ", ".join(map(part_name, unknown_parts(execution.partition)))
    note = f"<p>unavailable: {unknown}</p>" if unknown else ""
    return f"<div>{head}{sentence}{_bar(rows)}<table><tbody>{body}</tbody></table>{note}</div>"


def _bar(rows: Iterable[PartRow]) -> str:
    drawn, done = [], 0
    for row in rows:
        x, width = done * _WIDTH / 1_000, row.permille * _WIDTH / 1_000
        color = INKS[ink_of(row.part)].light
        drawn.append(
            f'<rect x="{x:g}" width="{width:g}" height="16" fill="{color}" stroke="#ffffff">'
            f"<title>{part_name(row.part)} {row.permille / 10:.1f}%</title></rect>"
        )
        done += row.permille
    return f'<svg width="{_WIDTH}" height="16" role="img">{"".join(drawn)}</svg>'


def _row(row: PartRow) -> str:
    color = INKS[ink_of(row.part)].light
    swatch = f'<svg width="10" height="10"><rect width="10" height="10" fill="{color}"/></svg>'
    subjects = ", ".join(
        f"<bdi>{escape(safe(subject).plain)}</bdi>" for subject, _ in row.subjects[:_MOST_SUBJECTS]
    )
    return (
        f"<tr><td>{swatch} {part_name(row.part)}</td><td>{duration_words(row.ns)}</td>"
        f"<td>{row.permille / 10:.1f}%</td><td>{subjects}</td></tr>"
    )
