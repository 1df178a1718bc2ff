"""Text is made, cut, folded and drawn as rich's Text is."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import cells
from rich.console import Console
from rich.segment import Segment as RichSegment
from rich.style import Style
from rich.table import Table
from rich.text import Text as RichText

from lambdatrace.cli.views.styled import (
    NARROW,
    NEWLINE,
    Segment,
    Text,
    cell_len,
    combined,
    cropped,
    cut,
)
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STYLES = st.sampled_from(["", "dim", "bold red", "not bold", "green", "not dim cyan"])
# Words of letters and blanks, often; and whatever else there is.
PLAIN = st.one_of(
    st.text("ab ", max_size=12),
    st.text("ab─█…  ", max_size=40),
    st.text("ab \n\t\x07\x1bÄ日🙂\u0301\ufe0f", max_size=30),
    # As it comes into views: rich's own arithmetic fails for some of what is not printable.
    st.text(max_size=10).map(clean),
)
OVERFLOWS = st.sampled_from(["fold", "crop", "ellipsis"])
# What both kinds of text can be asked to do.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), PLAIN, STYLES),
        st.tuples(st.just("append_text"), PLAIN, STYLES),
        st.tuples(st.just("stylize"), STYLES, st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("pad_left"), st.integers(0, 5)),
        st.tuples(st.just("pad_right"), st.integers(0, 5)),
        st.tuples(st.just("rstrip")),
        st.tuples(st.just("truncate"), st.integers(1, 30), OVERFLOWS),
        st.tuples(st.just("plain"), PLAIN),
        st.tuples(st.just("part"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("copy")),
        st.tuples(st.just("assemble"), PLAIN, STYLES),
    ),
    max_size=6,
)


def take(text: Any, step: tuple[Any, ...]) -> Any:
    """One step with a text of either kind."""
    kind, (name, *values) = type(text), step
    match name:
        case "append_text":
            text.append_text(kind(*values).append("own", "bold"))
        case "truncate":
            text.truncate(values[0], overflow=values[1])
        case "plain":
            text.plain = values[0]
        case "part":
            return text[min(values) : max(values)]
        case "copy":
            return text.copy()
        case "assemble":
            return kind.assemble("first", text, tuple(values))
        case "stylize" if not values[0]:
            pass  # no style is none to views
        case _:
            getattr(text, name)(*values)
    return text


def made(steps: Iterable[tuple[Any, ...]], plain: str, style: str) -> tuple[Text, RichText]:
    ours: Any = Text(plain, style)
    theirs: Any = RichText(plain, style)
    for step in steps:
        ours, theirs = take(ours, step), take(theirs, step)
    return ours, theirs


def shown(segments: Iterable[Any]) -> str:
    """With all colours."""
    found = []
    for each in segments:
        look = combined(each.styles) if isinstance(each, Segment) else each.style
        found.append(look.render(each.text) if look else each.text)
    return "".join(found)


def drawn(view: Any, width: int, **options: Any) -> str:
    stream = io.StringIO()
    Console(
        file=stream, width=width, force_terminal=True, color_system="truecolor", highlight=False
    ).print(view, **options)
    return stream.getvalue()


@given(steps=STEPS, plain=PLAIN, style=STYLES)
def test_any_text(steps: list[tuple[Any, ...]], plain: str, style: str) -> None:
    ours, theirs = made(steps, plain, style)

    assert ours.plain == str(ours) == theirs.plain
    assert len(ours) == len(theirs)
    assert bool(ours) == bool(theirs)
    assert ours.cell_len == theirs.cell_len
    # Without spans rich draws its own style in lines only.
    assert shown(ours.segments()) == shown(RichText().append_text(theirs).render(Console()))
    assert ours.__rich__().plain == theirs.plain
    assert drawn(ours, 80) == drawn(theirs, 80)


@given(
    steps=STEPS,
    plain=PLAIN,
    style=STYLES,
    width=st.integers(1, 40),
    justify=st.sampled_from(["default", "left", "right"]),
    overflow=OVERFLOWS,
    no_wrap=st.booleans(),
    own=st.tuples(st.none() | OVERFLOWS, st.none() | st.booleans()),
)
def test_lines_of_any_width(  # what there is to be varied
    steps: list[tuple[Any, ...]],
    plain: str,
    style: str,
    width: int,
    justify: Any,
    overflow: Any,
    no_wrap: bool,
    own: tuple[Any, Any],
) -> None:
    texts = made(steps, plain, style)
    for text in texts:
        text.overflow, text.no_wrap = own
    ours, theirs = texts

    lines = ours.folded(width, justify, overflow, no_wrap=no_wrap)

    expected = theirs.wrap(
        Console(),
        width,
        justify=justify,
        overflow=own[0] or overflow,
        no_wrap=no_wrap if own[1] is None else own[1],
    )
    assert [line.plain for line in lines] == [line.plain for line in expected]
    assert [shown(line.segments()) for line in lines] == [
        shown(RichText().append_text(line).render(Console())) for line in expected
    ]


@given(text=PLAIN, width=st.integers(1, 40))
def test_cells_are_counted_as_rich_counts_them(text: str, width: int) -> None:
    assert cell_len(text) == cells.cell_len(text)
    assert cut(text, width) == cells.set_cell_size(text, width)


def test_what_is_taken_for_one_cell_is_one_cell() -> None:
    assert {cells.cell_len(mark) for mark in NARROW} == {1}
    assert all(mark.isprintable() for mark in NARROW)


@given(pieces=st.lists(st.tuples(PLAIN, STYLES), max_size=5), width=st.integers(1, 40))
def test_lines_are_cropped_as_rich_crops_them(pieces: list[tuple[str, str]], width: int) -> None:
    ours = [Segment(text, (style,)) for text, style in pieces]
    theirs = [RichSegment(text, Style.parse(style)) for text, style in pieces]

    lines = RichSegment.split_and_crop_lines(theirs, width, pad=False)

    assert shown(cropped(ours, width)) == shown(piece for line in lines for piece in line)


@pytest.mark.parametrize("justify", ["left", "right"])
def test_within_a_table_of_rich(justify: Any) -> None:
    tables = Table(), Table()
    for table, make in zip(tables, (Text, RichText), strict=True):
        cell: Callable[..., Any] = make
        table.add_column("head", justify=justify)
        table.add_row(cell("some words that are folded", "bold").append(" here", "red"))
        table.add_row(cell("cut where it does not fit", no_wrap=True, overflow="ellipsis"))

    assert drawn(tables[0], 20) == drawn(tables[1], 20)


def test_segments_within_a_console_of_rich() -> None:
    class View:
        def __rich_console__(self, *_: Any) -> Iterable[Any]:
            yield from (Segment("two", ("dim", "bold")), Segment(" words"), NEWLINE, Text("end"))

    assert drawn(View(), 20) == "\x1b[1;2mtwo\x1b[0m words\nend\n"


def test_nothing_of_rich_is_loaded_for_usual_text() -> None:
    code = (
        "import sys; from lambdatrace.cli.views.styled import Text, cropped; "
        "lines = Text('words ' * 9, 'dim').append('─█…').folded(20, 'left'); "
        "list(cropped(lines[0].segments(), 7)); assert 'rich' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
