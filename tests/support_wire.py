"""What passed the wire, put together from a capture: TCP connections, their exchanges, DNS queries.

All of it is seen from the near side. Times are ns on the capture's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from support_capture import ACK, FIN, RST, SYN, TCP, UDP

from lambdatrace import dns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support_capture import Packet

_APPLICATION_DATA = 23  # RFC 8446, 5.1
_RECORD_HEADER_BYTES = 5
_ALERT_BYTES = 24  # of TLS 1.3: header, two bytes, a type, 16 bytes to authenticate them
_EVERYTHING = range(1 << 62)


@dataclass
class Stream:
    """One direction of a connection."""

    # Where each in-order stretch of new bytes ends, and when it was there. Both rise.
    ends: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    _early: dict[int, bytes] = field(default_factory=dict)

    def add(self, moment: int, start: int, text: bytes) -> None:
        """A packet with bytes; what came too early counts when the hole before it is filled."""
        self._early[start] = max(text, self._early.get(start, b""), key=len)
        while usable := [start for start in self._early if start <= len(self.text)]:
            for begin in usable:
                self.text += self._early.pop(begin)[len(self.text) - begin :]
        if not self.ends or len(self.text) > self.ends[-1]:
            self.ends.append(len(self.text))
            self.times.append(moment)

    def when(self, offset: int) -> int:
        """The moment the byte at `offset` was there."""
        return self.times[bisect_right(self.ends, offset)]

    def pieces(self, within: range) -> Iterator[tuple[int, int]]:
        """When so many bytes of those in `within` were there."""
        before = 0
        for end, moment in zip(self.ends, self.times, strict=True):
            size = min(end, within.stop) - max(before, within.start)
            if size > 0:
                yield moment, size
            before = end

    def application_data(self) -> list[range]:
        """Where the TLS records of type application data stand."""
        found = []
        at = 0
        while at + _RECORD_HEADER_BYTES <= len(self.text):
            end = at + _RECORD_HEADER_BYTES + int.from_bytes(self.text[at + 3 : at + 5], "big")
            if self.text[at] == _APPLICATION_DATA:
                found.append(range(at, end))
            at = end
        return found


class Exchange(NamedTuple):
    """A request and its answer."""

    sent: int  # the request's last byte
    answered: int | None  # the answer's first byte


@dataclass
class Flow:
    """One TCP connection, opened by the near side."""

    near: tuple[str, int]
    far: tuple[str, int]
    syn: int
    seq: int
    syn_ack: int | None = None
    refused: bool = False  # a reset instead of a SYN-ACK
    closed: int | None = None  # the near side's first FIN
    out: Stream = field(default_factory=Stream)
    into: Stream = field(default_factory=Stream)
    retransmits: int = 0  # SYNs, payload and FINs whose bytes had been sent before
    retransmits_when_closed: int = 0  # those of them behind the first FIN
    _sent_until: int = 0
    _far_seq: int = 0

    def add(self, packet: Packet) -> None:
        """The next packet of this connection."""
        if packet.outgoing:
            self._leaves(packet)
        elif packet.flags & SYN:
            self.syn_ack = self.syn_ack or packet.time
            self._far_seq = packet.seq
        elif packet.flags & RST:
            self.refused = self.syn_ack is None
        elif packet.payload:
            start = (packet.seq - self._far_seq - 1) & 0xFFFFFFFF
            self.into.add(packet.time, start, packet.payload)

    def _leaves(self, packet: Packet) -> None:
        if packet.flags & SYN:
            self.retransmits += 1
            return
        start = (packet.seq - self.seq - 1) & 0xFFFFFFFF
        length = len(packet.payload) + bool(packet.flags & FIN)
        keepalive = start >= 1 << 31
        if packet.flags & RST or not length or keepalive:
            return
        if start < self._sent_until:
            self.retransmits += 1
            self.retransmits_when_closed += self.closed is not None
        if packet.flags & FIN:
            self.closed = self.closed or packet.time
        self._sent_until = max(self._sent_until, start + length)
        if packet.payload:
            self.out.add(packet.time, start, packet.payload)

    def exchanges(self, tls: str = "", tickets: int = 0) -> list[Exchange]:
        """Requests and answers; of TLS, those behind the handshake and the server's tickets."""
        out, into = _EVERYTHING, _EVERYTHING
        if tls:
            out, into = self._encrypted(tls == "1.3", tickets)
        found: list[Exchange] = []
        for moment, outgoing in sorted(
            [(moment, True) for moment, _ in self.out.pieces(out)]
            + [(moment, False) for moment, _ in self.into.pieces(into)]
        ):
            unanswered = bool(found) and found[-1].answered is None
            if outgoing:
                found[len(found) - unanswered :] = [Exchange(moment, None)]
            # What comes when the function has closed is read by nobody.
            elif unanswered and not (self.closed and moment > self.closed):
                found[-1] = found[-1]._replace(answered=moment)
        return found

    def _encrypted(self, is_1_3: bool, tickets: int) -> tuple[range, range]:
        out, into = self.out.application_data(), self.into.application_data()
        if is_1_3 and out:
            # The client's first encrypted record is its Finished. The server's tickets answer it.
            finished, *out = out
            sent = self.out.when(finished.stop - 1)
            into = [record for record in into if self.into.when(record.start) > sent][tickets:]
        if out and len(out[-1]) == _ALERT_BYTES:
            out.pop()  # close_notify
        return _span(out), _span(into)


@dataclass
class Query:
    """One DNS question and what came of it."""

    name: str
    type: str
    started: int
    stream: bool
    attempts: int = 1
    answered: int | None = None
    answer: str | None = None


def flows(packets: Iterable[Packet]) -> list[Flow]:
    """The TCP connections, by their first packet."""
    found: list[Flow] = []
    current: dict[tuple[tuple[str, int], tuple[str, int]], Flow] = {}
    for packet in packets:
        if packet.protocol != TCP:
            continue
        key = (packet.near, packet.far)
        known = current.get(key)
        begins = packet.outgoing and packet.flags & (SYN | ACK) == SYN
        # The same SYN again is a retransmission, another one on the same ports a new connection.
        if begins and (known is None or known.seq != packet.seq):
            current[key] = flow = Flow(packet.near, packet.far, packet.time, packet.seq)
            found.append(flow)
        elif known is not None:
            known.add(packet)
    return found


def queries(packets: Iterable[Packet], streams: Iterable[Flow]) -> list[Query]:
    """The DNS queries over UDP and TCP, by when they were first sent."""
    messages = [
        (packet.time, packet.outgoing, packet.payload, False)
        for packet in packets
        if packet.protocol == UDP and packet.far[1] == 53
    ]
    for flow in streams:
        if flow.far[1] == 53:
            for stream, outgoing in ((flow.out, True), (flow.into, False)):
                messages += [(when, outgoing, text, True) for when, text in _messages(stream)]
    found: list[Query] = []
    waiting: dict[tuple[bool, int, str, int], Query] = {}
    for moment, outgoing, text, is_stream in sorted(messages):
        message = dns.parse(text)
        assert message, text
        key = (is_stream, message.id, message.name, message.type)
        if outgoing and key in waiting:
            waiting[key].attempts += 1
        elif outgoing:
            kind = dns.type_name(message.type)
            waiting[key] = Query(message.name, kind, moment, is_stream)
            found.append(waiting[key])
        elif key in waiting:
            query = waiting.pop(key)
            query.answered = moment
            query.answer = dns.rcode_name(message.rcode)
    return found


def _messages(stream: Stream) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 < len(stream.text):
        end = at + 2 + int.from_bytes(stream.text[at : at + 2], "big")
        yield stream.when(end - 1), bytes(stream.text[at + 2 : end])
        at = end


def _span(records: list[range]) -> range:
    return range(records[0].start, records[-1].stop) if records else range(0)
