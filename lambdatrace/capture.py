"""What LAMBDATRACE_CAPTURE and --capture choose among; connections are always recorded.

Used by the agent at cold start: no import.
"""

from __future__ import annotations

CAPTURE = ("dns", "tls", "exchanges", "cpu", "blocked", "processes")
DEFAULT_THRESHOLD_MS = 1  # of the group `blocked`
ALL = "all"
NONE = "none"


def read_capture(text: str) -> tuple[tuple[str, ...], list[str]]:
    """(the groups that `text` names, in the order of CAPTURE; the words that name none).

    `text` is a list with commas; empty, or of unknown words only, it means all of them.
    """
    words = {word.strip() for word in text.split(",")} - {""}
    unknown = sorted(words - {*CAPTURE, ALL, NONE})
    if ALL in words or words == set(unknown):
        return CAPTURE, unknown
    return tuple(group for group in CAPTURE if group in words), unknown


def unknown_groups(unknown: list[str]) -> str:
    """What to say about words that name no group."""
    return f"there is no {', '.join(unknown)}; the groups are {', '.join(CAPTURE)}, or all, or none"
