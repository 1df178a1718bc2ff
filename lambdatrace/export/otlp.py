"""OpenTelemetry traces as OTLP/JSON (docs/export.md): a trace for each execution.

Names are those of OpenTelemetry's semantic conventions; what they have none for begins with
`lambdatrace.`. As OTLP's JSON has it, ids are hex, and 64-bit numbers are texts.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from lambdatrace import __version__
from lambdatrace.analysis.phases import phases
from lambdatrace.export.documents import milliseconds
from lambdatrace.export.pieces import batches
from lambdatrace.export.spans import place, waits
from lambdatrace.model import Outcome, Part, Status
from lambdatrace.sanitize import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lambdatrace.export.stored import StoredExecution
    from lambdatrace.model import Connection, Namelookup, Process

_encode = json.JSONEncoder(allow_nan=False).encode

# opentelemetry/proto/trace/v1/trace.proto: SpanKind, StatusCode, and the flags of W3C's trace
# context.
_INTERNAL, _SERVER, _CLIENT = 1, 2, 3
_ERROR = 2
_SAMPLED = 1
_MB = 1 << 20
_DNS_PORT = 53
_FINE = (Outcome.OK, Outcome.OPEN, Outcome.GONE)


def write(executions: Iterable[StoredExecution]) -> Iterator[bytes]:
    """The file (`TracesData`), piece by piece. Raises CorruptItemError."""
    return batches(piece.encode("ascii") for piece in _pieces(executions))


def _pieces(executions: Iterable[StoredExecution]) -> Iterator[str]:
    yield '{"resourceSpans": ['
    separator = "\n"
    for stored in executions:
        begin, end = around(stored)
        yield separator + begin
        separator = "\n"
        for span in spans(stored):
            yield separator + span
            separator = ",\n"
        yield end
        separator = ",\n"
    yield "\n]}\n"


def requests(
    executions: Iterable[StoredExecution], most: int, most_bytes: int
) -> Iterator[tuple[str, int]]:
    """(body, how many spans are in it) of requests of so many spans and bytes, about.

    Raises CorruptItemError.
    """
    parts: list[str] = []
    count = size = 0
    for stored in executions:
        begin, end = around(stored)
        own: list[str] = []
        for span in spans(stored):
            own.append(span)
            count += 1
            size += len(span)
            if count >= most or size >= most_bytes:
                yield _request([*parts, begin + ",".join(own) + end]), count
                parts, own, count, size = [], [], 0, 0
        if own:
            parts.append(begin + ",".join(own) + end)
            size += len(begin)
    if parts:
        yield _request(parts), count


def _request(parts: Iterable[str]) -> str:
    return '{"resourceSpans": [' + ",".join(parts) + "]}"


def around(stored: StoredExecution) -> tuple[str, str]:
    """What stands before and behind the spans of an execution: what and where it is."""
    execution = stored.execution
    at_lambda = execution.edges != "process"
    resource: dict[str, Any] = {
        "service.name": execution.function,
        "process.command_line": execution.command,
    }
    if at_lambda:
        resource |= {
            "cloud.provider": "aws",
            "cloud.platform": "aws_lambda",
            "faas.name": execution.function,
            "faas.version": execution.version,
            "faas.max_memory": None if execution.memory_mb is None else execution.memory_mb * _MB,
        }
    scope = {"name": "lambdatrace", "version": __version__}
    begin = (
        f'{{"resource": {_encode({"attributes": _attributes(resource)})}, "scopeSpans": '
        f'[{{"scope": {_encode(scope)}, "spans": ['
    )
    return begin, "]}]}"


def spans(stored: StoredExecution) -> Iterator[str]:
    """Each span of an execution as JSON, the execution's own first."""
    return map(_encode, _Spans(stored).all())


class _Spans:
    """The spans of one execution. Their ids follow from its own: who sends twice, sends the same.

    The trace's is that of X-Ray, where the invocation had one.
    """

    def __init__(self, stored: StoredExecution) -> None:
        self._stored = stored
        self._execution = stored.execution
        self._origin = stored.execution.started_at_ns
        key = f"{self._execution.execution_id}\0{self._origin}"
        self._key = sha256(key.encode("utf-8", "surrogatepass"))
        xray = self._execution.xray
        self._trace = self._key.hexdigest()[:32] if xray is None else xray.trace_id
        self._parent = None if xray is None else xray.parent_id
        self._flags = 0 if xray is not None and xray.is_sampled is False else _SAMPLED
        self._root = self._id("execution", 0)

    def _id(self, kind: str, number: int) -> str:
        digest = self._key.copy()
        digest.update(f"\0{kind}\0{number}".encode())
        return digest.hexdigest()[:16]

    def all(self) -> Iterator[dict[str, Any]]:
        trace = self._stored.trace
        yield self._own()
        for number, lookup in enumerate(trace.namelookups):
            yield self._namelookup(number, lookup)
        for number, connection in enumerate(trace.connections):
            yield from self._connection(number, connection)
        for number, (whose, wait) in enumerate(waits(self._stored)):
            facts = {
                "process.pid": whose[0],
                "thread.id": whose[1],
                "file.path": wait.facts["path"],
            }
            name = wait.facts["op"]
            yield self._span("blocked", number, name, wait.start_ns, wait.end_ns, facts)
        for number, process in enumerate(trace.processes):
            yield self._process(number, process)

    def _own(self) -> dict[str, Any]:
        execution = self._execution
        facts: dict[str, Any] = {
            "faas.invocation_id": execution.execution_id,
            "faas.coldstart": execution.cold_start,
            "lambdatrace.status": str(execution.status),
            "lambdatrace.backend": execution.backend,
            "lambdatrace.dropped": execution.dropped.total,
        }
        if self._stored.verdict is not None:
            facts["lambdatrace.verdict"] = self._stored.verdict.text
        if execution.partition is not None:
            for part in Part:
                known = execution.partition.of(part)
                facts[f"lambdatrace.partition.{part}_ms"] = milliseconds(known)
        error = None if execution.status is Status.OK else str(execution.status)
        return self._span(
            "execution", 0, execution.function, 0, execution.duration_ns, facts,
            kind=_SERVER, parent=self._parent, error=error,
        )  # fmt: skip

    def _namelookup(self, number: int, lookup: Namelookup) -> dict[str, Any]:
        end = self._execution.duration_ns
        if lookup.duration_ns is not None:
            end = lookup.started_ns + lookup.duration_ns
        facts = {
            "dns.question.name": lookup.name,
            "dns.answers": list(lookup.addresses),
            "server.address": lookup.server,
            "server.port": _DNS_PORT,
            "process.pid": lookup.process_id,
            "lambdatrace.dns.question.type": lookup.type,
            "lambdatrace.dns.attempts": lookup.attempts,
        }
        answer = lookup.answer or "unanswered"
        error = None if answer == "NOERROR" else answer
        return self._span(
            "namelookup", number, f"DNS {lookup.type} {lookup.name}", lookup.started_ns, end, facts,
            kind=_CLIENT, error=error,
        )  # fmt: skip

    def _connection(self, number: int, connection: Connection) -> Iterator[dict[str, Any]]:
        start, end = connection.started_ns, connection.started_ns + connection.duration_ns
        has_tls = connection.tls_started_ns is not None
        facts = {
            "server.address": connection.host or connection.address,
            "server.port": connection.port,
            "network.transport": str(connection.protocol),
            "network.type": "ipv6" if ":" in connection.address else "ipv4",
            "network.peer.address": connection.address,
            "network.peer.port": connection.port,
            "network.local.port": connection.local_port,
            "tls.protocol.name": "tls" if has_tls else None,
            "tls.protocol.version": connection.tls_version,
            "tls.client.server_name": connection.tls_server_name,
            "tls.established": connection.tls_ns is not None if has_tls else None,
            "process.pid": connection.process_id,
            "process.executable.name": connection.process_name,
            "thread.id": connection.thread_id,
            "lambdatrace.outcome": str(connection.outcome),
            "lambdatrace.reused": connection.reused,
            "lambdatrace.stale": connection.stale,
            "lambdatrace.retransmits": connection.retransmits,
            "lambdatrace.requests": connection.exchanges,
            "lambdatrace.sampled": connection.sampled or None,
            "lambdatrace.bytes_out": connection.known(connection.bytes_out),
            "lambdatrace.bytes_in": connection.known(connection.bytes_in),
        }
        failed = connection.outcome not in _FINE or bool(connection.tls_error)
        error = connection.error or connection.tls_error or str(connection.outcome)
        own = self._span(
            "connection", number, place(connection.host, connection.address, connection.port),
            start, end, facts, kind=_CLIENT, error=error if failed else None,
        )  # fmt: skip
        yield own
        told = self._stored.exchanges.get(connection.id)
        for each, phase in enumerate(phases(connection, told)):
            yield self._span(
                f"phase {number}", each, str(phase.kind), phase.start_ns, phase.end_ns, {},
                parent=own["spanId"],
            )  # fmt: skip

    def _process(self, number: int, process: Process) -> dict[str, Any]:
        ending = process.ending
        facts = {
            "process.pid": process.process_id,
            "process.parent_pid": process.parent_id,
            "process.executable.name": process.name,
            "process.exit.code": ending.exit_code,
        }
        error = ending.signal or (f"exit code {ending.exit_code}" if ending.exit_code else None)
        return self._span(
            "process", number, process.name, process.started_ns,
            process.started_ns + process.duration_ns, facts, error=error,
        )  # fmt: skip

    def _span(
        self, record: str, number: int, name: str, start_ns: int, end_ns: int,
        facts: dict[str, Any], *, kind: int = _INTERNAL, parent: str | None = "",
        error: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A span; `parent` is its id, "" the execution's, None: there is none."""
        if error is not None:
            facts["error.type"] = error
        above = self._root if parent == "" else parent
        return {
            "traceId": self._trace,
            "spanId": self._id(record, number),
            **({} if above is None else {"parentSpanId": above}),
            "flags": self._flags,
            "name": clean(name) or record,
            "kind": kind,
            # Before the epoch there are no times.
            "startTimeUnixNano": str(max(0, self._origin + start_ns)),
            "endTimeUnixNano": str(max(0, self._origin + max(start_ns, end_ns))),
            "attributes": _attributes(facts),
            "status": {} if error is None else {"code": _ERROR, "message": clean(error)},
        }


def _attributes(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes, without what is not known."""
    return [
        {"key": name, "value": _value(value)} for name, value in facts.items() if value is not None
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": clean(value)}
