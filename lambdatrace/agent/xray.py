"""What an invocation's tracing header says of AWS X-Ray, as summaries have it (items.py).

    Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1

That is X-Ray's documented form of `X-Amzn-Trace-Id`; parts that are not known are left alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of invocations whose executions have not been written yet. More are never under way.
_MOST = 64
_HEX = frozenset("0123456789abcdef")


class Traces:
    """The headers of the latest invocations."""

    def __init__(self) -> None:
        self._headers: dict[str, str] = {}  # by request id

    def told(self, request_id: str, header: str) -> None:
        """An invocation came with this header; empty: with none."""
        if header:
            self._headers[request_id] = header
            while len(self._headers) > _MOST:
                del self._headers[next(iter(self._headers))]

    def of(self, request_id: str) -> dict[str, Any]:
        """What its summary says: `xray`, or nothing where nothing was told."""
        row = read_header(self._headers.get(request_id, ""))
        return {} if row is None else {"xray": row}


def read_header(header: str) -> list[Any] | None:
    """[trace id, parent's id or None, 1 sampled, 0 not or None]; None: it names no trace."""
    parts = dict(part.strip().partition("=")[::2] for part in header.split(";"))
    version, _, rest = parts.get("Root", "").partition("-")
    trace_id, parent_id = rest.replace("-", ""), parts.get("Parent", "")
    if version != "1" or not _is_id(trace_id, 32):
        return None
    sampled = {"1": 1, "0": 0}.get(parts.get("Sampled", ""))
    return [trace_id, parent_id if _is_id(parent_id, 16) else None, sampled]


def _is_id(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)
