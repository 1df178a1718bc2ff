"""Untrusted text made safe to show: host, process and function names, ids, commands.

Whoever can name a process or a host can write into a trace. What is shown must not move the
cursor, change a title, reorder the line (bidi), hide something, or run a spreadsheet's formula.
"""

from __future__ import annotations

MAX_LENGTH = 1_000
_FORMULA_STARTS = ("=", "+", "-", "@")


def clean(text: str, limit: int = MAX_LENGTH) -> str:
    r"""`text` in one line, every character that is no visible one written as its escape.

    Controls (C0, C1), format characters (bidi overrides, zero widths), line separators, lone
    surrogates, private and unassigned characters: an escape sequence shows as `\x1b[31m`. Longer
    text than `limit` characters ends in `…`.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)


def cell(text: str) -> str:
    """`text` for a CSV cell: cleaned, and never taken for a formula by a spreadsheet (CWE-1236)."""
    text = clean(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text
