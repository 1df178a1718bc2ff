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
b96 = bytes
b56 = bytes
b200 = bytes

_CODES = {
    "u8": ("B", "__u8"),
    "u16": ("H", "__u16"),
    "u32": ("I", "__u32"),
    "u64": ("Q", "__u64"),
    "s32": ("i", "__s32"),
    "b16": ("16s", "__u8"),
    "b96": ("96s", "__u8"),
    "b56": ("56s", "__u8"),
    "b200": ("200s", "__u8"),
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
        names, new = cls.NAMES, cls.__new__
        for values in cls.STRUCT.iter_unpack(data):
            record = new(cls)  # by __init__ it would take half as long again
            record.__dict__ = dict(zip(names, values, strict=True))
            yield record

    def pack(self) -> bytes:
        """The bytes of this record, SIZE of them."""
        return self.STRUCT.pack(*(self.__dict__[name] for name in self.NAMES))

    @classmethod
    def offset(cls, name: str) -> int:
        """Where a field stands in its record, in bytes."""
        fields = cls.__annotations__
        before = [_CODES[kind][0] for field, kind in fields.items()][: list(fields).index(name)]
        return struct.calcsize("<" + "".join(before))

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
    protocol: u8  # PROTOCOL_TCP or PROTOCOL_UDP
    state: u8  # TCP state, TCP_* below; a UDP connection is ESTABLISHED until it is closed
    id: u32  # unique while the probe is loaded
    tgid: u32  # process that opened it, pid in the initial pid namespace
    tid: u32  # thread that opened it
    branch: u32  # a number for each direct child of the traced root, and all that descend from it
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
    exchanges: u32  # told by a record of their own; the latest one is not yet among them
    comm: b16  # name of the opening thread, NUL-padded
    tls_started: u64  # start of the send that began with a ClientHello; 0: no TLS
    tls_ended: u64  # the handshake's last byte before application data went out; 0: not done


class EdgeRecord(Record):
    """A moment that cuts the stream: the runtime's own HTTP, or the end of a process.

    EVENT_BYTES long, as everything in its ring. The figures are
    sums over the branch's whole life until this moment.
    """

    kind: u8  # KIND_EDGE
    edge: u8  # EDGE_* below
    flags: u16  # ENDING_* and UNSEEN_* below
    branch: u32
    tgid: u32
    tid: u32
    time: u64
    syscalls_position: u64  # bytes ever put into the syscall ring when this happened
    cpu: u64  # ns its threads were on a CPU, summed
    cpu_wall: u64  # ns during which at least one of them was
    runqueue: u64  # ns its threads could have run and did not, summed
    runqueue_wall: u64  # ns during which one could have run and none did
    folded_exchanges: u32  # counted, and not told one by one
    folded_blocked: u32
    parent: u32  # EDGE_PROCESS_EXIT: the process that forked it, 0 if that is the root
    exit_code: u32  # EDGE_PROCESS_EXIT
    born: u64  # EDGE_PROCESS_EXIT: when it was forked; with SAMPLED_EDGE see there
    # EDGE_START: headers of the runtime API's reply, which hold the request id. EDGE_RESPONSE,
    # EDGE_ERROR: that id. EDGE_PROCESS_EXIT: its name. NUL-padded.
    text: b96
    folded_texts: u32
    folded_pauses: u32
    # ns during which all its threads were asleep, by what the one waited in that ended it: WAITS_*
    # from WAITS_NETWORK on. What remains of the wall clock went into anything else.
    idle_network: u64
    idle_poll: u64
    idle_file: u64
    idle_sleep: u64
    idle_lock: u64
    idle_child: u64
    idle_fault: u64


class TextRecord(Record):
    """A piece of a DNS message or a TLS handshake; never stored, the agent reads names in it.

    EVENT_BYTES long, as everything in its ring.
    """

    kind: u8  # KIND_DNS or KIND_TLS
    direction: u8  # TEXT_SENT or TEXT_RECEIVED
    fragment: u8  # 0, 1, …: text stands at fragment * TEXT_FRAGMENT_BYTES of the message
    family: u8  # of the server's address, 4 or 6
    connection: u32  # ConnectionRecord.id
    tgid: u32
    tid: u32
    branch: u32
    length: u16  # of the whole message, of which the first pieces are here
    flags: u16  # TEXT_STREAM: over TCP, where a message may come in several pieces
    time: u64  # start of the send, end of the receive
    server: b16
    text: b200


class ExchangeRecord(Record):
    """One request and its answer on a TCP connection: emitted when the next request begins.

    The latest one of a connection follows its ConnectionRecord, see Exchange.
    """

    kind: u8  # KIND_EXCHANGE
    family: u8  # not used
    flags: u16  # not used
    connection: u32  # ConnectionRecord.id
    tgid: u32
    branch: u32
    first_out: u64  # start of the request's first send
    last_out: u64  # end of its last one
    first_in: u64  # end of the first receive that answered; 0: none did
    last_in: u64
    bytes_out: u64
    bytes_in: u64
    sends: u32
    receives: u32
    retransmits: u32
    reserved: u32


class Exchange(Record):
    """A connection's latest exchange: follows its ConnectionRecord in ring and kernel.

    Fields as in ExchangeRecord; all 0 before the first one.
    """

    first_out: u64
    last_out: u64
    first_in: u64
    last_in: u64
    bytes_out: u64
    bytes_in: u64
    sends: u32
    receives: u32
    retransmits_before: u32  # the connection's, when this one began
    tentative: u32  # what has come may not be the answer yet (kernel only)


class BlockedRecord(Record):
    """A syscall that waited longer than the threshold, or a page fault that did."""

    kind: u8  # KIND_BLOCKED
    op: u8  # OP_*; OP_NONE: another syscall, see `number`
    number: u16  # of the syscall; BLOCKED_FAULT: none, a page had to be read
    fd: s32  # -1: none
    tgid: u32
    tid: u32  # 0: not known
    branch: u32
    result: s32  # NOT_RETURNED and somewhat below: none, its thread ended in it or is still in it
    started: u64  # when it first went to sleep
    ended: u64
    waited: u64  # ns asleep, summed
    path: b96  # of the file, NUL-padded; empty where none is known


class PauseRecord(Record):
    """A stretch, longer than the threshold, in which no thread of the branch was on a CPU.

    All of them were asleep until one was woken, which `tid` tells; or some could have run and none
    did (WAITS_RUNQUEUE).
    """

    kind: u8  # KIND_PAUSE
    waits: u8  # WAITS_*: what the thread that ended it had waited in
    op: u8  # OP_*; OP_NONE: another syscall, see `number`, or none
    idle: u8  # WAITS_RUNQUEUE: 1, the CPU that ended it had nothing to do until then
    connection: u32  # ConnectionRecord.id, 0: none
    tgid: u32
    tid: u32  # 0: not known
    branch: u32
    number: u32  # of the syscall
    started: u64
    ended: u64


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
    threshold: u64  # ns a syscall has to wait to get a record
    root: u32  # pid, in that namespace, whose new children are traced; 0: none
    runtime_port: u32  # of AWS_LAMBDA_RUNTIME_API, 0: none
    runtime_address: b16
    # Where a syscall's arguments stand in struct pt_regs, bytes: the block of them, and the first
    # one when the syscall comes out.
    arguments_at: u32
    first_at: u32
    reversed: u32  # the block holds them in x86's order, the first one last
    most_exchanges: u32  # records of a kind that a branch may write in one execution
    most_blocked: u32
    most_texts: u32
    most_pauses: u32
    record_syscalls: u32  # level `syscalls`
    splits: u32  # a process that a runtime's launcher forks is a branch of its own
    reserved: u32


# What every record of the events ring takes; shorter ones are padded with zeros.
EVENT_BYTES = ConnectionRecord.SIZE + Exchange.SIZE

KIND_CONNECTION = 1
KIND_EDGE = 2
KIND_SYSCALL = 3
KIND_DNS = 4
KIND_DETAILS = 5  # not a record: a chunk of JSON, see items.py
KIND_EXCHANGE = 6
KIND_BLOCKED = 7
KIND_TLS = 8
KIND_PAUSE = 9

TEXT_SENT = 1
TEXT_RECEIVED = 2
TEXT_STREAM = 1
TEXT_WITHOUT_PREFIX = 2  # DNS over TCP: the message's length was written apart from it
TEXT_FRAGMENT_BYTES = 200
# 800 bytes: what fits a classic UDP answer (512) and most of those that EDNS allows to be longer.
DNS_FRAGMENTS = 4
# 2,000 bytes: a ClientHello with a post-quantum key share (1.2 kB) in front of the server's name.
TLS_SENT_FRAGMENTS = 10
# 200 bytes: a ServerHello with a classic key share takes 127.
TLS_RECEIVED_FRAGMENTS = 1

EDGE_NEXT = 1  # the runtime asked for the next invocation
EDGE_START = 2  # it got one: its id stands in the text
EDGE_RESPONSE = 3  # it posted the response: request_id
EDGE_ERROR = 4  # it posted an error: request_id
EDGE_INIT_ERROR = 5  # it posted an init error
EDGE_PROCESS_EXIT = 6  # the last known thread of a traced process ended
EDGE_SNAPSHOT = 7  # SnapStart: the runtime is ready to be snapshotted, and goes on when restored

CONNECTION_REUSED = 1  # opened before this execution (set by the agent when it cuts)
CONNECTION_OPEN = 2  # still open when the execution was cut (set by the agent)
CONNECTION_RUNTIME_API = 4
CONNECTION_HALF_CLOSED = 8  # the function shut its sending side down
CONNECTION_PEER_CLOSED = 16  # the peer ended first
CONNECTION_RESET = 32  # the peer sent a reset
CONNECTION_ABANDONED = 64  # closed by the function before it was established
CONNECTION_INBOUND = 128  # UDP: the peer spoke first
CONNECTION_BEFORE = 256  # ended before this execution began (set by the agent): init, background
CONNECTION_SELF_CLOSED = 1024  # the function ended first

ENDING_SIGNAL = 0xFF  # EdgeRecord.flags: the signal that ended the process, 0: none
ENDING_OUT_OF_MEMORY = 0x100
ENDING_UNKNOWN = 0x200  # it has ended, and nobody could see how
UNSEEN_CPU = 0x2000  # what the execution had of the CPU is not known
UNSEEN_IO_URING = 0x1000  # the branch set up io_uring: what goes through it is not seen

# Flags of the backend that only looks now and then (proc), beside the probe's above.
# ConnectionRecord: `started` and `closed` are when it was first and last seen, `established` when
# it was last seen to be connecting, or `started`. Its calls were not counted, nor its bytes and
# retransmits if its descriptor is -1.
SAMPLED_CONNECTION = 2048
# EdgeRecord: it was not before `born`, where that is not 0, nor after `time`.
SAMPLED_EDGE = 0x4000

BLOCKED_FAULT = 0xFFFF  # BlockedRecord.number
# -ERESTARTSYS; it and those down to -516 are what the kernel has for a call that a signal ended.
NOT_RETURNED = -512

# The numbers of /etc/protocols, as ConnectionRecord.protocol has them.
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17

# include/net/tcp_states.h
TCP_ESTABLISHED = 1
TCP_SYN_SENT = 2
TCP_CLOSE = 7

OPS = (
    "none", "connect", "sendto", "sendmsg", "sendmmsg", "write", "writev", "sendfile",
    "recvfrom", "recvmsg", "recvmmsg", "read", "readv",
    "close", "socket", "shutdown", "getsockopt", "dup", "dup3", "fcntl", "close_range",
    "open", "openat", "openat2", "exit_group", "io_uring_setup",
    # known by name when they block, and not looked at otherwise
    "nanosleep", "clock_nanosleep", "pause", "futex", "flock", "poll", "ppoll", "select",
    "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2", "wait4", "waitid", "fsync",
    "fdatasync", "sync_file_range", "pread64", "pwrite64", "preadv", "pwritev", "getdents64",
    "statx", "newfstatat", "rename", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat",
    "accept", "accept4", "splice", "copy_file_range", "rt_sigtimedwait", "msync", "ftruncate",
    "fallocate", "sync", "vfork", "clone", "clone3", "execve",
)  # fmt: skip
OP_NUMBERS = {name: number for number, name in enumerate(OPS)}

# What a thread that sleeps is waiting for, told by its syscall.
WAITS = ("other", "network", "poll", "file", "sleep", "lock", "child", "fault", "runqueue")
WAITS_NUMBERS = {name: number for number, name in enumerate(WAITS)}
WAITS_OTHER = 0
WAITS_NETWORK = 1
WAITS_POLL = 2
WAITS_FAULT = 7  # outside any syscall: a page that has to be read
WAITS_RUNQUEUE = 8  # for a CPU: not asleep
WAITS_OF = {
    op: WAITS_NUMBERS[waits]
    for waits, ops in {
        "sleep": "nanosleep clock_nanosleep pause rt_sigtimedwait",
        "lock": "futex flock fcntl",
        "file": "open openat openat2 read readv write writev close fsync fdatasync msync "
        "sync_file_range pread64 pwrite64 preadv pwritev getdents64 statx newfstatat rename "
        "renameat2 unlink unlinkat mkdir mkdirat copy_file_range ftruncate fallocate "
        "sync sendfile splice execve",
        "child": "wait4 waitid vfork clone clone3",
        "poll": "poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2",
        # read and write as well, where their descriptor is a socket's
        "network": "accept accept4 connect sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg",
    }.items()
    for op in ops.split()
}

# What the kernel side counts when it cannot keep something; a per-CPU array, in this order.
COUNTERS = ("events", "syscalls", "connections", "threads", "sockets")


# Few addresses are in very many records.
_texts: dict[tuple[int, bytes], str] = {}
_MOST_TEXTS = 4_096


def address_text(family: int, address: bytes) -> str:
    """16 bytes of a record as an address; an IPv4 one stands in the first four."""
    text = _texts.get((family, address))
    if text is None:
        import _socket  # loaded from a file of its own, and not for summaries

        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        if family == 6:
            text = _socket.inet_ntop(_socket.AF_INET6, address)
        else:
            text = _socket.inet_ntop(_socket.AF_INET, address[:4])
        _texts[family, address] = text
    return text


def runtime_address(runtime_api: str) -> tuple[bytes, int]:
    """`host:port` as (16 bytes, port); zeros where it is empty or no address."""
    import _socket

    host, _, port = runtime_api.rpartition(":")
    if not host or not port.isdigit():
        return bytes(16), 0
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_pton(family, host.strip("[]")).ljust(16, b"\0"), int(port)
        except OSError:
            continue
    return bytes(16), 0


def c_header() -> str:
    """The C side of this module: structs and constants, as text for the probe's compiler."""
    lines = ["/* Generated from lambdatrace/wire.py: do not edit. */"]
    for record, name in (
        (ConnectionRecord, "connection_record"),
        (EdgeRecord, "edge_record"),
        (SyscallRecord, "syscall_record"),
        (TextRecord, "text_record"),
        (ExchangeRecord, "exchange_record"),
        (Exchange, "exchange"),
        (BlockedRecord, "blocked_record"),
        (PauseRecord, "pause_record"),
        (Config, "config"),
    ):
        lines.append(record.c_struct(name))
    prefixes = (
        "KIND_", "PROTOCOL_", "EDGE_", "EVENT_", "CONNECTION_", "DNS_", "TEXT_", "TLS_", "ENDING_",
        "UNSEEN_", "BLOCKED_", "WAITS_",
    )  # fmt: skip
    for key, value in globals().items():
        if key.startswith(prefixes) and isinstance(value, int):
            lines.append(f"#define {key} {value}")
    lines += [f"#define OP_{name.upper()} {number}" for name, number in OP_NUMBERS.items()]
    lines += [f"#define LOST_{name.upper()} {number}" for number, name in enumerate(COUNTERS)]
    lines.append(f"#define LOST_COUNT {len(COUNTERS)}")
    return "\n".join(lines) + "\n"
