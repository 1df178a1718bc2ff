r"""Text as HTML: the only way into the page.

Names are cleaned by what makes views' Text (views/text.py), and escaped here. In JSON, `<`, `>` and
`&` are written as `\u003c` and so on: nothing in a trace can end the element it stands in.
"""

from __future__ import annotations

import json
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lambdatrace.cli.views.listing import Listing
from lambdatrace.cli.views.stack import Stack
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import BAD, DIM, GOOD, WARNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

_CLASSES = {BAD: "bad", WARNING: "warn", DIM: "dim", GOOD: "good", "bold": "strong"}
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&"}


def inline(text: Text) -> str:
    """A view's Text as HTML, its styles as classes."""
    edges = {0, len(text)}
    for first, last, _ in text.spans:
        edges |= {first, last}
    ordered = sorted(edge for edge in edges if 0 <= edge <= len(text))
    pieces = []
    for start, end in pairwise(ordered):
        over = [style for first, last, style in text.spans if first <= start and end <= last]
        styles = [text.style, *over]
        pieces.append(_styled(text.plain[start:end], styles))
    return "".join(pieces)


def _styled(plain: str, styles: list[str]) -> str:
    classes = {_CLASSES[style] for style in styles if style in _CLASSES}
    if "not bold" in styles:
        classes.discard("strong")
    named = " ".join(sorted(classes))
    return f'<span class="{named}">{escape(plain)}</span>' if named else escape(plain)


def isolated(text: Text) -> str:
    """A name, whose direction of writing is nobody else's."""
    return f"<bdi>{inline(text)}</bdi>"


def block(renderable: RenderableType) -> Iterator[str]:
    """A list out of a view, as HTML."""
    if isinstance(renderable, Listing):
        yield f"<h3>{escape(renderable.title)}</h3>\n"
        yield from table(renderable)
    elif isinstance(renderable, Stack):
        for each in renderable.views:
            yield from block(each)
    elif isinstance(renderable, Text):
        yield f'<p class="note">{inline(renderable)}</p>\n'
    else:
        raise TypeError(f"{type(renderable).__name__} has no form in HTML")


def table(listing: Listing) -> Iterator[str]:
    """The rows of a list; on a narrow page they scroll by themselves."""
    columns = listing.columns
    label = escape(listing.title)
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>\n'
    yield "<thead><tr>"
    for each in columns:
        yield f'<th{_aligned(each.right)} scope="col">{escape(each.heading)}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for cells in zip(*(each.cells for each in columns), strict=True):
        yield "<tr>"
        for each, cell in zip(columns, cells, strict=True):
            yield f"<td{_aligned(each.right)}>{isolated(cell) if cell else ''}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def _aligned(right: bool) -> str:
    return ' class="figure"' if right else ""


def data(value: Any) -> str:
    """`value` as JSON for a script element."""
    return _encode(value).translate(_ESCAPES)


def items(pairs: Iterable[tuple[str, Text]]) -> str:
    """Labels and what stands under them."""
    rows = (
        f"<div><dt>{escape(label)}</dt><dd>{isolated(text)}</dd></div>" for label, text in pairs
    )
    return f'<dl class="facts">{"".join(rows)}</dl>\n'
