"""The words of lambdatrace as types: execution, connection, phase and what they are made of.

All times inside an execution are nanoseconds relative to its start and may be negative: what
happened during init, or on a connection that was opened earlier, comes before 0.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping


class Protocol(StrEnum):
    """Transport of a connection."""

    TCP = "tcp"
    UDP = "udp"


class Level(StrEnum):
    """How much the probe records: a record for each connection, or for each syscall as well."""

    FLOWS = "flows"
    SYSCALLS = "syscalls"


class Status(StrEnum):
    """How an execution ended."""

    OK = "ok"
    ERROR = "error"  # the handler raised, or the command's exit code was not 0
    TIMEOUT = "timeout"
    CRASH = "crash"  # the runtime ended without an answer
    UNFINISHED = "unfinished"  # not seen to end


class Outcome(StrEnum):
    """What became of a connection."""

    OK = "ok"
    OPEN = "open"  # established, and still open when the execution ended
    CONNECTING = "connecting"  # still not established when the execution ended
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    ABANDONED = "abandoned"  # closed by the function before it was established
    FAILED = "failed"  # any other errno
    GONE = "gone"  # only looked at, and not there any more at a look: how it ended is not known


class PhaseKind(StrEnum):
    """What a stretch of a connection's life was spent on."""

    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"  # a request goes out
    WAIT = "wait"  # the request is out, nothing has come back
    TRANSFER = "transfer"  # the answer comes in
    EXCHANGES = "exchanges"  # some of the three above: when which of them is not known


class Phase(Value):
    """A stretch of a connection's life, ns relative to the execution's start."""

    kind: PhaseKind
    start_ns: int
    end_ns: int


class Connection(Value):
    """One client connection as one execution saw it; bytes and calls are that execution's."""

    id: int
    host: str | None
    address: str
    port: int
    local_port: int | None
    protocol: Protocol
    process_id: int
    thread_id: int | None
    process_name: str
    fd: int
    started_ns: int
    connect_ns: int | None  # until established; None where it never was, or is not known
    first_out_ns: int | None
    last_out_ns: int | None
    first_in_ns: int | None
    last_in_ns: int | None
    duration_ns: int  # until it was closed, or until the execution ended
    bytes_out: int  # as of all figures of one that is gone: at least
    bytes_in: int
    waited_ns: int  # from bytes out to the answer, summed over all exchanges that got one
    transferred_ns: int  # between receives that follow one another, summed
    sends: int | None  # None: calls were not counted
    receives: int | None
    retransmits: int | None
    exchanges: int | None  # None: not told apart (UDP, or the group is off)
    tls_started_ns: int | None  # None: no TLS
    tls_ns: int | None  # the handshake's duration; None: none, or not done
    tls_version: str | None
    tls_server_name: str | None
    tls_error: str | None  # an alert's name, "closed" or "reset"
    outcome: Outcome
    error: str | None  # errno name
    closed_by: str | None  # "function", "peer"; None: not closed, or not known
    stale: bool | None  # kept when the peer had already given it up; None: not known
    reused: bool  # opened before this execution
    before: bool  # ended before this execution began (init, or between two executions)
    # Only looked at now and then: it was there at least from `started_ns` on for `duration_ns`.
    sampled: bool

    @property
    def transfers_seen(self) -> bool:
        """Whether its bytes were counted.

        They were not on one that io_uring opened, without a descriptor, nor where /proc/net/tcp was
        all that told of it.
        """
        return self.fd >= 0 or bool(self.sends or self.receives)

    def known(self, count: int) -> int | None:
        """`count`, of its bytes, or None: it is not known, not even that it is more than none."""
        if not self.transfers_seen or (self.outcome is Outcome.GONE and not count):
            return None
        return count


class Exchange(Value):
    """One request and its answer on a connection; a TLS handshake is none."""

    connection_id: int
    started_ns: int  # start of the request's first send
    request_ns: int  # until the end of its last one
    wait_ns: int | None  # from there until the first byte of the answer; None: there was none
    transfer_ns: int | None  # from there until the last
    bytes_out: int
    bytes_in: int
    sends: int
    receives: int
    retransmits: int


class BlockedKind(StrEnum):
    """What a syscall that waited was waiting for."""

    SLEEP = "sleep"
    LOCK = "lock"
    FILE = "file"
    CHILD = "child"
    POLL = "poll"
    NETWORK = "network"
    FAULT = "fault"  # no syscall: a page that had to be read
    OTHER = "other"


class Blocked(Value):
    """A syscall that waited for longer than the threshold."""

    op: str
    kind: BlockedKind
    fd: int | None
    path: str | None
    process_id: int
    thread_id: int
    started_ns: int
    duration_ns: int
    blocked_ns: int  # asleep, the rest it ran or waited for a CPU
    result: int


class Ending(Value):
    """How a process ended."""

    exit_code: int | None  # None: a signal ended it
    signal: str | None  # name of the signal
    out_of_memory: bool


class Process(Value):
    """A process of the function that ended."""

    process_id: int
    parent_id: int
    name: str
    started_ns: int
    duration_ns: int
    ending: Ending


class Syscall(Value):
    """One syscall on a socket (level `syscalls`)."""

    op: str
    fd: int
    connection_id: int | None
    process_id: int
    thread_id: int
    started_ns: int
    duration_ns: int
    result: int


class Namelookup(Value):
    """One question to a DNS server, asked once or more, answered or not."""

    name: str
    type: str  # A, AAAA, …
    server: str  # address
    started_ns: int
    duration_ns: int | None  # until the answer; None: there was none
    attempts: int
    answer: str | None  # NOERROR, NXDOMAIN, SERVFAIL, …
    truncated: bool
    addresses: tuple[str, ...]
    process_id: int
    connection_id: int


# What Execution.unavailable calls what a backend that only looks now and then does not see.
SHORT_CONNECTIONS, ERRORS = "short connections", "errors"
# What a summary tells of executions before its own: of Dropped, these.
LOST_BEFORE = frozenset({"items", "executions"})


class Dropped(Value):
    """What was seen but could not be kept, by kind; all zero in the usual case."""

    events: int = 0  # records of any kind but syscalls: ring full
    syscalls: int = 0  # syscall records: ring full
    connections: int = 0  # connections not followed: kernel table full
    threads: int = 0  # threads not followed: kernel table full
    sockets: int = 0  # sockets not followed: kernel table full
    records: int = 0  # above what the agent keeps of a kind
    items: int = 0  # items the store did not take
    gaps: int = 0  # times the agent's worker was away while executions ran
    executions: int = 0  # whole executions that ran before this one and are not in the store
    forged: int = 0  # beginnings and ends of executions that the platform had not given

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(getattr(self, name) for name in self.__slots__)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is known to be missing from the execution that tells of them."""
        return not any(getattr(self, name) for name in self.__slots__ if name not in LOST_BEFORE)


class DestinationFigures(Value):
    """What one execution did with one destination."""

    host: str | None
    address: str
    port: int
    protocol: Protocol
    connections: int
    errors: int
    bytes_out: int
    bytes_in: int
    # Sum over its connections of the time spent connecting, waiting, transferring; 0 for TCP, which
    # takes some time always, means that none was seen.
    time_ns: int
    connect_ns: tuple[int, ...]  # sorted; above 32 connections 32 evenly spaced quantiles
    # What follows is not told by older agents. The times are whole microseconds, sorted; of more
    # than 8, 8 evenly spaced quantiles.
    reused: int = 0  # connections that had been opened before
    requests: int = 0  # of which the wait is known
    wait_ns: tuple[int, ...] = ()  # one for each request, answered or not
    tls_ns: tuple[int, ...] = ()  # one for each handshake that was done
    dns_ns: tuple[int, ...] = ()  # one for each time its name was looked up, answered or not

    @property
    def time_seen(self) -> bool:
        """Whether its time, and with it its requests, were seen."""
        return self.time_ns > 0 or self.protocol is Protocol.UDP


class AgentCost(Value):
    """What the agent has cost since the summary before; None: not known, or nothing of the kind.

    Writing an execution is over only after its summary has been, so all but the CPU time of this
    very execution is told by the next one.
    """

    cpu_ns: int
    peak_bytes: int  # of the agent's process, so far
    after_ns: int | None = None  # responses were out, and the environment was held up
    sent_bytes: int | None = None  # to the store, heads of requests and retries included
    write_units: int | None = None
    flushes: int | None = None
    retries: int | None = None
    spooled: int | None = None  # executions the store did not take
    drained: int | None = None  # of those before, what it has taken since


class CpuTime(Value):
    """Where the threads of an execution were, ns."""

    cpu_ns: int  # on a CPU, summed over threads
    cpu_wall_ns: int  # at least one on a CPU
    runqueue_ns: int  # runnable but not running, summed over threads
    runqueue_wall_ns: int  # none on a CPU, at least one runnable


class Part(StrEnum):
    """What a part of an execution's wall-clock time went into; exclusive, see partition.py."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    WAIT = "wait"
    TRANSFER = "transfer"
    FILE = "file"
    SLEEP = "sleep"
    LOCK = "lock"
    CPU = "cpu"
    RUNQUEUE = "runqueue"
    STEAL = "steal"
    OTHER = "other"


class Partition(Value):
    """An execution's wall-clock time by what it went into, ns; they sum to its duration.

    None where that cannot be known; its time is then among the others.
    """

    dns_ns: int | None
    connect_ns: int | None
    tls_ns: int | None
    wait_ns: int | None
    transfer_ns: int | None
    file_ns: int | None
    sleep_ns: int | None
    lock_ns: int | None
    cpu_ns: int | None
    runqueue_ns: int | None
    steal_ns: int | None
    other_ns: int | None

    def of(self, part: Part) -> int | None:
        """The time of one part, ns."""
        value: int | None = getattr(self, _PARTITION_FIELDS[part])
        return value


_PARTITION_FIELDS = dict(zip(Part, Partition.__slots__, strict=True))


class Share(Value):
    """So much of a part went into one subject."""

    part: Part
    # host:port of a destination, a name that was looked up, a file's path, or a syscall's name
    subject: str
    ns: int


class Pause(Value):
    """A stretch longer than the threshold in which no thread of the function was on a CPU."""

    part: Part  # what it counts as
    subject: str  # as of a Share; empty for Part.RUNQUEUE
    op: str | None  # the syscall of the thread that ended it; None: it waited for a page or a CPU
    connection_id: int | None  # what was waited for, where that is a connection
    process_id: int
    thread_id: int | None
    started_ns: int
    duration_ns: int
    cpu_idle: bool | None  # Part.RUNQUEUE: whether the CPU that ended it had been idle; else None


class Xray(Value):
    """The trace of AWS X-Ray that an invocation is part of, as the platform told it."""

    trace_id: str  # 32 hex digits
    parent_id: str | None  # 16 hex digits: of the segment that invoked it
    is_sampled: bool | None  # None: not told


class Execution(Value):
    """One Lambda invocation, or one traced local command: what its summary says."""

    execution_id: str
    function: str
    version: str | None
    started_at_ns: int  # since the epoch
    duration_ns: int
    status: Status
    in_init: bool  # it failed before there was a runtime to give it to
    cold_start: bool
    backend: str
    level: Level
    # "kernel": exact, "looks": seen between two of them (tolerance_ns), "extension": from the
    # Extensions API, "process": a command's life
    edges: str
    memory_mb: int | None
    command: str | None
    exit_code: int | None
    connections: int | None  # None: none was seen by looking, where others may have been
    errors: int | None  # None: not seen
    dropped: Dropped
    folded: Mapping[str, int]  # records counted, not kept one by one, by kind
    capture: tuple[str, ...]  # groups that were on
    unavailable: Mapping[str, str]  # group -> why it could not be seen
    unseen: tuple[str, ...]  # what the function used that cannot be seen into
    cpu: CpuTime | None
    steal_ns: int | None  # of the machine
    major_faults: int | None  # of the machine
    partition: Partition | None  # None: not known (group `cpu` is off, edges not exact, or old)
    shares: tuple[Share, ...]  # of the partition, the largest first; not all
    ending: Ending | None  # of the function's own process, if it ended
    agent: AgentCost | None
    kept: bool  # whether its events were; by the policy below
    keep: str  # all, slow, errors, 1/N
    destinations: tuple[DestinationFigures, ...]
    xray: Xray | None = None  # None: not told
    backend_why: str | None = None  # why no better backend did the sensing
    tolerance_ns: int | None = None  # its end may have been so much earlier; None: not told


class Elsewhere(Value):
    """A connection of another extension of the environment: none of the function's."""

    process_name: str
    process_id: int
    host: str | None
    address: str
    port: int
    protocol: Protocol
    started_ns: int  # since the execution began; negative: before
    connect_ns: int | None  # None: not established, or not known
    duration_ns: int | None  # None: still open
    bytes_out: int  # since the execution before
    bytes_in: int
    error: str | None  # errno name


class Trace(Value):
    """One execution with everything that was recorded of it."""

    execution: Execution
    connections: tuple[Connection, ...]  # by start
    namelookups: tuple[Namelookup, ...]  # by start
    exchanges: tuple[Exchange, ...]  # by start
    blocked: tuple[Blocked, ...]  # by start
    pauses: tuple[Pause, ...]  # by start
    processes: tuple[Process, ...]  # by start
    syscalls: tuple[Syscall, ...]  # by start
    elsewhere: tuple[Elsewhere, ...] = ()  # by start
    missing_chunks: int = 0  # event chunks the summary promises and the store does not have

    @property
    def process_names(self) -> dict[int, str]:
        """The names of processes, by id, as far as they are known."""
        # What ended has its last name, and what is still there the one it connected with.
        names = {each.process_id: each.process_name for each in self.connections}
        return names | {each.process_id: each.name for each in self.processes}


class Reference(Value):
    """One row of what `show` shows: its kind, and its number there, from 1."""

    kind: str  # execution, connection, namelookup, exchange, blocked, pause, process
    number: int


class Verdict(Value):
    """Why an execution took as long as it did, or failed; see docs/verdict.md."""

    cause: (
        str | None
    )  # a Part, or a finer one under it (`dns.unanswered`); None: nothing stands out
    destination: str | None  # host:port, a name that was looked up, or a file's path
    share: float  # of the execution's duration, 0 to 1, that went into it
    text: str  # one sentence; what it quotes is not cleaned
    evidence: tuple[Reference, ...]
    usual_ns: int | None  # the cause's part in comparable executions, median; None: too few
    compared: int  # so many comparable executions were found
