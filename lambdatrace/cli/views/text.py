"""Figures and untrusted text as Text: the only way into a view.

Views are built from Text, never from str: rich looks for markup in the latter.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lambdatrace.analysis.words import counted as counted
from lambdatrace.analysis.words import duration_words as duration_words
from lambdatrace.cli.views.styled import Text, cell_len, cut
from lambdatrace.model import Status
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from lambdatrace.model import Protocol

UNKNOWN = "-"
GOOD, BAD, WARNING, DIM = "green", "bold red", "yellow", "dim"
_SECOND_NS = 1_000_000_000
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def safe(text: str | None, style: str = "", limit: int = 200) -> Text:
    """Untrusted text, cleaned; what does not fit is folded onto the next line."""
    return Text(UNKNOWN if text is None else clean(text, limit), style=style, overflow="fold")


def duration(ns: int | None) -> Text:
    """A duration with three significant digits, at most `59.9 s`, then in minutes and hours."""
    return Text(UNKNOWN if ns is None else duration_words(ns), no_wrap=True)


def size(count: int) -> Text:
    """A number of bytes with three significant digits, in powers of 1000."""
    value = float(count)
    for unit in _SIZES:
        if value < 999.5 or unit == _SIZES[-1]:
            digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
            return Text(f"{value:.{digits}f} {unit}", no_wrap=True)
        value /= 1000
    raise AssertionError("the last unit takes everything")


def number(value: int | None, style: str = "") -> Text:
    """A count, with commas between thousands; a style for those above 0; None is not known."""
    if value is None:
        return Text(UNKNOWN)
    return Text(f"{value:,}", style=style if value else "", no_wrap=True)


def moment(moment_ns: int, *, milliseconds: bool = False) -> Text:
    """A moment (ns since the epoch) in UTC."""
    seconds, rest = divmod(moment_ns, _SECOND_NS)
    fraction = f".{rest // 1_000_000:03d}" if milliseconds else ""
    return Text(f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction}", no_wrap=True)


def destination(host: str | None, address: str, port: int, protocol: Protocol) -> Text:
    """`host:port`, or the address where no name is known; the protocol unless it is TCP."""
    name = host or address
    # Brackets keep an IPv6 address and its port apart (RFC 3986).
    name = f"[{name}]" if ":" in name else name
    suffix = "" if protocol == "tcp" else f"/{protocol}"
    return safe(f"{name}:{port}{suffix}")


def cut_middle(text: Text, width: int, mark: str = "…") -> Text:
    """`text` in `width` cells, its middle cut out: hosts and paths tell most at their ends."""
    if text.cell_len <= width:
        return text
    room = max(0, width - cell_len(mark))
    end = len(text)
    while end > 0 and cell_len(text.plain[end - 1 :]) <= room - room // 2:
        end -= 1
    # A character of two cells that does not fit leaves a blank.
    begin = len(cut(text.plain, room // 2).rstrip())
    return Text.assemble(text[:begin], (mark, DIM), text[end:], no_wrap=True)


def process_text(name: str | None, process_id: int, thread_id: int | None = None) -> Text:
    """`python3 4711`, or `python3 4711/4712` for a thread that is not the process's first."""
    text = safe(name).append(" ") if name is not None else Text(overflow="fold")
    own = "" if thread_id in (None, process_id) else f"/{thread_id}"
    return text.append(f"{process_id}{own}", style=DIM)


def percent(part: float, whole: float) -> Text:
    """A share in per cent, three cells wide up to 99: ` 4%`, `<1%` for what is next to nothing.

    As in sentences (words.percent) `100%` is only for all of it.
    """
    share = 100 * part / whole if whole > 0 else 0.0
    if share > 99 and part < whole:
        share = 99.0
    return Text("<1%" if 0 < share < 0.5 else f"{share:2.0f}%", no_wrap=True)


def status_style(status: Status) -> str:
    """Green for what ended well, red for what did not."""
    return GOOD if status is Status.OK else WARNING if status is Status.UNFINISHED else BAD
