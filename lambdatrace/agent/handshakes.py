"""TLS handshakes: server name, version and alert of each connection, from its first messages."""

from __future__ import annotations

from lambdatrace import tls, wire
from lambdatrace.agent.names import joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Handshakes remembered over executions: a connection that is kept alive shows its name each time.
MAX_REMEMBERED = 2048


class Handshakes:
    """What is known of the TLS of connections that may still be used."""

    def __init__(self) -> None:
        self._known: dict[int, list[str]] = {}
        self._received: dict[int, bytes] = {}

    def read(self, records: Iterable[wire.TextRecord], *, peek: bool = False) -> None:
        """Take what was said in handshakes. With `peek` the same records will come again."""
        pieces = dict(self._received) if peek else self._received
        for record, text in joined(records, wire.KIND_TLS):
            entry = self._known.setdefault(record.connection, ["", "", ""])
            # Of either side, where it is not encrypted yet.
            entry[2] = entry[2] or tls.alert(text)
            if record.direction == wire.TEXT_SENT:
                hello = tls.client_hello(text)
                if hello is not None:
                    entry[0] = hello.server_name
                continue
            # A library may read a record's header and its body one after the other.
            received = pieces.get(record.connection, b"") + text
            pieces[record.connection] = received
            entry[1] = entry[1] or tls.server_version(received)
        for remembered in (self._known, self._received):
            while len(remembered) > MAX_REMEMBERED:
                del remembered[next(iter(remembered))]

    def of(self, connections: Iterable[wire.ConnectionRecord]) -> dict[int, list[str]]:
        """[server name, version, alert] by connection id, of those that speak TLS."""
        return {
            record.id: self._known[record.id]
            for record in connections
            if record.tls_started and record.id in self._known
        }

    def forget(self, connections: Mapping[int, object]) -> None:
        """Drop what only connections that have ended needed; `connections` are still open."""
        for remembered in (self._known, self._received):
            for number in [number for number in remembered if number not in connections]:
                del remembered[number]
