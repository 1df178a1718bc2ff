"""HAR 1.2, for browsers' developer tools: what can honestly be filled (docs/export.md).

An entry for each exchange on a TCP connection; for a connection whose exchanges were not told
apart, or that had none, one. What was asked for is not known: method, path and status are said to
be unknown, times are what the kernel saw.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lambdatrace import __version__
from lambdatrace.analysis.phases import connect_ns, handshake_ns, transfer_ns, wait_ns
from lambdatrace.analysis.times import rfc_3339
from lambdatrace.export.pieces import batches
from lambdatrace.model import Protocol
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lambdatrace.export.stored import StoredExecution
    from lambdatrace.model import Connection, Exchange, Execution

_encode = json.JSONEncoder(allow_nan=False).encode

_UNKNOWN = "UNKNOWN"
# A number that is not known, where HAR wants one.
_NO_NUMBER = -1
_COMMENT = (
    "Seen by lambdatrace from the kernel: method, path, headers and status are not known; "
    "_transferSize has all bytes received, those of headers and encryption included."
)


def write(executions: Iterable[StoredExecution]) -> Iterator[bytes]:
    """The file, piece by piece. Raises CorruptItemError."""
    return batches(piece.encode("ascii") for piece in _pieces(executions))


def _pieces(executions: Iterable[StoredExecution]) -> Iterator[str]:
    creator = {"name": "lambdatrace", "version": __version__}
    yield (
        f'{{"log": {{"version": "1.2", "creator": {_encode(creator)}, '
        f'"comment": {_encode(_COMMENT)}, "entries": ['
    )
    # Members have no order, and what comes last need not be known first.
    pages: list[str] = []
    separator = "\n"
    for stored in executions:
        page = f"execution_{len(pages) + 1}"
        pages.append(_encode(_page(page, stored.execution)))
        for entry in _entries(page, stored):
            yield separator + _encode(entry)
            separator = ",\n"
    yield '\n], "pages": [\n' + ",\n".join(pages) + "\n]}}\n"


def _page(page: str, execution: Execution) -> dict[str, Any]:
    title = f"{execution.function} {execution.execution_id} {execution.status}"
    return {
        "startedDateTime": rfc_3339(execution.started_at_ns),
        "id": page,
        "title": clean(title),
        "pageTimings": {"onLoad": execution.duration_ns / 1e6},
    }


def _entries(page: str, stored: StoredExecution) -> Iterator[dict[str, Any]]:
    looked_up = _Lookups(stored)
    for connection in stored.trace.connections:
        if connection.protocol is not Protocol.TCP or connection.before:
            continue
        told = stored.exchanges.get(connection.id) or (None,)
        for number, exchange in enumerate(told):
            is_first = number == 0 and not connection.reused
            dns = looked_up.before(connection) if is_first else None
            yield _entry(page, stored.execution, connection, exchange, is_first, dns)


class _Lookups:
    """How long looking a connection's name up took, told to the first connection it was for."""

    def __init__(self, stored: StoredExecution) -> None:
        self._ends: dict[str, list[tuple[int, int]]] = {}
        for each in stored.trace.namelookups:
            if each.duration_ns is not None:
                end = each.started_ns + each.duration_ns
                self._ends.setdefault(each.name, []).append((end, each.duration_ns))

    def before(self, connection: Connection) -> int | None:
        """The longest lookup of its name that was done when it began; each is told once."""
        if connection.host is None:
            return None
        known = self._ends.get(connection.host, [])
        done = [(end, length) for end, length in known if end <= connection.started_ns]
        if not done:
            return None
        self._ends[connection.host] = [each for each in known if each not in done]
        return max(length for _, length in done)


def _entry(
    page: str, execution: Execution, connection: Connection, exchange: Exchange | None,
    is_first: bool, dns: int | None,
) -> dict[str, Any]:  # fmt: skip
    connecting = connect_ns(connection) if is_first else None
    ssl = handshake_ns(connection) if is_first else None
    if exchange is not None:
        own: Sequence[Exchange] = (exchange,)
        begun, send = exchange.started_ns, exchange.request_ns
        wait, receive = wait_ns(connection, own), transfer_ns(connection, own)
    else:
        begun, send = connection.started_ns + (connecting or 0) + (ssl or 0), None
        wait, receive = wait_ns(connection), transfer_ns(connection)
    timings = {
        "blocked": _NO_NUMBER,
        "dns": _ms(dns),
        # HAR counts the handshake in.
        "connect": _NO_NUMBER if connecting is None else _ms(connecting + (ssl or 0)),
        "ssl": _ms(ssl),
        "send": _ms(send),
        "wait": _ms(wait),
        "receive": _ms(receive),
    }
    told = [each for name, each in timings.items() if each != _NO_NUMBER and name != "ssl"]
    before = (dns or 0) + (connecting or 0) + (ssl or 0)
    traffic = connection if exchange is None else exchange
    sizes = [
        _NO_NUMBER if connection.known(size) is None else size
        for size in (traffic.bytes_out, traffic.bytes_in)
    ]
    return {
        "pageref": page,
        "startedDateTime": rfc_3339(max(0, execution.started_at_ns + begun - before)),
        "time": sum(told) if told else _NO_NUMBER,
        "request": {
            "method": _UNKNOWN,
            "url": _url(connection),
            "httpVersion": _UNKNOWN,
            "cookies": [], "headers": [], "queryString": [],
            "headersSize": _NO_NUMBER,
            "bodySize": _NO_NUMBER,
            "_transferSize": sizes[0],
        },
        "response": {
            "status": 0,
            "statusText": clean(connection.error or str(connection.outcome)),
            "httpVersion": _UNKNOWN,
            "cookies": [], "headers": [],
            "content": {"size": _NO_NUMBER, "mimeType": "x-unknown"},
            "redirectURL": "",
            "headersSize": _NO_NUMBER,
            "bodySize": _NO_NUMBER,
            "_transferSize": sizes[1],
        },
        "cache": {},
        "timings": timings,
        "serverIPAddress": connection.address,
        "connection": str(connection.id),
    }  # fmt: skip


def _url(connection: Connection) -> str:
    """The root of where it led to: with TLS it may have been https, without it http."""
    scheme = "http" if connection.tls_started_ns is None else "https"
    host = connection.host or connection.address
    # What is no part of a host's name stands escaped, and at the end of none.
    name = f"[{host}]" if connection.host is None and ":" in host else quote(clean(host), safe="")
    return f"{scheme}://{name}:{connection.port}/"


def _ms(ns: int | None) -> float:
    return _NO_NUMBER if ns is None else max(0, ns) / 1e6
