"""The probe's self-test: what a known program does, against what the probe recorded of it.

Standard library only, no pytest: it runs in guests that have little else (tools/kernels.sh), and on
the host as tests/integration/bpf/test_selftest.py. Needs root, 127.0.0.1 and ::1 and their port 53.

The program under test is this file with an argument. It notes what it did and when, by the clock
that the probe uses, and writes that to its standard output as JSON: the referee for everything
that is checked.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from lambdatrace import wire
    from lambdatrace.bpf.loader import Probe

HERE, HERE6 = "127.0.0.1", "::1"
TCP, UDP = 6, 17
RING_HEADER_BYTES = 8
SENT, RECEIVED = 1, 2
ROOM_S = 0.3
WAIT_S = 0.05
BURN_S = 0.2
MEMORY_LIMIT = 24 << 20  # bytes
MNT_DETACH = 2  # umount2(2)
MANY = 300_000  # bytes
DNS_QUERY = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x04test\0\0\x01\0\x01"
DNS_ANSWER = (
    b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x07example\x04test\0\0\x01\0\x01"
    b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01"
)
CLIENT_HELLO = b"\x16\x03\x01\x01\x2c" + b"\x01\0\x01\x28" + bytes(i % 251 for i in range(296))
FIRST_PROCESS_NAMESPACE = 0xEFFFFFFC  # include/linux/proc_ns.h


# ---- the program under test


class Diary:
    """What the program did, in the order in which it did it."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []  # connections
        self.waits: list[dict[str, Any]] = []
        self.ends: list[dict[str, Any]] = []  # of child processes
        self.left_out: list[str] = []  # what this machine did not let it do

    @contextlib.contextmanager
    def wait(self, op: str, path: str = "") -> Iterator[None]:
        """One syscall that takes its time."""
        what = {"op": op, "path": path, "thread": threading.get_native_id()}
        self.waits.append(what)
        what["begun"] = time.monotonic_ns()
        yield
        what["done"] = time.monotonic_ns()

    @contextlib.contextmanager
    def entry(self, name: str, s: socket.socket, peer: tuple[str, int]) -> Iterator[dict[str, Any]]:
        """One connection: fills in what can be asked for; closes the socket."""
        what: dict[str, Any] = {
            "name": name,
            "address": peer[0],
            "port": peer[1],
            "out": 0,
            "in": 0,
            "error": 0,
            "process": os.getpid(),
            "thread": threading.get_native_id(),
            "begun": time.monotonic_ns(),
        }
        self.entries.append(what)
        yield what
        what["local_port"] = s.getsockname()[1]
        s.close()
        what["done"] = time.monotonic_ns()


def connected(what: dict[str, Any], s: socket.socket, peer: tuple[str, int]) -> None:
    what["error"] = s.connect_ex(peer)
    what["connected"] = time.monotonic_ns()


def connected_later(
    what: dict[str, Any],
    s: socket.socket,
    peer: tuple[str, int],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    s.setblocking(False)
    assert s.connect_ex(peer) == errno.EINPROGRESS
    what["returned"] = time.monotonic_ns()
    meanwhile()
    select.select([], [s], [])
    what["connected"] = time.monotonic_ns()
    what["error"] = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    s.setblocking(True)


def talk(what: dict[str, Any], s: socket.socket, text: bytes | int) -> None:
    """Send to an echo server (a number: so many bytes) and read all of it."""
    text = b"x" * text if isinstance(text, int) else text
    s.sendall(text)
    what["out"] += len(text)
    left = len(text)
    while left:
        got = len(s.recv(65536))
        assert got
        left -= got
        what["in"] += got


def blocking(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["echo"])
    with diary.entry("blocking", s, peer) as what:
        connected(what, s, peer)
        talk(what, s, 100)


def many_bytes(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["late"])
    with diary.entry("many bytes", s, peer) as what:
        connected(what, s, peer)
        s.sendall(b"m" * MANY)
        s.shutdown(socket.SHUT_WR)
        what["out"] = MANY
        while data := s.recv(1000):
            what["in"] += len(data)


def other_calls(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["late"])
    with diary.entry("other calls", s, peer) as what, tempfile.TemporaryFile() as file:
        connected(what, s, peer)
        file.write(b"f" * 14)
        file.flush()
        os.write(s.fileno(), b"a" * 10)
        os.writev(s.fileno(), [b"b" * 11, b"c" * 12])
        s.sendmsg([b"d" * 13])
        os.sendfile(s.fileno(), file.fileno(), 0, 14)
        s.shutdown(socket.SHUT_WR)
        what["out"] = 60
        what["in"] = len(os.read(s.fileno(), 4)) + os.readv(s.fileno(), [bytearray(3)])
        while data := s.recvmsg(1000)[0]:
            what["in"] += len(data)


def non_blocking(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["echo"])
    with diary.entry("non-blocking", s, peer) as what:
        connected_later(what, s, peer)
        talk(what, s, 17)


def slow(diary: Diary, ports: dict[str, int]) -> None:
    """The first SYN finds the backlog full; by the time of the second there is room."""

    def make_room() -> None:
        s, peer = socket.socket(), (HERE, ports["make_room"])
        with diary.entry("making room", s, peer) as what:
            connected(what, s, peer)

    s, peer = socket.socket(), (HERE, ports["full"])
    with diary.entry("slow", s, peer) as what:
        timer = threading.Timer(ROOM_S, make_room)
        connected_later(what, s, peer, timer.start)
        # tcpi_total_retrans, include/uapi/linux/tcp.h
        info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        (what["retransmits"],) = struct.unpack_from("=I", info, 100)
        timer.join()


def refused(diary: Diary, ports: dict[str, int]) -> None:
    for name, connect in (("refused", connected), ("refused later", connected_later)):
        s, peer = socket.socket(), (HERE, ports["refused"])
        with diary.entry(name, s, peer) as what:
            connect(what, s, peer)


def reset(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["reset"])
    with diary.entry("reset", s, peer) as what:
        connected(what, s, peer)
        what["out"] = s.send(b"r" * 10)
        try:
            s.recv(10)
        except ConnectionResetError as error:
            what["error"] = error.errno


def over_ipv6(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(socket.AF_INET6), (HERE6, ports["echo6"])
    with diary.entry("IPv6", s, peer) as what:
        connected(what, s, peer)
        talk(what, s, 66)


def from_a_thread(diary: Diary, ports: dict[str, int]) -> None:
    def work() -> None:
        s, peer = socket.socket(), (HERE, ports["echo"])
        with diary.entry("from a thread", s, peer) as what:
            connected(what, s, peer)
            talk(what, s, 23)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def datagrams(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(type=socket.SOCK_DGRAM), (HERE, ports["udp"])
    with diary.entry("UDP", s, peer) as what:
        for size in (1, 20, 300):
            what["out"] += s.sendto(b"u" * size, peer)
            what["in"] += len(s.recvfrom(1000)[0])
    s, peer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), (HERE6, ports["udp6"])
    with diary.entry("connected UDP", s, peer) as what:
        s.connect(peer)
        what["out"] = s.send(b"u" * 44)
        what["in"] = len(s.recv(1000))


def lookup(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(type=socket.SOCK_DGRAM), (HERE, ports["dns"])
    with diary.entry("DNS", s, peer) as what:
        s.connect(peer)
        what["out"] = s.send(DNS_QUERY)
        what["in"] = len(s.recv(1000))


def two_requests(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["echo"])
    with diary.entry("two requests", s, peer) as what:
        connected(what, s, peer)
        what["requests"] = []
        for size in (50, 70):
            begun = time.monotonic_ns()
            talk(what, s, size)
            what["requests"].append((size, begun, time.monotonic_ns()))


def hello(diary: Diary, ports: dict[str, int]) -> None:
    s, peer = socket.socket(), (HERE, ports["echo"])
    with diary.entry("TLS", s, peer) as what:
        connected(what, s, peer)
        talk(what, s, CLIENT_HELLO)


def waits(diary: Diary, _: dict[str, int]) -> None:
    with diary.wait("clock_nanosleep"):
        time.sleep(WAIT_S)
    with tempfile.NamedTemporaryFile() as file, open(file.name) as again:  # noqa: PTH123
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(WAIT_S, fcntl.flock, [file, fcntl.LOCK_UN])
        timer.start()
        with diary.wait("flock", file.name):
            fcntl.flock(again, fcntl.LOCK_EX)
        timer.join()


def burn(_: Diary, __: dict[str, int]) -> None:
    until = time.process_time() + BURN_S
    while time.process_time() < until:
        pass


def ends(diary: Diary, _: dict[str, int]) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitpid(pid, 0)
    diary.ends.append({"process": pid, "exit_code": 7, "signal": 0})
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    diary.ends.append({"process": pid, "exit_code": 0, "signal": int(signal.SIGTERM)})


def out_of_memory(diary: Diary, _: dict[str, int]) -> None:
    """A child that wants more than its cgroup may have, where such a cgroup can be made."""
    with tempfile.TemporaryDirectory() as folder:
        if ctypes.CDLL(None).mount(b"none", folder.encode(), b"cgroup2", 0, None):
            diary.left_out.append("out of memory: no cgroups of version 2")
            return
        group = os.path.join(folder, f"selftest-{os.getpid()}")  # noqa: PTH118
        try:
            write(os.path.join(folder, "cgroup.subtree_control"), "+memory")  # noqa: PTH118
            os.mkdir(group)  # noqa: PTH102
            write(os.path.join(group, "memory.max"), str(MEMORY_LIMIT))  # noqa: PTH118
            pid = os.fork()
            if pid == 0:
                write(os.path.join(group, "cgroup.procs"), "0")  # noqa: PTH118
                bytearray(4 * MEMORY_LIMIT)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            kill = int(signal.SIGKILL)
            diary.ends.append(
                {"process": pid, "exit_code": 0, "signal": kill, "out_of_memory": True}
            )
        except OSError as error:
            diary.left_out.append(f"out of memory: {error}")
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(group)  # noqa: PTH106
            ctypes.CDLL(None).umount2(folder.encode(), MNT_DETACH)


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(text)


def forked(diary: Diary, ports: dict[str, int]) -> None:
    in_child(diary, lambda: leaf("forked", ports))


def executed(diary: Diary, ports: dict[str, int]) -> None:
    in_child(diary, lambda: os.execv(sys.executable, command("leaf", ports)))


def in_child(diary: Diary, work: Callable[[], object]) -> None:
    """Run `work` in a child, whose standard output is a diary."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(tell, 1)
            os.close(told)
            work()
        finally:
            os._exit(7)
    os.close(tell)
    with os.fdopen(told, "rb") as answer:
        diary.entries += json.loads(answer.read())
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def leaf(name: str, ports: dict[str, int]) -> None:
    """One connection from a process of its own."""
    diary = Diary()
    s, peer = socket.socket(), (HERE, ports["echo"])
    with diary.entry(name, s, peer) as what:
        connected(what, s, peer)
        talk(what, s, 31)
    os.write(1, json.dumps(diary.entries).encode())
    os._exit(0)


def program(ports: dict[str, int]) -> None:
    diary = Diary()
    for step in (
        blocking, many_bytes, other_calls, non_blocking, slow, refused, reset, over_ipv6,
        from_a_thread, datagrams, lookup, two_requests, hello, waits, burn, ends,
        out_of_memory, forked, executed,
    ):  # fmt: skip
        step(diary, ports)
    print(
        json.dumps(
            {
                "connections": diary.entries,
                "waits": diary.waits,
                "ends": diary.ends,
                "left_out": diary.left_out,
            }
        )
    )


def command(role: str, ports: dict[str, int]) -> list[str]:
    return [sys.executable, "-S", os.path.abspath(__file__), role, json.dumps(ports)]  # noqa: PTH100


# ---- the servers, on threads of the self-test's own process, which is not traced


def serve() -> dict[str, int]:
    """Start them; returns the port of each."""

    def echo(s: socket.socket) -> None:
        while data := s.recv(65536):
            s.sendall(data)

    def late(s: socket.socket) -> None:
        while s.recv(65536):
            pass
        s.sendall(b"a" * 5000)

    def reset(s: socket.socket) -> None:
        s.recv(65536)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def make_room(_: socket.socket) -> None:
        full.accept()

    full = socket.socket()
    full.bind((HERE, 0))
    full.listen(0)
    taken = socket.socket()
    taken.bind((HERE, 0))
    kept = socket.create_connection(full.getsockname())
    _alive.extend((full, taken, kept))
    return {
        "echo": stream(echo, HERE),
        "echo6": stream(echo, HERE6),
        "late": stream(late, HERE),
        "reset": stream(reset, HERE),
        "make_room": stream(make_room, HERE),
        "full": full.getsockname()[1],
        "refused": taken.getsockname()[1],
        "udp": answer(lambda data: data, HERE),
        "udp6": answer(lambda data: data, HERE6),
        "dns": answer(lambda _: DNS_ANSWER, HERE, 53),
    }


_alive: list[socket.socket] = []


def stream(work: Callable[[socket.socket], None], address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)

    def one(s: socket.socket) -> None:
        with s, contextlib.suppress(OSError):
            work(s)

    def accept() -> None:
        while True:
            s, _ = listener.accept()
            threading.Thread(target=one, args=(s,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def answer(work: Callable[[bytes], bytes], address: str, port: int = 0) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, port))

    def reply() -> None:
        while True:
            data, peer = s.recvfrom(65536)
            s.sendto(work(data), peer)

    threading.Thread(target=reply, daemon=True).start()
    return int(s.getsockname()[1])


# ---- what was recorded, and the checks


class Recorded:
    """Everything that the probe kept, by kind; kinds that this test does not know are counted."""

    def __init__(self, probe: Probe) -> None:
        from lambdatrace import wire

        self.connections: list[wire.ConnectionRecord] = []
        self.edges: list[wire.EdgeRecord] = []
        self.dns: list[Any] = []
        self.unknown: dict[int, int] = {}
        self.syscalls: list[wire.SyscallRecord] = []
        self.tls: list[Any] = []
        self.blocked: list[Any] = []
        self.pauses: list[Any] = []
        self.exchanges: list[Any] = []  # those before a connection's latest one
        self.latest: dict[int, Any] = {}  # ConnectionRecord.id -> its latest exchange
        known: dict[int, tuple[type[wire.Record], list[Any]]] = {
            wire.KIND_CONNECTION: (wire.ConnectionRecord, self.connections),
            wire.KIND_EDGE: (wire.EdgeRecord, self.edges),
            wire.KIND_DNS: (wire.TextRecord, self.dns),
            wire.KIND_SYSCALL: (wire.SyscallRecord, self.syscalls),
            wire.KIND_TLS: (wire.TextRecord, self.tls),
            wire.KIND_BLOCKED: (wire.BlockedRecord, self.blocked),
            wire.KIND_EXCHANGE: (wire.ExchangeRecord, self.exchanges),
            wire.KIND_PAUSE: (wire.PauseRecord, self.pauses),
        }
        for ring in (probe.events, probe.syscalls):
            size = ring.stride - RING_HEADER_BYTES
            records = ring.drain()
            for offset in range(0, len(records), size):
                kind = records[offset]
                if kind in known:
                    record, kept = known[kind]
                    kept.append(record.unpack(records, offset))
                    if kind == wire.KIND_CONNECTION:
                        exchange = wire.Exchange.unpack(records, offset + record.SIZE)
                        self.latest[kept[-1].id] = exchange
                else:
                    self.unknown[kind] = self.unknown.get(kind, 0) + 1
        for one, exchange, _ in probe.followed_connections():
            self.connections.append(one)
            self.latest[one.id] = exchange
        self.lost = dict(zip(wire.COUNTERS, probe.lost(), strict=True))


class Checks:
    """Says what differs; counts."""

    def __init__(self) -> None:
        self.made = 0
        self.failed = 0

    def that(self, what: str, holds: object, found: object = "") -> None:
        """`holds` has to be true; `found` is shown where it is not."""
        self.made += 1
        if not holds:
            self.failed += 1
            print(f"FAILED: {what}: {found}")

    def same(self, what: str, found: object, expected: object) -> None:
        self.that(what, found == expected, f"{found!r}, not {expected!r}")


def check(
    recorded: Recorded,
    notes: dict[str, Any],
    cpu_s: float,
    stolen_s: float,
    unavailable: dict[str, str],
) -> Checks:
    checks = Checks()
    diary = notes["connections"]
    checks.same("lost", recorded.lost, dict.fromkeys(recorded.lost, 0))
    found = {(record.local_port, record.port): record for record in recorded.connections}
    checks.same("connections", len(recorded.connections), len(diary))
    for what in diary:
        record = found.get((what["local_port"], what["port"]))
        if record is None:
            # An unconnected UDP socket and a refused one do not tell their own port.
            record = unnamed(recorded, what)
        checks.that(f"{what['name']}: was seen", record is not None, sorted(found))
        if record is not None:
            check_connection(checks, what, record, unavailable)
            check_syscalls(checks, what, record, recorded.syscalls)
    check_dns(checks, recorded)
    check_processes(checks, recorded, notes)
    if "exchanges" not in unavailable:
        check_exchanges(checks, recorded, diary)
    if "tls" not in unavailable:
        check_tls(checks, recorded, diary)
    if "blocked" not in unavailable:
        check_waits(checks, recorded, notes["waits"])
        check_pauses(checks, recorded)
    if "processes" not in unavailable:
        check_ends(checks, recorded, notes["ends"])
    if "cpu" not in unavailable:
        check_cpu(checks, recorded, cpu_s, stolen_s)
    return checks


def unnamed(recorded: Recorded, what: dict[str, Any]) -> wire.ConnectionRecord | None:
    """The connection that began while `what` did, to the same port."""
    for record in recorded.connections:
        if record.port == what["port"] and what["begun"] <= record.started <= what["done"]:
            return record
    return None


def check_connection(
    checks: Checks,
    what: dict[str, Any],
    record: wire.ConnectionRecord,
    unavailable: dict[str, str],
) -> None:
    from lambdatrace import wire

    def same(field: str, found: object, expected: object) -> None:
        checks.same(f"{what['name']}: {field}", found, expected)

    def in_order(field: str, *times: int) -> None:
        checks.that(f"{what['name']}: {field}", list(times) == sorted(times), times)

    datagrams = "connected" not in what
    same("address", wire.address_text(record.family, record.address), what["address"])
    same("family", record.family, 6 if ":" in what["address"] else 4)
    same("protocol", record.protocol, UDP if datagrams else TCP)
    same("bytes out", record.bytes_out, what["out"])
    same("bytes in", record.bytes_in, what["in"])
    same("error", record.error, what["error"])
    same("closed", bool(record.closed), True)
    if os.stat("/proc/self/ns/pid").st_ino == FIRST_PROCESS_NAMESPACE:  # noqa: PTH116
        same("process", record.tgid, what["process"])
        same("thread", record.tid, what["thread"])
    in_order("it began in time", what["begun"], record.started, what["done"])
    in_order("it ended in time", record.started, record.closed, what["done"])
    if what["out"]:
        in_order("sending", record.started, record.first_out, record.last_out, record.closed)
    if what["in"]:
        in_order("receiving", record.started, record.first_in, record.last_in, what["done"])
    if what["error"]:
        if what["error"] == errno.ECONNRESET and "resets" not in unavailable:
            same("reset", bool(record.flags & wire.CONNECTION_RESET), True)
    elif not datagrams:
        in_order("connecting", what["begun"], record.started, record.established, what["connected"])
    if "returned" in what and not what["error"] and what["name"] == "slow":
        # The syscall returned at once, the handshake took the second until the second SYN.
        in_order("it was slow", what["returned"], record.established)
        took = record.established - record.started
        checks.that("slow: at least until there was room", took >= ROOM_S * 1e9, took)
        if "retransmits" not in unavailable:
            same("retransmits", record.retransmits, what["retransmits"])
            checks.that("slow: a SYN was sent again", record.retransmits >= 1, record.retransmits)


def check_syscalls(
    checks: Checks,
    what: dict[str, Any],
    record: wire.ConnectionRecord,
    syscalls: list[wire.SyscallRecord],
) -> None:
    from lambdatrace import wire

    def moved(calls: set[str]) -> int:
        return sum(call.result for call in own if wire.OPS[call.op] in calls and call.result > 0)

    own = [call for call in syscalls if call.connection == record.id]
    names = [wire.OPS[call.op] for call in own]
    checks.same(
        f"{what['name']}: bytes out, by syscall",
        moved({"sendto", "sendmsg", "write", "writev", "sendfile"}),
        what["out"],
    )
    checks.same(
        f"{what['name']}: bytes in, by syscall",
        moved({"recvfrom", "recvmsg", "read", "readv"}),
        what["in"],
    )
    for call in own:
        checks.that(
            f"{what['name']}: {wire.OPS[call.op]} in time",
            what["begun"] <= call.started <= call.started + call.duration <= what["done"],
            (what["begun"], call.started, call.duration, what["done"]),
        )
    if "connected" in what:
        results = [call.result for call in own if wire.OPS[call.op] == "connect"]
        later = -errno.EINPROGRESS if "returned" in what else None
        refused = -errno.ECONNREFUSED if what["error"] == errno.ECONNREFUSED else 0
        checks.same(f"{what['name']}: connect()", results, [later or refused])
    if what["name"] == "other calls":
        wanted = {"write", "writev", "sendmsg", "sendfile", "read", "readv", "recvmsg"}
        checks.that("other calls: each of them", wanted <= set(names), names)


def check_dns(checks: Checks, recorded: Recorded) -> None:
    from lambdatrace import wire

    texts = (DNS_QUERY, DNS_ANSWER)
    checks.same("DNS: messages", [record.direction for record in recorded.dns], [SENT, RECEIVED])
    for record, text in zip(recorded.dns, texts, strict=False):
        checks.same("DNS: text", (record.length, record.text[: len(text)]), (len(text), text))
        checks.same("DNS: server", wire.address_text(record.family, record.server), HERE)


def check_processes(checks: Checks, recorded: Recorded, notes: dict[str, Any]) -> None:
    from lambdatrace import wire

    connecting = {record.tgid for record in recorded.connections}
    noted = {what["process"] for what in notes["connections"]}
    checks.same("processes: how many connect", len(connecting), len(noted))
    checks.same("processes: one branch", len({r.branch for r in recorded.connections}), 1)
    ended = [edge.tgid for edge in recorded.edges if edge.edge == wire.EDGE_PROCESS_EXIT]
    checks.same("processes: each ends once", len(set(ended)), len(ended))
    checks.same("processes: their ends", len(ended), len(noted) + len(notes["ends"]))
    checks.that("processes: those that connect end", connecting <= set(ended), ended)


def check_exchanges(checks: Checks, recorded: Recorded, diary: list[dict[str, Any]]) -> None:
    (what,) = (what for what in diary if "requests" in what)
    (record,) = (r for r in recorded.connections if r.local_port == what["local_port"])
    found = [r for r in recorded.exchanges if r.connection == record.id]
    if record.id in recorded.latest:
        found.append(recorded.latest[record.id])
    checks.same("exchanges: how many", len(found), len(what["requests"]))
    for exchange, (size, begun, done) in zip(found, what["requests"], strict=False):
        checks.same("exchanges: bytes", (exchange.bytes_out, exchange.bytes_in), (size, size))
        times = (exchange.first_out, exchange.last_out, exchange.first_in, exchange.last_in)
        # The answer may be there before the syscall that sends has come out.
        in_order = [begun, times[0], *sorted(times[1:3]), times[3], done]
        checks.that("exchanges: times", in_order == sorted(in_order), (begun, times, done))


def check_tls(checks: Checks, recorded: Recorded, diary: list[dict[str, Any]]) -> None:
    (what,) = (what for what in diary if what["name"] == "TLS")
    (record,) = (r for r in recorded.connections if r.local_port == what["local_port"])
    checks.that("TLS: began", what["begun"] <= record.tls_started <= what["done"], record)
    started = [bool(r.tls_started) for r in recorded.connections if r.id != record.id]
    checks.that("TLS: nowhere else", not any(started), started)
    pieces = sorted(
        (r for r in recorded.tls if r.connection == record.id and r.direction == SENT),
        key=lambda r: r.fragment,
    )
    text = b"".join(r.text for r in pieces)[: len(CLIENT_HELLO)]
    checks.that("TLS: the ClientHello", text == CLIENT_HELLO, (len(pieces), text))


def check_waits(checks: Checks, recorded: Recorded, waits: list[dict[str, Any]]) -> None:
    from lambdatrace import wire

    for what in waits:
        found = [
            r
            for r in recorded.blocked
            if wire.OPS[r.op] == what["op"]
            and what["begun"] <= r.started <= r.ended <= what["done"]
        ]
        checks.same(f"{what['op']}: how often", len(found), 1)
        for record in found:
            path = record.path.rstrip(b"\0").decode()
            checks.same(f"{what['op']}: path", path, what["path"])
            checks.that(
                f"{what['op']}: waited",
                0 < record.waited <= what["done"] - what["begun"],
                (record, what),
            )
        if what["op"] == "clock_nanosleep":
            waited = [r.waited for r in found]
            # Not quite all of it: the time runs before the thread has gone to sleep.
            checks.that("clock_nanosleep: most of it", sum(waited) > WAIT_S * 0.5e9, waited)


def check_pauses(checks: Checks, recorded: Recorded) -> None:
    """What no thread ran in, told one by one and summed up at the last edge."""
    from lambdatrace import wire

    pauses = sorted(recorded.pauses, key=lambda pause: pause.started)
    last = max(recorded.edges, key=lambda edge: edge.time)
    checks.that("pauses: there are some", pauses)
    for one, other in itertools.pairwise(pauses):
        checks.that("pauses: one after the other", one.ended <= other.started, (one, other))
    asleep = [getattr(last, f"idle_{name}") for name in wire.WAITS[1:8]]
    life = last.time - last.born
    whole = last.cpu_wall + last.runqueue_wall + sum(asleep)
    checks.that("pauses: no more than there was", whole <= life + 0.01e9, (whole, life))
    for name in ("sleep", "lock", "network", "poll", "file"):
        number = wire.WAITS_NUMBERS[name]
        told = sum(each.ended - each.started for each in pauses if each.waits == number)
        summed_up = getattr(last, f"idle_{name}")
        checks.that(f"pauses: {name}", told <= summed_up, (told, summed_up))
    slept = sum(
        each.ended - each.started for each in pauses if each.waits == wire.WAITS_NUMBERS["sleep"]
    )
    checks.that("pauses: most of a sleep", slept > WAIT_S * 0.5e9, slept)


def check_ends(checks: Checks, recorded: Recorded, ends: list[dict[str, Any]]) -> None:
    from lambdatrace import wire

    found = [
        (
            edge.exit_code,
            edge.flags & wire.ENDING_SIGNAL,
            bool(edge.flags & wire.ENDING_OUT_OF_MEMORY),
        )
        for edge in recorded.edges
        if edge.edge == wire.EDGE_PROCESS_EXIT
    ]
    expected = [
        (what["exit_code"], what["signal"], what.get("out_of_memory", False)) for what in ends
    ]
    unremarkable = [(0, 0, False)] * (len(found) - len(expected))
    checks.same("ends: codes and signals", sorted(found), sorted(expected + unremarkable))
    for edge in recorded.edges:
        if edge.edge == wire.EDGE_PROCESS_EXIT:
            checks.that("ends: born before", 0 < edge.born < edge.time, (edge.born, edge.time))


def check_cpu(checks: Checks, recorded: Recorded, cpu_s: float, stolen_s: float) -> None:
    """Against what the kernel itself charged the program and its children with.

    That is without what a host has stolen meanwhile.
    """
    from lambdatrace import wire

    last = max(recorded.edges, key=lambda edge: edge.time)
    checks.same("CPU: the last edge", (last.edge, last.parent), (wire.EDGE_PROCESS_EXIT, 0))
    checks.that(
        "CPU: as the kernel counts",
        abs(last.cpu / 1e9 - cpu_s - stolen_s / 2) <= 0.1 * cpu_s + 0.02 + stolen_s / 2,
        (last.cpu / 1e9, cpu_s, stolen_s),
    )
    checks.that("CPU: burnt", last.cpu >= BURN_S * 1e9, last.cpu)
    walls = (last.cpu_wall, last.runqueue_wall)
    checks.that("CPU: walls", walls[0] <= last.cpu and walls[1] <= last.runqueue, last)
    checks.that("CPU: no more than there was", sum(walls) <= last.time - last.born, last)


# ---- the self-test


def main() -> int:
    """Load the probe, run the program, check; returns the exit code."""
    from lambdatrace.agent.machine import Machine
    from lambdatrace.bpf.loader import Probe
    from lambdatrace.errors import ProbeError

    print(f"kernel {os.uname().release}, {os.uname().machine}, {os.cpu_count()} CPUs")
    ports = serve()
    begun = time.monotonic()
    try:
        # Every program there is, so that every verifier has seen them.
        probe = Probe.load(record_syscalls=True, root=os.getpid(), extensions=True)
    except ProbeError as error:
        print(f"FAILED: {error.message}\n{error.hint}")
        return 1
    try:
        print(f"loaded in {(time.monotonic() - begun) * 1000:.0f} ms")
        for group, reason in probe.unavailable.items():
            print(f"unavailable: {group}: {reason}")
        machine = Machine()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The program's errors belong on the console.
        ran = subprocess.run(
            command("program", ports), stdout=subprocess.PIPE, timeout=300, check=False
        )
        if ran.returncode != 0:
            print(f"FAILED: the program under test ended with {ran.returncode}")
            return 1
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        stolen_s = (machine.since()[0] or 0) / 1e9
        recorded = Recorded(probe)
        unavailable = dict(probe.unavailable)
    finally:
        probe.close()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    notes = json.loads(ran.stdout)
    checks = check(recorded, notes, cpu_s, stolen_s, unavailable)
    for each in notes["left_out"]:
        print(f"not checked: {each}")
    print(
        f"{len(recorded.connections)} connections, {len(recorded.syscalls)} syscalls, "
        f"{len(recorded.edges)} edges, {len(recorded.dns)} DNS records, "
        f"{len(recorded.exchanges)} exchanges, {len(recorded.tls)} TLS, "
        f"{len(recorded.blocked)} blocked, {len(recorded.pauses)} pauses; "
        f"of kinds unknown here: {recorded.unknown or 'none'}; lost: {recorded.lost}"
    )
    print(f"{checks.made} checks, {checks.failed} failed; unavailable: {unavailable or 'nothing'}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] == "program":
        program(json.loads(sys.argv[2]))
    elif sys.argv[1:] and sys.argv[1] == "leaf":
        leaf("executed", json.loads(sys.argv[2]))
    else:
        sys.exit(main())
