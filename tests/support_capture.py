"""A packet capture as referee: tcpdump around a block, and a reader of the file that it writes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from support import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support_probe import Network

FIN, SYN, RST, ACK = 1, 2, 4, 16
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
_IPV4, _IPV6 = 0x0800, 0x86DD
_NANOSECONDS = 0xA1B23C4D
_LINUX_SLL2 = 276
_SLL2_BYTES = 20
_OUTGOING = 4
_FILE_HEADER = struct.Struct("<IHHiIII")
_PACKET_HEADER = struct.Struct("<IIII")
# Where the last packet goes: once it stands in the file, all before it do. "discard" (RFC 863).
_LAST_PORT = 9
_SECONDS = 20


class Packet(NamedTuple):
    """One TCP segment or UDP datagram as it left or entered the network."""

    time: int  # ns, on the wall clock: good for differences only
    outgoing: bool
    protocol: int
    source: tuple[str, int]
    destination: tuple[str, int]
    flags: int  # of TCP
    seq: int
    payload: bytes

    @property
    def near(self) -> tuple[str, int]:
        """The address and port on this side."""
        return self.source if self.outgoing else self.destination

    @property
    def far(self) -> tuple[str, int]:
        """The address and port on the other side."""
        return self.destination if self.outgoing else self.source


@contextlib.contextmanager
def capturing(network: Network, file: Path) -> Iterator[None]:
    """Whatever passes a device of `network`, written to `file`; no packet may be missed."""
    require(shutil.which("tcpdump"), "tcpdump is not installed")
    command = [
        "tcpdump", "--interface", "any", "-y", "LINUX_SLL2", "-n", "-s", "0", "-U", "-B", "65536",
        "--time-stamp-precision", "nano", "-Z", "root", "-w", str(file),
        "tcp or udp",
    ]  # fmt: skip
    process = subprocess.Popen(network.command(*command), stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = ""
    try:
        while "listening on" not in said:
            line = process.stderr.readline()
            assert line, f"tcpdump ended: {said}"
            said += line
        yield
        _see_the_last_packet(network, file)
    finally:
        process.terminate()
        said += process.communicate(timeout=_SECONDS)[1]
    assert "\n0 packets dropped by kernel" in said, said


def _see_the_last_packet(network: Network, file: Path) -> None:
    text = b"this is the end"
    with network.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(text, ("127.0.0.1", _LAST_PORT))
    deadline = time.monotonic() + _SECONDS
    while text not in file.read_bytes()[-4096:]:
        assert time.monotonic() < deadline, "tcpdump has not written the last packet"
        time.sleep(0.05)


def read(data: bytes) -> list[Packet]:
    """The packets of a capture file, by time."""
    magic, _, _, _, _, _, link_type = _FILE_HEADER.unpack_from(data)
    assert (magic, link_type) == (_NANOSECONDS, _LINUX_SLL2), "not what tcpdump was told to write"
    found = []
    offset = _FILE_HEADER.size
    while offset < len(data):
        seconds, nanoseconds, size, whole = _PACKET_HEADER.unpack_from(data, offset)
        offset += _PACKET_HEADER.size
        assert size == whole, "a packet is cut short"
        packet = _packet(seconds * 10**9 + nanoseconds, data[offset : offset + size])
        if packet:
            found.append(packet)
        offset += size
    return sorted(found, key=lambda packet: packet.time)


def _packet(moment: int, frame: bytes) -> Packet | None:
    (kind,) = struct.unpack_from(">H", frame)
    outgoing = frame[10] == _OUTGOING
    ip = frame[_SLL2_BYTES:]
    if kind == _IPV4:
        protocol, ends = ip[9], (ip[12:16], ip[16:20])
        segment = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
        family = socket.AF_INET
    elif kind == _IPV6:
        protocol, ends = ip[6], (ip[8:24], ip[24:40])
        segment = ip[40 : 40 + int.from_bytes(ip[4:6], "big")]
        family = socket.AF_INET6
    else:
        return None
    if protocol not in (TCP, UDP):
        return None
    ports = struct.unpack_from(">HH", segment)
    source, destination = (
        (socket.inet_ntop(family, address), port) for address, port in zip(ends, ports, strict=True)
    )
    if protocol == UDP:
        return Packet(moment, outgoing, UDP, source, destination, 0, 0, segment[8:])
    seq, length, flags = struct.unpack_from(">I4xBB", segment, 4)
    payload = segment[(length >> 4) * 4 :]
    return Packet(moment, outgoing, TCP, source, destination, flags, seq, payload)
