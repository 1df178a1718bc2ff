"""What is drawn is what rich's Console draws, byte for byte, on any kind of terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import termios
from fcntl import ioctl
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from lambdatrace.cli.canvas import Canvas
from lambdatrace.cli.environment import Environment
from lambdatrace.cli.views.columns import Column, fitted, numbers
from lambdatrace.cli.views.grid import Grid, GridColumn
from lambdatrace.cli.views.listing import Column as ListingColumn
from lambdatrace.cli.views.listing import Listing
from lambdatrace.cli.views.stack import Stack
from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.tables import new_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import ConsoleOptions, RenderableType, RenderResult

WIDTHS = (1, 7, 20, 80, 200)
WORDS = ["api.partner.example:443", "日本語のホスト", "x", "", "cut here", "e\u0301", "🙂🙂"]
STYLES = ["", "dim", "bold red", "green", "cyan", "not dim yellow", "bold"]


class Stream(io.StringIO):
    """A terminal, or not; with an encoding."""

    def __init__(self, *, is_terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._is_terminal


class Fitted:
    """Columns by the width at hand."""

    def __init__(self, columns: list[Column]) -> None:
        self._columns = columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield fitted(options, self._columns)


def both(
    view: RenderableType,
    width: int | None,
    environ: Mapping[str, str],
    *,
    is_terminal: bool = True,
    encoding: str = "utf-8",
) -> tuple[str, str]:
    """What is drawn here, and by rich."""
    ours, theirs = (Stream(is_terminal=is_terminal, encoding=encoding) for _ in range(2))
    Canvas(ours, environ, width).draw(view)
    Console(
        file=theirs, width=width, markup=False, emoji=False, highlight=False, _environ=environ
    ).print(view)
    return ours.getvalue(), theirs.getvalue()


def styled(*pieces: tuple[str, str], style: str = "") -> Text:
    text = Text(style=style)
    for plain, own in pieces:
        text.append(plain, own)
    return text


def table() -> RenderableType:
    made = new_table()
    made.add_column("host", overflow="fold")
    made.add_column("took", justify="right")
    for word in WORDS:
        made.add_row(Text(word, style="bold red"), Text(f"{len(word)} ms"))
    return made


def views() -> list[RenderableType]:
    cells = [styled((word, "bold red"), (" and more", "dim")) for word in WORDS]
    figures = [Text(f"{n} ms", style="dim") for n in range(len(WORDS))]
    rows = list(zip(cells, figures, cells, strict=True))
    columns = [Column("host", cells, least=6, cut=True), numbers("took", figures, 1)]
    return [
        Text(),
        Text("one line", style="dim"),
        styled(("two\nlines ", "green"), ("that are long enough " * 8, ""), style="bold"),
        Grid([GridColumn(12), GridColumn(9, "dim", "right"), GridColumn(40)], rows),
        Grid(
            [GridColumn(30, "dim"), GridColumn(9), GridColumn(40, no_wrap=False, overflow="fold")],
            rows,
        ),
        Fitted(columns),
        Fitted([Column("host", cells, least=6), numbers("took", figures, 1)]),
        Listing("all", [ListingColumn("host", cells, right=False), ListingColumn("", figures, 1)]),
        table(),
        Stack(Text("above", style="bold"), table(), Text("below")),
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", views(), ids=lambda view: type(view).__name__)
def test_every_kind_of_view(view: RenderableType, width: int) -> None:
    for environ in ({"TERM": "xterm-256color"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        for is_terminal in (True, False):
            ours, theirs = both(view, width, environ, is_terminal=is_terminal)
            assert ours == theirs
    ours, theirs = both(view, width, {}, encoding="ascii")
    # What cannot be shown would be written as six cells.
    shown = re.sub(r"[^\x00-\x7f]", lambda m: "?" * cell_len(m[0]), theirs.replace("…", "~"))
    assert ours == shown


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TERM": "xterm"},
        {"TERM": "xterm-256color"},
        {"TERM": "xterm-16color"},
        {"TERM": "xterm-kitty"},
        {"TERM": "dumb"},
        {"TERM": "Unknown"},
        {"TERM": "xterm", "COLORTERM": "truecolor"},
        {"TERM": "xterm", "COLORTERM": " 24bit"},
        {"TERM": "xterm", "NO_COLOR": "1"},
        {"TERM": "xterm", "NO_COLOR": ""},
        {"TERM": "xterm", "FORCE_COLOR": "1"},
        {"TERM": "xterm", "FORCE_COLOR": ""},
        {"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"TERM": "xterm", "TTY_COMPATIBLE": "0"},
        {"TERM": "xterm", "TTY_COMPATIBLE": "1"},
        {"TERM": "xterm", "TTY_COMPATIBLE": "0", "FORCE_COLOR": "1"},
        {"TERM": "dumb", "FORCE_COLOR": "1"},
        {"TERM": "xterm", "COLUMNS": "33"},
        {"TERM": "xterm", "COLUMNS": "wide"},
    ],
)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_every_kind_of_terminal(environ: dict[str, str], is_terminal: bool) -> None:
    # Of colours that a terminal of few has to do without, too.
    view = styled(("bold", "bold"), ("red", "bold #ff8822 on blue"), ("x" * 200, "color(200)"))
    ours, theirs = both(view, None, environ, is_terminal=is_terminal)

    assert ours == theirs


@given(
    pieces=st.lists(
        st.tuples(st.text("ab \nÄ日🙂\u0301", max_size=30), st.sampled_from(STYLES)), max_size=5
    ),
    style=st.sampled_from(STYLES),
    width=st.integers(1, 40),
)
def test_any_text(pieces: list[tuple[str, str]], style: str, width: int) -> None:
    ours, theirs = both(styled(*pieces, style=style), width, {"TERM": "xterm"})

    assert ours == theirs


@pytest.mark.parametrize("end", ["", "\n"])
def test_lines_that_are_left_as_long_as_they_are(end: str) -> None:
    text = styled(("word " * 50, "bold"), ("\nsecond", "green"), style="dim")
    ours, theirs = (Stream(is_terminal=True) for _ in range(2))

    Canvas(ours, {"TERM": "xterm"}, 20).write(text, end)
    Console(file=theirs, width=20, highlight=False, _environ={"TERM": "xterm"}).print(
        text, soft_wrap=True, end=end
    )

    assert ours.getvalue() == theirs.getvalue()


@pytest.mark.parametrize(
    ("color", "environ", "is_terminal", "expected"),
    [
        ("always", {"NO_COLOR": "1", "TERM": "xterm"}, False, "\x1b[1;31mred\x1b[0m\n"),
        ("never", {"FORCE_COLOR": "1", "TERM": "xterm"}, True, "red\n"),
        ("auto", {"NO_COLOR": "1", "TERM": "xterm"}, True, "\x1b[1mred\x1b[0m\n"),
        ("auto", {"TERM": "xterm"}, False, "red\n"),
    ],
)
def test_what_was_typed_counts_most(
    color: str, environ: dict[str, str], is_terminal: bool, expected: str
) -> None:
    stream = Stream(is_terminal=is_terminal)

    Canvas(stream, environ, 80, color).draw(Text("red", style="bold red"))

    assert stream.getvalue() == expected


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_columns_say_how_wide(term: str) -> None:
    assert Canvas(Stream(is_terminal=True), {"TERM": term, "COLUMNS": "33"}).width == 33


@pytest.mark.parametrize("columns", ["0", "-5", "abc", "", "²", "1000000000", "8" * 5_000])
def test_columns_that_are_none(columns: str) -> None:
    assert Canvas(Stream(is_terminal=True), {"TERM": "dumb", "COLUMNS": columns}).width == 80


def test_the_terminals_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 77, 0, 0))
    with os.fdopen(terminal, "r") as stream:
        monkeypatch.setattr("sys.__stdin__", stream)
        assert Canvas(Stream(is_terminal=True), {"TERM": "xterm"}).width == 77
        ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        assert Canvas(Stream(is_terminal=True), {"TERM": "xterm"}).width == 80
    os.close(controller)


def test_no_console_of_rich_is_loaded_for_lines_that_fit() -> None:
    environment = Environment(stdout=io.StringIO(), environ={}, width=200)

    environment.draw(*(view for view in views() if isinstance(view, Text | Listing | Grid)))

    assert "_console" not in vars(environment.canvas)


def test_always_is_also_where_the_terminal_is_said_to_be_dumb() -> None:
    """As on many a CI: who types it knows better."""
    for is_terminal in (True, False):
        stream = Stream(is_terminal=is_terminal)
        Canvas(stream, {"TERM": "dumb"}, 80, "always").draw(Text("red", style="red"))
        assert stream.getvalue() == "\x1b[31mred\x1b[0m\n"
