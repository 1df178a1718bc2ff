"""Namelookups: DNS queries and their answers put together, and which name an address stands for."""

from __future__ import annotations

from lambdatrace import dns, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Bounds on what is remembered: names of addresses over executions (an environment's function talks
# to dozens), and lookups of one execution.
MAX_ADDRESSES = 4096
MAX_LOOKUPS = 2000
_PREFIX_BYTES = 2  # over TCP each message has its length in front (RFC 1035, 4.2.2)


class Lookup:
    """One question of one process, asked once or more. Times are on the records' clock (ns)."""

    __slots__ = (
        "addresses",
        "answered",
        "attempts",
        "connection",
        "name",
        "rcode",
        "server",
        "started",
        "tgid",
        "truncated",
        "type",
    )

    def __init__(self, message: dns.Message, record: wire.TextRecord) -> None:
        self.name = message.name
        self.type = message.type
        self.server = _server_address(record)
        self.tgid = record.tgid
        self.connection = record.connection
        self.started = record.time
        self.answered = 0
        self.attempts = 1
        self.rcode: int | None = None
        self.truncated = False
        self.addresses: list[str] = []

    def row(self) -> list[Any]:
        """As it is stored (items.py)."""
        return [
            self.name,
            dns.type_name(self.type),
            self.server,
            self.started,
            self.answered,
            self.attempts,
            None if self.rcode is None else dns.rcode_name(self.rcode),
            int(self.truncated),
            self.addresses,
            self.tgid,
            self.connection,
        ]


class Names:
    """What is known of names: lookups that wait for an answer, and addresses with theirs."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int, str, int], Lookup] = {}
        self._hosts: dict[str, str] = {}

    def hosts(
        self, connections: Iterable[wire.ConnectionRecord], lookups: Iterable[Lookup]
    ) -> dict[int, str]:
        """The name each connection was opened for, by connection id, where one is known.

        That is the one its address was looked up under last before it began: in `lookups`, else in
        an execution before.
        """
        fresh: dict[str, list[tuple[int, str]]] = {}
        for lookup in lookups:
            for address in lookup.addresses:
                fresh.setdefault(address, []).append((lookup.answered, lookup.name))
        found = {}
        for record in connections:
            address = wire.address_text(record.family, record.address)
            answers = [entry for entry in fresh.get(address, ()) if entry[0] <= record.started]
            name = max(answers)[1] if answers else self._hosts.get(address)
            if name:
                found[record.id] = name
        return found

    def read(self, records: Iterable[wire.TextRecord], *, peek: bool = False) -> list[Lookup]:
        """Lookups begun in `records`, by start; those without an answer are still open.

        With `peek` nothing is remembered of them.
        """
        waiting = dict(self._open) if peek else self._open
        lookups: list[Lookup] = []
        for record, text in joined(records, wire.KIND_DNS):
            text = _without_prefix(record, text)
            message = dns.parse(text)
            if message is None:
                continue
            key = (record.tgid, message.id, message.name, message.type)
            if record.direction == wire.TEXT_SENT and not message.is_answer:
                known = waiting.get(key)
                if known is not None:
                    known.attempts += 1
                elif len(lookups) < MAX_LOOKUPS:
                    waiting[key] = lookup = Lookup(message, record)
                    lookups.append(lookup)
            elif record.direction == wire.TEXT_RECEIVED and message.is_answer:
                lookup_or_none = waiting.pop(key, None)
                if lookup_or_none is not None:
                    _answer(lookup_or_none, message, record)
                    if not peek:
                        self._remember(lookup_or_none)
        return lookups

    def forget_open(self) -> None:
        """Give up waiting: what comes now answers a question of an execution that has ended."""
        self._open.clear()

    def _remember(self, lookup: Lookup) -> None:
        for address in lookup.addresses:
            self._hosts.pop(address, None)
            self._hosts[address] = lookup.name
        while len(self._hosts) > MAX_ADDRESSES:
            del self._hosts[next(iter(self._hosts))]


def _server_address(record: wire.TextRecord) -> str:
    return wire.address_text(record.family, record.server)


def _answer(lookup: Lookup, message: dns.Message, record: wire.TextRecord) -> None:
    lookup.answered = record.time
    lookup.server = _server_address(record)
    lookup.rcode = message.rcode
    lookup.truncated = message.truncated
    lookup.addresses = message.addresses


def joined(records: Iterable[wire.TextRecord], kind: int) -> list[tuple[wire.TextRecord, bytes]]:
    """Texts of a kind with their pieces put together: (record of the first piece, text)."""
    order: list[tuple[wire.TextRecord, list[bytes]]] = []
    current: dict[tuple[int, int, int], list[bytes]] = {}
    for record in records:
        if record.kind != kind:
            continue
        key = (record.tid, record.connection, record.direction)
        size = min(record.length - record.fragment * len(record.text), len(record.text))
        text = record.text[: max(0, size)]
        if record.fragment == 0:
            current[key] = [text]
            order.append((record, current[key]))
        elif key in current:
            current[key].append(text)
    return [(record, b"".join(parts)) for record, parts in order]


def _without_prefix(record: wire.TextRecord, text: bytes) -> bytes:
    if not record.flags & wire.TEXT_STREAM or record.flags & wire.TEXT_WITHOUT_PREFIX:
        return text
    # Read in one go the length is in front; read apart, it was a message of two bytes of its own.
    if len(text) > _PREFIX_BYTES and int.from_bytes(text[:2], "big") == record.length - 2:
        return text[_PREFIX_BYTES:]
    return text
