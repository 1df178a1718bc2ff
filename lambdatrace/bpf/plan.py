"""What is attached where, which programs a capture needs, and how syscalls are told apart.

`loading.py` compares the fields of plain tracepoints with the running kernel's format files before
it loads anything. A group that does not fit is switched off as a whole and reported; only those in
`ESSENTIAL` make the probe useless when they are missing.
"""

from __future__ import annotations

TRACEPOINT = 5  # BPF_PROG_TYPE_TRACEPOINT, include/uapi/linux/bpf.h
RAW_TRACEPOINT = 17  # BPF_PROG_TYPE_RAW_TRACEPOINT

# A field is (name, offset in bytes, size in bytes), as /sys/kernel/tracing/events/*/format has it.
_STATE = (
    ("skaddr", 8, 8),
    ("oldstate", 16, 4),
    ("newstate", 20, 4),
    ("sport", 24, 2),
    ("dport", 26, 2),
    ("family", 28, 2),
    ("protocol", 30, 2),
    ("daddr", 36, 4),
    ("daddr_v6", 56, 16),
)


class Attachment:
    """One program on one tracepoint."""

    __slots__ = ("category", "event", "fields", "group", "program", "raw")

    def __init__(
        self,
        group: str,
        program: str,
        category: str,
        event: str,
        fields: tuple[tuple[str, int, int], ...] = (),
        raw: bool = False,
    ) -> None:
        self.group = group
        self.program = program
        self.category = category
        self.event = event
        self.fields = fields
        self.raw = raw


PLAN: tuple[Attachment, ...] = (
    Attachment("tree", "on_newtask", "task", "task_newtask", raw=True),
    Attachment("tree", "on_exec", "sched", "sched_process_exec", raw=True),
    Attachment("tree", "on_exit_task", "sched", "sched_process_exit", raw=True),
    Attachment("extensions", "on_adopt", "raw_syscalls", "sys_enter", raw=True),
    Attachment("cpu", "on_switch", "sched", "sched_switch", raw=True),
    Attachment("cpu", "on_wakeup", "sched", "sched_wakeup", raw=True),
    Attachment("processes", "on_signal", "signal", "signal_deliver", raw=True),
    Attachment("processes", "on_send_signal", "signal", "signal_generate", raw=True),
    Attachment("processes", "on_victim", "oom", "mark_victim", raw=True),
    Attachment("states", "on_state", "sock", "inet_sock_set_state", _STATE),
    Attachment("states", "on_state_raw", "sock", "inet_sock_set_state", raw=True),
    Attachment("retransmits", "on_retransmit_raw", "tcp", "tcp_retransmit_skb", raw=True),
    Attachment("resets", "on_reset_raw", "tcp", "tcp_receive_reset", raw=True),
    Attachment("calls", "on_sys_enter", "raw_syscalls", "sys_enter", raw=True),
    Attachment("calls", "on_sys_exit", "raw_syscalls", "sys_exit", raw=True),
)
ESSENTIAL = frozenset({"tree", "states", "calls"})
# Programs on one tracepoint are called in the order of attaching: on_state has to have seen the
# local port before this one ends a connection that was given up.
LAST = "on_state_raw"
# What is attached where a raw tracepoint has fewer arguments than the program reads (EINVAL).
FALLBACKS = {"on_switch": "on_switch_before_5_18"}

# Following processes that were there before the probe; no group of CAPTURE, but chosen like one.
EXTENSIONS = "extensions"

# Programs that are needed for one of the groups of CAPTURE only; others are always loaded.
_NEEDED_FOR = {
    "on_adopt": {EXTENSIONS},
    "on_exit_dns": {"dns"},
    "on_exit_tls": {"tls"},
    "on_exit_piece": {"dns", "tls"},
    "on_exit_exchange": {"exchanges"},
    "on_switch": {"cpu", "blocked"},
    "on_wakeup": {"cpu", "blocked"},
    "on_blocked": {"blocked"},
    "on_resume": {"cpu", "blocked"},
    "on_pause": {"blocked"},
    "on_come": {"cpu", "blocked"},
    "on_signal": {"processes"},
    "on_send_signal": {"processes"},
    "on_victim": {"processes"},
}
_SYSCALL_LEVEL = "on_exit_record"

# Place in the probe's table of programs (AT_* in C) -> the program that stands there. The first one
# is number 1; 0 means none.
PLACES = {
    "SYS_ENTER": "on_sys_enter",
    "SYS_EXIT": "on_sys_exit",
    "CONNECT": "on_connect",
    "OTHER": "on_other",
    "CLOSE": "on_close",
    "BLOCKED": "on_blocked",
    "RESUME": "on_resume",
    "PAUSE": "on_pause",
    "COME": "on_come",
    "TLS": "on_exit_tls",
    "EXCHANGE": "on_exit_exchange",
    "PIECE": "on_exit_piece",
    "RUNTIME": "on_exit_runtime",
    "EDGE": "on_edge",
    "DNS": "on_exit_dns",
    "RECORD": "on_exit_record",
    "DATAGRAM": "on_exit_datagram",
    "UDP": "on_exit_udp",
    "UDP_OPEN": "on_exit_udp_open",
    "DATAGRAM_CONNECT": "on_exit_datagram_connect",
    "NO_ROUTE": "on_exit_no_route",
    "EXIT_CONNECT": "on_exit_connect",
    "EXIT_OTHER": "on_exit_other",
}
PLACE_NUMBERS = {name: number for number, name in enumerate(PLACES, 1)}

# All programs but these are called with the raw tracepoints' context, on_sys_enter's and
# on_sys_exit's.
PLAIN_PROGRAMS = frozenset(entry.program for entry in PLAN if not entry.raw)

# What a syscall is, in struct operation.
IS_TRANSFER = 1  # sends or receives on a socket, if its descriptor is one
HAS_FD = 2  # its first argument is a descriptor
IS_FILE = 4  # and that may be a file's
RECEIVES = 8
HAS_MESSAGE = 16  # its second argument points to a struct msghdr
HAS_VECTOR = 32  # or to iovecs, as a msghdr does in its turn
HAS_PEER = 64  # its fifth argument points to the peer's address
HAS_MANY = 128  # or to structs mmsghdr

_SEND = IS_TRANSFER | HAS_FD
_RECEIVE = _SEND | RECEIVES
_VECTOR = HAS_VECTOR
_MESSAGE = HAS_MESSAGE | HAS_VECTOR
_MANY = HAS_MANY | HAS_MESSAGE | HAS_VECTOR
_OTHER = ("OTHER", "EXIT_OTHER", HAS_FD)
_CLOSE = ("CLOSE", "EXIT_OTHER", HAS_FD | IS_FILE)
_OPEN = ("OTHER", "EXIT_OTHER", 0)
_FD = ("", "", HAS_FD)
_FILE = ("", "", HAS_FD | IS_FILE)
# OP_* name -> (the place its entry is handed on to, that of its exit, its traits). What has no
# entry and is no transfer is known by its name when it blocks, and not looked at otherwise.
OPERATIONS: dict[str, tuple[str, str, int]] = {
    "connect": ("CONNECT", "EXIT_CONNECT", HAS_FD),
    "sendto": ("", "", _SEND | HAS_PEER),
    "sendmsg": ("", "", _SEND | _MESSAGE),
    "sendmmsg": ("", "DATAGRAM", _SEND | _MANY),
    "write": ("", "", _SEND | IS_FILE),
    "writev": ("", "", _SEND | IS_FILE | _VECTOR),
    "sendfile": ("", "", _SEND),
    "recvfrom": ("", "", _RECEIVE | HAS_PEER),
    "recvmsg": ("", "", _RECEIVE | _MESSAGE),
    "recvmmsg": ("", "DATAGRAM", _RECEIVE | _MANY),
    "read": ("", "", _RECEIVE | IS_FILE),
    "readv": ("", "", _RECEIVE | IS_FILE | _VECTOR),
    "close": _CLOSE,
    "socket": ("OTHER", "EXIT_OTHER", 0),
    "shutdown": _OTHER,
    "getsockopt": _OTHER,
    "dup": _OTHER,
    "dup3": _CLOSE,
    "fcntl": ("OTHER", "EXIT_OTHER", HAS_FD | IS_FILE),
    "close_range": ("OTHER", "", 0),
    "open": _OPEN,
    "openat": _OPEN,
    "openat2": _OPEN,
    "exit_group": ("OTHER", "", 0),
    "io_uring_setup": ("OTHER", "", 0),
    "accept": _FD,
    "accept4": _FD,
    "epoll_wait": _FD,
    "epoll_pwait": _FD,
    "epoll_pwait2": _FD,
    **dict.fromkeys(
        (
            "flock", "fsync", "fdatasync", "sync_file_range", "pread64", "pwrite64", "preadv",
            "pwritev", "getdents64", "copy_file_range", "splice", "ftruncate",
            "fallocate",
        ),
        _FILE,
    ),
}  # fmt: skip


# Looked at for the sake of a path only.
ONLY_FOR_BLOCKED = frozenset({"open", "openat", "openat2"})


def programs(available: frozenset[str], record_syscalls: bool) -> frozenset[str]:
    """The programs to load, for the groups of CAPTURE that are wanted and available."""
    wanted = {entry.program for entry in PLAN} | set(PLACES.values())
    wanted -= {name for name, groups in _NEEDED_FOR.items() if not groups & available}
    if not record_syscalls:
        wanted.discard(_SYSCALL_LEVEL)
    return frozenset(wanted)


def c_header() -> str:
    """The C side of this module: where programs stand, and what a syscall can be."""
    lines = [f"#define AT_{name} {number}" for name, number in PLACE_NUMBERS.items()]
    traits = {
        "IS_TRANSFER": IS_TRANSFER, "HAS_FD": HAS_FD, "IS_FILE": IS_FILE, "RECEIVES": RECEIVES,
        "HAS_MESSAGE": HAS_MESSAGE, "HAS_VECTOR": HAS_VECTOR, "HAS_PEER": HAS_PEER,
        "HAS_MANY": HAS_MANY,
    }  # fmt: skip
    lines += [f"#define {name} {value}" for name, value in traits.items()]
    return "\n".join(lines) + "\n"


class Arguments:
    """Where a syscall's arguments stand in struct pt_regs; offsets in bytes."""

    __slots__ = ("block", "first", "reversed")

    def __init__(self, block: int, first: int, reversed_: bool) -> None:
        self.block = block  # 64 bytes, with the first five arguments among them
        self.first = first  # the first one when the syscall comes out
        self.reversed = reversed_  # from the fourth (r10) down to the first (di)


# struct pt_regs of arch/x86/include/uapi/asm/ptrace.h: r10 at 56, di at 112. struct user_pt_regs of
# arch/arm64/include/uapi/asm/ptrace.h begins with x0, which holds the result when a syscall comes
# out; what it held before stands behind the struct, at 272 (orig_x0).
ARGUMENTS = {"x86_64": Arguments(56, 112, True), "aarch64": Arguments(0, 272, False)}

# Syscall numbers, from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
SYSCALL_NUMBERS: dict[str, dict[int, str]] = {
    "x86_64": {
        0: "read", 1: "write", 2: "open", 3: "close", 7: "poll", 17: "pread64", 18: "pwrite64",
        19: "readv", 20: "writev", 23: "select", 26: "msync", 32: "dup", 33: "dup3", 34: "pause",
        35: "nanosleep", 40: "sendfile", 41: "socket", 42: "connect", 43: "accept", 44: "sendto",
        45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 48: "shutdown", 55: "getsockopt",
        61: "wait4", 72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 77: "ftruncate",
        82: "rename", 83: "mkdir", 87: "unlink", 128: "rt_sigtimedwait", 202: "futex",
        217: "getdents64", 230: "clock_nanosleep", 231: "exit_group", 232: "epoll_wait",
        247: "waitid", 257: "openat", 258: "mkdirat", 262: "newfstatat", 263: "unlinkat",
        270: "pselect6", 271: "ppoll", 275: "splice", 277: "sync_file_range", 281: "epoll_pwait",
        288: "accept4", 292: "dup3", 295: "preadv", 296: "pwritev", 299: "recvmmsg",
        307: "sendmmsg", 316: "renameat2", 326: "copy_file_range", 332: "statx",
        425: "io_uring_setup", 435: "clone3", 436: "close_range", 437: "openat2",
        441: "epoll_pwait2", 56: "clone", 58: "vfork", 59: "execve", 162: "sync",
        285: "fallocate",
    },
    "aarch64": {
        22: "epoll_pwait", 23: "dup", 24: "dup3", 25: "fcntl", 32: "flock", 34: "mkdirat",
        35: "unlinkat", 46: "ftruncate", 56: "openat", 57: "close", 61: "getdents64", 63: "read",
        64: "write", 65: "readv", 66: "writev", 67: "pread64", 68: "pwrite64", 69: "preadv",
        70: "pwritev", 71: "sendfile", 72: "pselect6", 73: "ppoll", 76: "splice",
        79: "newfstatat", 82: "fsync", 83: "fdatasync", 84: "sync_file_range", 94: "exit_group",
        95: "waitid", 98: "futex", 101: "nanosleep", 115: "clock_nanosleep",
        137: "rt_sigtimedwait", 198: "socket", 202: "accept", 203: "connect", 206: "sendto",
        207: "recvfrom", 209: "getsockopt", 210: "shutdown", 211: "sendmsg", 212: "recvmsg",
        227: "msync", 242: "accept4", 243: "recvmmsg", 260: "wait4", 269: "sendmmsg",
        276: "renameat2", 285: "copy_file_range", 291: "statx", 425: "io_uring_setup",
        435: "clone3", 436: "close_range", 437: "openat2", 441: "epoll_pwait2", 47: "fallocate",
        81: "sync", 220: "clone", 221: "execve",
    },
}  # fmt: skip


def format_fields(text: str) -> dict[str, tuple[int, int]]:
    """A tracepoint's format file as {field: (offset, size)}, both in bytes."""
    fields = {}
    for line in text.splitlines():
        line = line.strip()
        if not line.startswith("field:"):
            continue
        parts = [part.strip() for part in line[len("field:") :].split(";")]
        name = parts[0].split()[-1].split("[")[0].lstrip("*")
        values = dict(part.split(":", 1) for part in parts[1:] if ":" in part)
        fields[name] = (int(values["offset"]), int(values["size"]))
    return fields


def format_number(text: str) -> int:
    """The tracepoint's number in its format file; 0 if it has none, which is nobody's."""
    number = text.partition("\nID: ")[2].partition("\n")[0]
    return int(number) if number.isdigit() else 0


def mismatch(attachment: Attachment, text: str) -> str:
    """Why `attachment` does not fit the format file `text`; empty when it does."""
    # As the kernel writes it; taking the text apart would be a twentieth of loading.
    if all(
        f" {name};\toffset:{offset};\tsize:{size};" in text
        or f" {name}[{size}];\toffset:{offset};\tsize:{size};" in text
        for name, offset, size in attachment.fields
    ):
        return ""
    fields = format_fields(text)
    for name, offset, size in attachment.fields:
        if fields.get(name) != (offset, size):
            return f"{attachment.event}.{name} is not where the probe looks for it"
    return ""
