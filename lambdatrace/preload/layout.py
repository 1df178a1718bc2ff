"""The mapping that the preloaded library fills and the agent drains: what stands where in it.

A file: the header's page, process slots, connection slots, then two rings. Each ring slot is 8
bytes of header and a record of wire.py; a connection slot is a ConnectionSlot, a ConnectionRecord
and an Exchange. C structs are generated from here at build time, like those of wire.py.
"""

from __future__ import annotations

from lambdatrace import wire
from lambdatrace.wire import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.wire import b16, u8, u16, u32, u64

# Of the first eight bytes, and of what follows: a library that finds others leaves them alone.
MAP_MAGIC = 0x315061727462644C  # "LdbtraP1", little-endian
MAP_VERSION = 1

MAP_HEADER_BYTES = 4096
MAP_RING_HEADER_BYTES = 8
# The top byte of a ring header's first word while its record is being written; the pid of whoever
# writes it stands below, 0 until it has said so.
MAP_BUSY = 0x80000000

SLOT_FREE = 0
SLOT_FILLING = 1
SLOT_OPEN = 2

PROCESS_ROOT = 1  # its branch began with it
PROCESS_RUNTIME = 2  # it has asked for an execution
PROCESS_ENDED = 4  # it has told of its end


class Header(Record):
    """The first page."""

    magic: u64
    version: u32
    bytes: u32  # of the whole file
    threshold: u64  # ns
    runtime_port: u32
    record_syscalls: u32
    runtime_address: b16
    most_exchanges: u32  # records of a kind that a branch may write in one execution
    most_blocked: u32
    most_texts: u32
    most_pauses: u32
    records_dns: u32  # groups of the capture
    records_tls: u32
    records_exchanges: u32
    records_blocked: u32
    records_cpu: u32
    records_processes: u32
    splits: u32
    processes: u32  # slots
    connections: u32
    events_wake: u32  # bytes waiting at which the reader is woken
    syscalls_wake: u32
    processes_at: u32  # bytes from the beginning
    connections_at: u32
    events_at: u32
    syscalls_at: u32
    events_bytes: u32  # whole slots
    syscalls_bytes: u32
    numbers: u32  # the latest number given to a connection
    branches: u32
    reserved: u32
    events_head: u64  # bytes ever reserved
    events_tail: u64  # bytes ever taken out
    syscalls_head: u64
    syscalls_tail: u64
    lost_events: u64  # in the order of wire.COUNTERS
    lost_syscalls: u64
    lost_connections: u64
    lost_threads: u64
    lost_sockets: u64


class ProcessSlot(Record):
    """One process that has the library; of a branch's first one, the branch's figures as well."""

    pid: u32  # 0: free
    parent: u32
    branch: u32
    flags: u32  # PROCESS_*
    born: u64
    root: u32  # number of the slot of its branch's first process
    serving: u32  # thread that was given the execution
    # What that thread waits in, while it does.
    since: u64  # 0: in nothing
    op: u32
    waits: u32
    connection: u32
    fd: u32
    # Sums over all executions until the latest edge.
    cpu: u64
    cpu_wall: u64
    idle_other: u64
    idle_network: u64
    idle_poll: u64
    idle_file: u64
    idle_sleep: u64
    idle_lock: u64
    idle_child: u64
    idle_fault: u64
    # At the execution's beginning.
    started: u64
    process_cpu: u64
    thread_cpu: u64
    idle: u64
    exchanges: u32
    blocked: u32
    texts: u32
    pauses: u32
    folded_exchanges: u32
    folded_blocked: u32
    folded_texts: u32
    folded_pauses: u32
    exit_code: u32
    serves: u32  # process that was given the execution under way, 0: there is none
    name: b16


class ConnectionSlot(Record):
    """What stands before a connection's record and its latest exchange."""

    state: u32  # SLOT_*
    owner: u32  # pid
    descriptors: u32  # of its owner
    next: u32  # number + 1 of the same socket's next one, 0: none
    shaken: u64
    reader: u32
    sleeps: u32
    socket: u32
    ticket: u16
    tickets: u8
    wanted: u8
    tls: u8
    looks: u8
    runtime: u8
    awaits_invocation: u8
    connecting: u32
    owner_branch: u32
    reserved: u32


CONNECTION_STRIDE = ConnectionSlot.SIZE + wire.EVENT_BYTES
EVENT_STRIDE = MAP_RING_HEADER_BYTES + wire.EVENT_BYTES
SYSCALL_STRIDE = MAP_RING_HEADER_BYTES + wire.SyscallRecord.SIZE


def c_header() -> str:
    """The C side: wire.py's, and this mapping's."""
    lines = [wire.c_header()]
    for record, name in (
        (Header, "map_header"),
        (ProcessSlot, "process_slot"),
        (ConnectionSlot, "connection_slot"),
    ):
        lines.append(record.c_struct(name))
    for key, value in globals().items():
        if key.startswith(("MAP_", "SLOT_", "PROCESS_")) and isinstance(value, int):
            lines.append(f"#define {key} {value}U" + ("LL" if value >> 32 else ""))
    for name in ("file", "sleep", "lock", "child"):  # wire.py has the others
        lines.append(f"#define WAITS_{name.upper()} {wire.WAITS_NUMBERS[name]}")
    return "\n".join(lines) + "\n"
