"""What the kernel tells of TCP sockets: by NETLINK_SOCK_DIAG, else by /proc/net/tcp and tcp6.

Neither needs a privilege. Only the first has counters and says when something was last sent.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

_NETLINK_SOCK_DIAG = 4  # include/uapi/linux/netlink.h
_REQUEST, _DUMP = 0x1, 0x300  # NLM_F_REQUEST, NLM_F_ROOT | NLM_F_MATCH
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY, include/uapi/linux/sock_diag.h
_WITH_INFO = 1 << 1  # of INET_DIAG_INFO, include/uapi/linux/inet_diag.h
_INFO = 2
_NO_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_QUERY = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, in front of the socket's id
_PORTS = struct.Struct("!HH")
_IDENTITY = struct.Struct("=IQ")  # interface, cookie
# struct inet_diag_msg: family, state, timer, retransmits; the socket's id of 48 bytes; expires,
# receive queue, send queue, user, inode.
_MESSAGE = struct.Struct("=BBBB")
_QUEUES = struct.Struct("=IIIII")
_ID_AT, _QUEUES_AT, _ATTRIBUTES_AT = 4, 52, 72
_ATTRIBUTE = struct.Struct("=HH")
# struct tcp_info, include/uapi/linux/tcp.h (Linux 4.19 and later have all of these).
_TIMES_AT = 44  # last_data_sent, last_ack_sent, last_data_recv: ms ago
_RTT_AT = 68  # µs
_RETRANSMITS_AT = 100
_BYTES_AT = 120  # acknowledged, received
_SEGMENTS_AT = 156  # sent, with data
_SENT_AT = 200  # bytes sent, those sent again among them
_INFO_BYTES = 216
_MAPPED = bytes(10) + b"\xff\xff"
_RECEIVE_BYTES = 1 << 16
_NS_PER_MS = 1_000_000

ESTABLISHED, SYN_SENT, TIME_WAIT, CLOSE, LISTEN = 1, 2, 6, 7, 10  # include/net/tcp_states.h
_SYN_RECV = 3
_LOOKED_AT = 0xFFF & ~(1 << TIME_WAIT | 1 << CLOSE | 1 << _SYN_RECV)


class Socket:
    """One TCP socket as the kernel has it now. What only NETLINK_SOCK_DIAG tells is None without.

    Addresses are 16 bytes, an IPv4 one in the first four (wire.py); ports in host byte order.
    """

    __slots__ = (
        "address",
        "bytes_in",
        "bytes_out",
        "cookie",
        "family",
        "identity",
        "inode",
        "kernel_family",
        "local_address",
        "local_port",
        "port",
        "queued",
        "received_ago",
        "retransmits",
        "rtt",
        "segments_out",
        "sent_ago",
        "state",
    )

    def __init__(self, family: int, state: int, inode: int, cookie: int) -> None:
        self.family = family  # 4 or 6: of its addresses
        self.kernel_family = family  # 6: it speaks IPv4 all the same, where they are such
        self.state = state
        self.inode = inode
        self.cookie = cookie  # what tells it from all others, ever
        self.identity = b""  # by which the kernel is asked for it
        self.local_address = self.address = bytes(16)
        self.local_port = self.port = 0
        self.bytes_out: int | None = None  # taken by the kernel to be sent, each once
        self.bytes_in: int | None = None
        self.queued: int | None = None  # bytes to be sent that the other end has not confirmed
        self.segments_out: int | None = None  # with data
        self.retransmits: int | None = None  # segments
        self.rtt: int | None = None  # ns, smoothed
        # ns, in steps of the kernel's tick; of a socket that never did, since it was made.
        self.sent_ago: int | None = None
        self.received_ago: int | None = None


class Diagnosis:
    """The kernel's own answers.

    Raises OSError where it gives none: no such protocol, or a filter refuses the socket.
    """

    def __init__(self) -> None:
        flags = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_socket.AF_NETLINK, flags, _NETLINK_SOCK_DIAG)
        try:
            # Whether it answers is known only from an answer.
            self.sockets()
        except OSError:
            self._socket.close()
            raise

    def sockets(self) -> list[Socket]:
        """Every TCP socket of the network namespace that is or is to be connected.

        Raises OSError.
        """
        found: list[Socket] = []
        for family in (_socket.AF_INET, _socket.AF_INET6):
            self._ask(family, _LOOKED_AT, bytes(48), _DUMP)
            while self._take(found):
                pass
        return _clients(found)

    def again(self, known: Socket) -> Socket | None:
        """A socket that was seen before, as it is now; None: it is gone. Raises OSError."""
        family = _socket.AF_INET if known.kernel_family == 4 else _socket.AF_INET6
        self._ask(family, 0xFFF, known.identity, 0)
        found: list[Socket] = []
        try:
            self._take(found)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return None
            raise
        return found[0] if found and found[0].state != CLOSE else None

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def _ask(self, family: int, states: int, identity: bytes, flags: int) -> None:
        body = _QUERY.pack(family, _socket.IPPROTO_TCP, _WITH_INFO, 0, states) + identity
        self._socket.send(
            _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST | flags, 0, 0) + body
        )

    def _take(self, found: list[Socket]) -> bool:
        """One packet of an answer; False when it was the last one. Raises OSError."""
        data = self._socket.recv(_RECEIVE_BYTES)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, at)
            if kind == _DONE:
                return False
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", data, at + _HEADER.size)
                raise OSError(-code, os.strerror(-code))
            if kind == _BY_FAMILY:
                found.append(_told(data[at + _HEADER.size : at + length]))
            at += (length + 3) & ~3
        return True


def _told(message: bytes) -> Socket:
    family, state, _, _ = _MESSAGE.unpack_from(message)
    local_port, port = _PORTS.unpack_from(message, _ID_AT)
    _, cookie = _IDENTITY.unpack_from(message, _ID_AT + 36)
    _, _, queued, _, inode = _QUEUES.unpack_from(message, _QUEUES_AT)
    told = Socket(4 if family == _socket.AF_INET else 6, state, inode, cookie)
    told.queued = queued
    told.local_port, told.port = local_port, port
    told.local_address = message[_ID_AT + 4 : _ID_AT + 20]
    told.address = message[_ID_AT + 20 : _ID_AT + 36]
    _unmap(told)
    told.identity = message[_ID_AT:_QUEUES_AT]
    at = _ATTRIBUTES_AT
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _INFO and length >= _INFO_BYTES:
            _take_info(told, message[at + _ATTRIBUTE.size : at + length])
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return told


def _unmap(told: Socket) -> None:
    """An IPv4 address that a socket of IPv6 has is one (RFC 4291, 2.5.5.2)."""
    if told.family == 6 and told.address.startswith(_MAPPED):
        told.family = 4
        told.address = told.address[len(_MAPPED) :].ljust(16, b"\0")
        told.local_address = told.local_address[len(_MAPPED) :].ljust(16, b"\0")


def _take_info(told: Socket, info: bytes) -> None:
    sent, _, received = struct.unpack_from("=III", info, _TIMES_AT)
    (rtt,) = struct.unpack_from("=I", info, _RTT_AT)
    (told.retransmits,) = struct.unpack_from("=I", info, _RETRANSMITS_AT)
    (told.segments_out,) = struct.unpack_from("=I", info, _SEGMENTS_AT)
    _, told.bytes_in = struct.unpack_from("=QQ", info, _BYTES_AT)
    out, again = struct.unpack_from("=QQ", info, _SENT_AT)
    told.bytes_out = out - again
    told.rtt = rtt * 1000
    told.sent_ago, told.received_ago = sent * _NS_PER_MS, received * _NS_PER_MS


class Tables:
    """The tables in /proc, where the kernel's own answers are refused."""

    def __init__(self, proc: str = "/proc/self") -> None:
        self._proc = proc

    def sockets(self) -> list[Socket]:
        """As Diagnosis.sockets, without counters. Raises OSError."""
        found = []
        for name, family in (("tcp", 4), ("tcp6", 6)):
            try:
                with open(f"{self._proc}/net/{name}", "rb") as file:
                    lines = file.read().splitlines()[1:]
            except FileNotFoundError:
                continue  # no IPv6 here
            rows = (_row(line.split(), family) for line in lines)
            found += [row for row in rows if row is not None and 1 << row.state & _LOOKED_AT]
        return _clients(found)

    def again(self, known: Socket) -> Socket | None:
        """A socket that was seen before, as it is now; None: it is gone. Raises OSError."""
        return next((each for each in self.sockets() if each.cookie == known.cookie), None)

    def close(self) -> None:
        """There is nothing to let go of."""


def _row(words: list[bytes], family: int) -> Socket | None:
    """A line of /proc/net/tcp (networking/proc_net_tcp.rst in the kernel's documentation)."""
    try:
        inode = int(words[9])
        told = Socket(family, int(words[3], 16), inode, inode)
        told.local_address, told.local_port = _end(words[1])
        told.address, told.port = _end(words[2])
    except (IndexError, ValueError):
        return None
    _unmap(told)
    return told


def _end(text: bytes) -> tuple[bytes, int]:
    """Words of 32 bits in the machine's byte order, and a port."""
    address, _, port = text.partition(b":")
    raw = bytes.fromhex(address.decode("ascii"))
    words = struct.unpack(f">{len(raw) // 4}I", raw)
    return struct.pack(f"={len(words)}I", *words).ljust(16, b"\0"), int(port, 16)


def _clients(found: list[Socket]) -> list[Socket]:
    """Those that their own process has connected, or is about to: nobody listens on their port."""
    listening = {each.local_port for each in found if each.state == LISTEN}
    return [each for each in found if each.local_port not in listening]


def open_sockets() -> tuple[Diagnosis | Tables, str]:
    """What tells of sockets here, and why it is not the better one; empty: it is.

    Raises OSError when nothing does.
    """
    try:
        return Diagnosis(), ""
    except OSError as error:
        why = f"NETLINK_SOCK_DIAG is refused ({errno.errorcode.get(error.errno or 0, error)})"
    tables = Tables()
    tables.sockets()
    return tables, why
