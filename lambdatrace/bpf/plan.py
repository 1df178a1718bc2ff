"""What is attached where, and which tracepoint fields each program relies on.

`loader.py` compares the fields with the running kernel's format files before it attaches. A group
that does not fit is switched off as a whole and reported; only the groups in `ESSENTIAL` make the
probe useless when they are missing.
"""

from __future__ import annotations

from lambdatrace import wire

TRACEPOINT = 5  # BPF_PROG_TYPE_TRACEPOINT, include/uapi/linux/bpf.h
RAW_TRACEPOINT = 17  # BPF_PROG_TYPE_RAW_TRACEPOINT

# A field is (name, offset in bytes, size in bytes), as /sys/kernel/tracing/events/*/format has it.
_SYS_ENTER = (("id", 8, 8), ("args", 16, 48))
_SYS_EXIT = (("id", 8, 8), ("ret", 16, 8))
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
_NEWTASK = (("pid", 8, 4), ("clone_flags", 32, 8))
_EXEC = (("pid", 12, 4), ("old_pid", 16, 4))
_EXIT_TASK = (("pid", 24, 4),)


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
    Attachment("processes", "on_newtask", "task", "task_newtask", _NEWTASK),
    Attachment("processes", "on_exec", "sched", "sched_process_exec", _EXEC),
    Attachment("processes", "on_exit_task", "sched", "sched_process_exit", _EXIT_TASK),
    Attachment("states", "on_state", "sock", "inet_sock_set_state", _STATE),
    Attachment("states", "on_state_raw", "sock", "inet_sock_set_state", raw=True),
    Attachment("retransmits", "on_retransmit_raw", "tcp", "tcp_retransmit_skb", raw=True),
    Attachment("resets", "on_reset_raw", "tcp", "tcp_receive_reset", raw=True),
    Attachment("syscalls", "on_sys_enter", "raw_syscalls", "sys_enter", _SYS_ENTER),
    Attachment("syscalls", "on_sys_exit", "raw_syscalls", "sys_exit", _SYS_EXIT),
)

RAW_PROGRAMS = frozenset(entry.program for entry in PLAN if entry.raw)

# OP_* name -> the programs its entry and exit are handed on to. What has no exit program needs
# nothing when it comes out.
_TRANSFER = ("on_transfer", "on_exit_transfer")
_MESSAGES = ("on_transfer", "on_exit_messages")
_OTHER = ("on_other", "on_exit_other")
_CLOSE = ("on_close", "on_exit_other")
# Only at level `syscalls`.
SYSCALL_PROGRAMS = frozenset({"on_exit_record"})
DISPATCH: dict[str, tuple[str, str]] = {
    "connect": ("on_connect", "on_exit_connect"),
    "sendto": _TRANSFER,
    "sendmsg": _TRANSFER,
    "sendmmsg": _MESSAGES,
    "write": _TRANSFER,
    "writev": _TRANSFER,
    "sendfile": _TRANSFER,
    "recvfrom": _TRANSFER,
    "recvmsg": _TRANSFER,
    "recvmmsg": _MESSAGES,
    "read": _TRANSFER,
    "readv": _TRANSFER,
    "close": _CLOSE,
    "socket": ("on_socket", "on_exit_other"),
    "shutdown": _OTHER,
    "getsockopt": _OTHER,
    "dup": _OTHER,
    "dup3": _CLOSE,
    "fcntl": _OTHER,
    "close_range": ("on_close_range", ""),
    "exit_messages": ("", "on_exit_messages"),
    "exit_udp": ("", "on_exit_udp"),
    "exit_datagram": ("", "on_exit_datagram"),
    "exit_invocation": ("", "on_exit_invocation"),
    "exit_datagram_connect": ("", "on_exit_datagram_connect"),
    "exit_no_route": ("", "on_exit_no_route"),
    "exit_udp_open": ("", "on_exit_udp_open"),
    "exit_dns": ("", "on_exit_dns"),
    "exit_dns_piece": ("", "on_exit_dns_piece"),
    "exit_runtime": ("", "on_exit_runtime"),
    "exit_record": ("", "on_exit_record"),
}


def _places() -> dict[str, list[tuple[str, int]]]:
    places: dict[str, list[tuple[str, int]]] = {}
    for name, programs in DISPATCH.items():
        for table, program in zip(("entries", "exits"), programs, strict=True):
            if program:
                places.setdefault(program, []).append((table, wire.OP_NUMBERS[name]))
    return places


# Program -> the (map, OP_* number) it is called from.
PLACES = _places()

# Syscall numbers, from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
SYSCALL_NUMBERS: dict[str, dict[int, str]] = {
    "x86_64": {
        0: "read", 1: "write", 3: "close", 19: "readv", 20: "writev", 32: "dup", 33: "dup3",
        40: "sendfile", 41: "socket", 42: "connect", 44: "sendto", 45: "recvfrom", 46: "sendmsg",
        47: "recvmsg", 48: "shutdown", 55: "getsockopt", 72: "fcntl", 292: "dup3", 299: "recvmmsg",
        307: "sendmmsg", 436: "close_range",
    },
    "aarch64": {
        23: "dup", 24: "dup3", 25: "fcntl", 57: "close", 63: "read", 64: "write", 65: "readv",
        66: "writev", 71: "sendfile", 198: "socket", 203: "connect", 206: "sendto",
        207: "recvfrom", 209: "getsockopt", 210: "shutdown", 211: "sendmsg", 212: "recvmsg",
        243: "recvmmsg", 269: "sendmmsg", 436: "close_range",
    },
}  # fmt: skip

ESSENTIAL = frozenset({"processes", "states", "syscalls"})


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


def mismatch(attachment: Attachment, text: str) -> str:
    """Why `attachment` does not fit the format file `text`; empty when it does."""
    fields = format_fields(text)
    for name, offset, size in attachment.fields:
        if fields.get(name) != (offset, size):
            return f"{attachment.event}.{name} is not where the probe looks for it"
    return ""
