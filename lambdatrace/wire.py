"""The record layout: the one place where the probe's bytes get names.

A record class is written once, as annotations; the `struct` format is derived from them here and
the C struct is generated from them at build time (`lambdatrace.bpf.compile`). All records are
little-endian, naturally aligned and of a fixed size, so that a drained slice of the ring can be
transposed and packed without looking at a single record.

Times are CLOCK_MONOTONIC nanoseconds as `bpf_ktime_get_ns` gives them; 0 means "did not happen".

The agent imports this module at cold start: standard library only, no `typing`, no `dataclasses`
(together 20 ms of CPU on the machine of FACTS.md).
"""

from __future__ import annotations

import _socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

# The C types a field can have. They are only ever read as annotation strings.
u8 = int
u16 = int
u32 = int
u64 = int
s32 = int
b16 = bytes
b40 = bytes
b96 = bytes
b120 = bytes

_CODES = {
    "u8": ("B", "__u8"),
    "u16": ("H", "__u16"),
    "u32": ("I", "__u32"),
    "u64": ("Q", "__u64"),
    "s32": ("i", "__s32"),
    "b16": ("16s", "__u8"),
    "b40": ("40s", "__u8"),
    "b96": ("96s", "__u8"),
    "b120": ("120s", "__u8"),
}


class Record:
    """One fixed-size record. Subclasses declare their fields, in order, as annotations."""

    STRUCT: struct.Struct
    NAMES: tuple[str, ...]
    SIZE: int

    def __init_subclass__(cls) -> None:
        fields = cls.__annotations__
        codes = "".join(_CODES[kind][0] for kind in fields.values())
        cls.STRUCT = struct.Struct("<" + codes)
        cls.NAMES = tuple(fields)
        cls.SIZE = cls.STRUCT.size
        if struct.calcsize("@" + codes) != cls.SIZE:
            raise TypeError(f"{cls.__name__}: a C compiler would pad this layout")

    def __init__(self, *values: object) -> None:
        self.__dict__.update(zip(self.NAMES, values, strict=True))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # mutable: the agent adjusts counters in place

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({inner})"

    @classmethod
    def unpack(cls, data: bytes | memoryview, offset: int = 0) -> Self:
        """The record at `offset` (bytes). Raises struct.error when `data` is too short."""
        return cls(*cls.STRUCT.unpack_from(data, offset))

    @classmethod
    def iter_unpack(cls, data: bytes | memoryview) -> Iterator[Self]:
        """Every record in `data`, whose length is a multiple of SIZE (else struct.error)."""
        for values in cls.STRUCT.iter_unpack(data):
            yield cls(*values)

    def pack(self) -> bytes:
        """The bytes of this record, SIZE of them."""
        return self.STRUCT.pack(*(self.__dict__[name] for name in self.NAMES))

    @classmethod
    def c_struct(cls, name: str) -> str:
        """The layout as a C struct definition."""
        lines = [f"struct {name} {{"]
        for field, kind in cls.__annotations__.items():
            ctype = _CODES[kind][1]
            array = f"[{kind[1:]}]" if kind[0] == "b" else ""
            lines.append(f"    {ctype} {field}{array};")
        lines.append("};")
        return "\n".join(lines)


class ConnectionRecord(Record):
    """One client connection: emitted when it ends, or read from the kernel while it is open."""

    kind: u8  # KIND_CONNECTION
    family: u8  # 4 or 6
    protocol: u8  # IPPROTO_TCP or IPPROTO_UDP
    state: u8  # TCP state, TCP_* below; a UDP connection is ESTABLISHED until it is closed
    id: u32  # unique while the probe is loaded
    tgid: u32  # process that opened it, pid in the initial pid namespace
    tid: u32  # thread that opened it
    branch: u32  # the traced root's direct child this process descends from
    fd: s32
    local_port: u16  # host byte order; 0: not known
    port: u16  # destination, host byte order
    error: u16  # errno, 0: none
    flags: u16  # CONNECTION_* below
    address: b16  # destination; an IPv4 address is in the first four bytes
    started: u64  # CLOSE -> SYN_SENT, or the first datagram
    established: u64  # -> ESTABLISHED; for UDP the end of connect(), 0 without one
    first_out: u64  # start of the first send that carried bytes
    last_out: u64  # end of the latest one
    first_in: u64  # end of the first receive that carried bytes
    last_in: u64
    closed: u64
    bytes_out: u64
    bytes_in: u64
    waited: u64  # ns between the end of a send and the end of the receive that answers it, summed
    transferred: u64  # ns between receives that follow one another, summed
    sends: u32
    receives: u32
    retransmits: u32
    reserved: u32
    comm: b16  # name of the opening thread, NUL-padded


class EdgeRecord(Record):
    """A moment that cuts the stream: the runtime's own HTTP, or the birth and end of a process.

    Exactly as long as a ConnectionRecord, because both travel in the same ring.
    """

    kind: u8  # KIND_EDGE
    edge: u8  # EDGE_* below
    flags: u16
    branch: u32
    tgid: u32
    tid: u32
    time: u64
    syscalls_position: u64  # bytes ever put into the syscall ring when this happened
    request_id: b40  # EDGE_RESPONSE, EDGE_ERROR: NUL-padded
    text: b96  # EDGE_START: headers of the runtime API's reply, which hold the request id


class DnsRecord(Record):
    """A piece of a DNS message on port 53; never stored, the agent reads names and addresses in it.

    Exactly as long as a ConnectionRecord, because both travel in the same ring.
    """

    kind: u8  # KIND_DNS
    direction: u8  # DNS_QUERY or DNS_ANSWER: sent or received
    fragment: u8  # 0, 1, …: text stands at fragment * 120 of the message
    family: u8  # of the server's address, 4 or 6
    connection: u32  # ConnectionRecord.id
    tgid: u32
    tid: u32
    branch: u32
    length: u16  # of the whole message; at most DNS_FRAGMENTS * 120 bytes of it are here
    flags: u16  # DNS_STREAM: over TCP, where a message may come in several pieces
    time: u64  # start of the send, end of the receive
    server: b16
    text: b120


class SyscallRecord(Record):
    """One syscall on a socket (level `syscalls`)."""

    kind: u8  # KIND_SYSCALL
    op: u8  # OP_* below
    flags: u16
    connection: u32  # ConnectionRecord.id, 0: none
    tgid: u32
    tid: u32
    fd: s32
    result: s32  # bytes, messages for the *mmsg calls, or -errno
    started: u64
    duration: u64


class Config(Record):
    """What the agent tells the probe; never stored."""

    namespace_device: u64  # the agent's pid namespace, as stat() of /proc/self/ns/pid gives it
    namespace_inode: u64
    events_wake: u64  # bytes waiting in a ring at which its reader is woken
    syscalls_wake: u64
    root: u32  # pid, in that namespace, whose new children are traced; 0: none
    runtime_port: u32  # of AWS_LAMBDA_RUNTIME_API, 0: none
    runtime_address: b16


KIND_CONNECTION = 1
KIND_EDGE = 2
KIND_SYSCALL = 3
KIND_DNS = 4
KIND_NAMES = 5  # not a record: a chunk of JSON, see items.py

DNS_QUERY = 1
DNS_ANSWER = 2
DNS_STREAM = 1
DNS_WITHOUT_PREFIX = 2  # over TCP: the message's length was written apart from it
# 600 bytes: what fits a classic UDP answer (512) and most of those that EDNS allows to be longer.
DNS_FRAGMENTS = 5
DNS_FRAGMENT_BYTES = 120

EDGE_NEXT = 1  # the runtime asked for the next invocation
EDGE_START = 2  # it got one: its id stands in the text
EDGE_RESPONSE = 3  # it posted the response: request_id
EDGE_ERROR = 4  # it posted an error: request_id
EDGE_INIT_ERROR = 5  # it posted an init error
EDGE_PROCESS_EXIT = 6  # the last known thread of a traced process ended

CONNECTION_REUSED = 1  # opened before this execution (set by the agent when it cuts)
CONNECTION_OPEN = 2  # still open when the execution was cut (set by the agent)
CONNECTION_RUNTIME_API = 4
CONNECTION_HALF_CLOSED = 8  # the function shut its sending side down
CONNECTION_PEER_CLOSED = 16  # the peer ended first
CONNECTION_RESET = 32  # the peer sent a reset
CONNECTION_ABANDONED = 64  # closed by the function before it was established
CONNECTION_INBOUND = 128  # UDP: the peer spoke first
CONNECTION_BEFORE = 256  # ended before this execution began (set by the agent): init, background

# include/net/tcp_states.h
TCP_ESTABLISHED = 1
TCP_SYN_SENT = 2
TCP_CLOSE = 7

OPS = (
    "none", "connect", "sendto", "sendmsg", "sendmmsg", "write", "writev", "sendfile",
    "recvfrom", "recvmsg", "recvmmsg", "read", "readv",
    "close", "socket", "shutdown", "getsockopt", "dup", "dup3", "fcntl", "close_range",
    # not syscalls: where an exit goes on
    "exit_messages", "exit_datagram", "exit_udp", "exit_invocation", "exit_datagram_connect",
    "exit_no_route", "exit_udp_open", "exit_dns", "exit_dns_piece", "exit_runtime", "exit_record",
)  # fmt: skip
OP_NUMBERS = {name: number for number, name in enumerate(OPS)}

# What the kernel side counts when it cannot keep something; a per-CPU array, in this order.
COUNTERS = ("events", "syscalls", "connections", "threads", "sockets")


def address_text(family: int, address: bytes) -> str:
    """16 bytes of a record as an address; an IPv4 one stands in the first four."""
    if family == 6:
        return _socket.inet_ntop(_socket.AF_INET6, address)
    return _socket.inet_ntop(_socket.AF_INET, address[:4])


def c_header() -> str:
    """The C side of this module: structs and constants, as text for the probe's compiler."""
    lines = ["/* Generated from lambdatrace/wire.py: do not edit. */"]
    for record, name in (
        (ConnectionRecord, "connection_record"),
        (EdgeRecord, "edge_record"),
        (SyscallRecord, "syscall_record"),
        (DnsRecord, "dns_record"),
        (Config, "config"),
    ):
        lines.append(record.c_struct(name))
    prefixes = ("KIND_", "EDGE_", "CONNECTION_", "DNS_")
    for key, value in globals().items():
        if key.startswith(prefixes) and isinstance(value, int):
            lines.append(f"#define {key} {value}")
    lines += [f"#define OP_{name.upper()} {number}" for name, number in OP_NUMBERS.items()]
    lines += [f"#define LOST_{name.upper()} {number}" for number, name in enumerate(COUNTERS)]
    lines.append(f"#define LOST_COUNT {len(COUNTERS)}")
    return "\n".join(lines) + "\n"
