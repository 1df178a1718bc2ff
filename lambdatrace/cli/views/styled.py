"""Text in styles, which views are made of: rich's Text as far as they need it.

To load that one and to draw with it takes an eighth of `list` and `show`. Styles are rich's
definitions (`bold red`) and no more than names here: whoever draws in colours asks rich what they
mean. What is seldom, characters that are not one cell wide, is measured, cut and folded by rich.
And in a Table or Console of rich this is rich's Text. What is drawn is the same, byte for byte.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Literal

    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment as RichSegment
    from rich.style import Style
    from rich.text import Text as RichText

    Justify = Literal["default", "left", "right"]
    Overflow = Literal["fold", "crop", "ellipsis"]
    # What applies to a piece of text; the later counts more.
    Styles = tuple[str | Style, ...]
    # From where to where (characters), and the style there.
    Span = tuple[int, int, str]

# Characters that are one cell wide: ASCII's, and what bars, marks and rules are drawn with.
NARROW = frozenset(
    "".join(map(chr, range(0x20, 0x7F))) + "…≥✗→↺‼†" + "".join(map(chr, range(0x2500, 0x25FD)))
)
# As rich does: bell, backspace, vertical tab, form feed, carriage return.
_LEFT_OUT = dict.fromkeys((7, 8, 11, 12, 13))


class Segment:
    """A piece of a line in one style, or the end of that line."""

    __slots__ = ("styles", "text")

    def __init__(self, text: str, styles: Styles = ()) -> None:
        self.text = text
        self.styles = styles

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichSegment]:
        """The same to rich."""
        from rich.segment import Segment as RichSegment

        yield RichSegment(self.text, combined(self.styles))


NEWLINE = Segment("\n")


class Text:
    """Text, all of it in `style` and the `spans` of it in theirs.

    `no_wrap` and `overflow` say what becomes of what is too long for its line; None: as the view
    around it has it, else it is folded. Behind it comes `end`.
    """

    __slots__ = ("_plain", "end", "no_wrap", "overflow", "spans", "style")

    def __init__(
        self,
        plain: str = "",
        style: str = "",
        *,
        no_wrap: bool | None = None,
        overflow: Overflow | None = None,
        end: str = "\n",
    ) -> None:
        self._plain = _clean(plain)
        self.style = style
        self.spans: list[Span] = []
        self.no_wrap = no_wrap
        self.overflow = overflow
        self.end = end

    @classmethod
    def assemble(cls, *parts: str | Text | tuple[str, str], no_wrap: bool | None = None) -> Text:
        """The parts one after another: each a text, or a string and its style."""
        text = cls(no_wrap=no_wrap)
        for part in parts:
            if isinstance(part, Text):
                if part:
                    text.append_text(part)
            elif isinstance(part, str):
                text.append(part)
            else:
                text.append(*part)
        return text

    def __len__(self) -> int:
        return len(self._plain)

    def __str__(self) -> str:
        return self._plain

    def __getitem__(self, part: slice) -> Text:
        """Some characters of it."""
        start, stop, _ = part.indices(len(self))
        return self._part(start, max(start, stop))

    def __rich__(self) -> RichText:
        """The same to rich."""
        from rich.text import Span as RichSpan
        from rich.text import Text as RichText

        text = RichText(
            self._plain, self.style, no_wrap=self.no_wrap, overflow=self.overflow, end=self.end
        )
        text.spans = [RichSpan(*span) for span in self.spans]
        return text

    @property
    def plain(self) -> str:
        """Its characters alone."""
        return self._plain

    @plain.setter
    def plain(self, plain: str) -> None:
        self._plain = _clean(plain)
        length = len(self._plain)
        if self.spans and any(end > length for _, end, _ in self.spans):
            self.spans = [
                (start, min(end, length), style)
                for start, end, style in self.spans
                if start < length
            ]

    @property
    def cell_len(self) -> int:
        """How many cells it is wide."""
        return cell_len(self._plain)

    def copy(self) -> Text:
        """Another one like it."""
        text = Text("", self.style, no_wrap=self.no_wrap, overflow=self.overflow, end=self.end)
        text._plain = self._plain
        text.spans = self.spans[:]
        return text

    def append(self, plain: str, style: str = "") -> Text:
        """Add a string in a style; returns this text."""
        plain = _clean(plain)
        if plain and style:
            start = len(self._plain)
            self.spans.append((start, start + len(plain), style))
        self._plain += plain
        return self

    def append_text(self, text: Text) -> Text:
        """Add another text in its styles; returns this one."""
        start = len(self._plain)
        if text.style:
            self.spans.append((start, start + len(text), text.style))
        self.spans += [(start + first, start + last, style) for first, last, style in text.spans]
        self._plain += text._plain
        return self

    def stylize(self, style: str, start: int, end: int) -> None:
        """Put the characters from `start` to `end` into a style."""
        if start < end and start < len(self):
            self.spans.append((start, min(end, len(self)), style))

    def pad_left(self, count: int) -> None:
        """Put blanks before it."""
        if count > 0:
            self._plain = " " * count + self._plain
            self.spans = [(start + count, end + count, style) for start, end, style in self.spans]

    def pad_right(self, count: int) -> None:
        """Put blanks behind it."""
        self._plain += " " * count

    def rstrip(self) -> None:
        """Take the blanks at its end away."""
        self.plain = self._plain.rstrip()

    def truncate(self, width: int, overflow: Overflow = "fold") -> None:
        """Cut off what is wider than so many cells; `ellipsis` shows that something is."""
        if self.cell_len > width:
            is_marked = overflow == "ellipsis"
            self.plain = cut(self._plain, width - is_marked) + "…" * is_marked

    def split(self) -> list[Text]:
        """Its lines."""
        if "\n" not in self._plain:
            return [self.copy()]
        lines, start = [], 0
        for line in self._plain.split("\n"):
            lines.append(self._part(start, start + len(line)))
            start += len(line) + 1
        return lines

    def folded(
        self,
        width: int,
        justify: Justify = "default",
        overflow: Overflow | None = None,
        *,
        no_wrap: bool | None = None,
    ) -> list[Text]:
        """Its lines in so many cells. The text's own `no_wrap` and `overflow` count more."""
        overflow = self.overflow or overflow or "fold"
        no_wrap = self.no_wrap if self.no_wrap is not None else bool(no_wrap)
        if not NARROW.issuperset(self._plain.replace("\n", "")):
            unused: Any = None  # only in a block of justified lines
            lines = self.__rich__().wrap(
                unused, width, justify=justify, overflow=overflow, no_wrap=no_wrap
            )
            return [_of_rich(line) for line in lines]
        found: list[Text] = []
        for line in self.split():
            parts = [line]
            if not no_wrap and (breaks := _breaks(line._plain, width, fold=overflow == "fold")):
                parts = [line._part(*each) for each in pairwise((0, *breaks, len(line)))]
            for part in parts:
                if not no_wrap and len(part) > width:
                    # Blanks at the end of a line are not what is too long.
                    part.plain = part._plain.rstrip().ljust(width)
                if justify == "right":
                    part.rstrip()
                part.truncate(width, overflow)
                if justify == "left":
                    part.pad_right(width - len(part))
                elif justify == "right":
                    part.pad_left(width - len(part))
            found += parts
        return found

    def segments(self, under: Styles = ()) -> Iterator[Segment]:
        """Its pieces, their styles on top of those `under` it."""
        plain = self._plain
        if self.style:
            under = (*under, self.style)
        if not self.spans:
            if plain:
                yield Segment(plain, under)
            return
        edges = {0, len(plain)}
        for start, end, _ in self.spans:
            edges.add(start)
            edges.add(end)
        for first, last in pairwise(sorted(edges)):
            over = [style for start, end, style in self.spans if start <= first and last <= end]
            yield Segment(plain[first:last], (*under, *over))

    def _part(self, first: int, last: int) -> Text:
        text = Text("", self.style, overflow=self.overflow)
        text._plain = self._plain[first:last]
        text.spans = [
            (max(start, first) - first, min(end, last) - first, style)
            for start, end, style in self.spans
            if max(start, first) < min(end, last)
        ]
        return text


def cell_len(text: str) -> int:
    """How many cells a string is wide."""
    if NARROW.issuperset(text):
        return len(text)
    from rich import cells

    return cells.cell_len(text)


def cut(text: str, width: int) -> str:
    """A string in so many cells: of what does not fit whole into the last one a blank is left."""
    if NARROW.issuperset(text):
        return text[:width].ljust(width)
    from rich import cells

    return cells.set_cell_size(text, width)


def cropped(segments: Iterable[Segment], width: int) -> Iterator[Segment]:
    """Segments without what does not fit into lines of so many cells."""
    line: list[Segment] = []
    for segment in segments:
        if "\n" not in segment.text:
            line.append(segment)
            continue
        for number, text in enumerate(segment.text.split("\n")):
            if number:
                yield from _cropped_line(line, width)
                yield NEWLINE
                line = []
            line.append(Segment(text, segment.styles))
    yield from _cropped_line(line, width)


def _cropped_line(line: list[Segment], width: int) -> list[Segment]:
    lengths = [cell_len(segment.text) for segment in line]
    if sum(lengths) <= width:
        return line
    for number, length in enumerate(lengths):
        if length >= width:
            return [*line[:number], Segment(cut(line[number].text, width), line[number].styles)]
        width -= length
    return line


def combined(styles: Sequence[str | Style]) -> Style:
    """What styles on top of one another look like."""
    from rich.style import Style

    looks = (Style.parse(each) if isinstance(each, str) else each for each in styles)
    return Style.combine([Style.null(), *looks])


def _clean(text: str) -> str:
    return text if text.isprintable() else text.translate(_LEFT_OUT)


def _of_rich(text: RichText) -> Text:
    made = Text(text.plain, str(text.style))
    made.spans = [(start, end, str(style)) for start, end, style in text.spans]
    return made


def _breaks(text: str, width: int, *, fold: bool) -> list[int]:
    """Where the second line and those behind it begin; words longer than a line are cut, or not.

    As rich has it: blanks belong to the word before them. Every character is one cell wide.
    """
    if len(text.rstrip()) <= width:
        return []
    breaks: list[int] = []
    used = start = 0
    while start < len(text):
        begin = _after_blanks(text, start)
        end = text.find(" ", begin) if " " in text[begin:] else len(text)
        behind = _after_blanks(text, end)
        if end - start <= width - used:
            used += behind - start
        elif end - start > width and fold:
            pieces = range(start, behind, width)
            breaks += filter(None, pieces)
            used = behind - pieces[-1]
        else:
            if start and (used or end - start > width):
                breaks.append(start)
            used = behind - start
        start = behind
    return breaks


def _after_blanks(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip(" "))
