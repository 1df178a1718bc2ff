"""The kernel's own log (tracefs) of a program's syscalls: what it waited for, and how long.

Between a packet and the program that waits for it stands the scheduler, and on a virtual machine
the scheduler of its host. Neither the capture nor the probe has a part in this log: it tells a
program that was kept from reading from a probe that is wrong.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from support import require

from lambdatrace.bpf import plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TRACEFS = Path("/sys/kernel/tracing")
_BUFFER_KB = "16384"  # of each CPU
_SENDING = {"sendto", "sendmsg", "sendmmsg", "write", "writev"}
_RECEIVING = {"recvfrom", "recvmsg", "recvmmsg", "read", "readv"}
_WAITING = _RECEIVING | {
    *("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2")
}
_LINE = re.compile(
    r"-(\d+) +\[.* (\d+)\.(\d{6}): sys_(?:enter: NR (\d+) \((\w+)|exit: NR \d+ = (-?\d+))"
)
# The log's times are in µs, and two clocks are not read at one moment.
_CLOCK_ERROR_NS = 20_000


class Call(NamedTuple):
    """One syscall; times are ns on the wall clock."""

    began: int
    ended: int
    name: str
    fd: int
    result: int


class Calls:
    """The calls of each thread, in order."""

    def __init__(self) -> None:
        self._of: dict[int, list[Call]] = defaultdict(list)

    def read(self, text: str, offset: int) -> None:
        """Take in a log; `offset`: wall clock minus the log's, ns."""
        assert "LOST" not in text, "the kernel's log is too small"
        names = plan.SYSCALL_NUMBERS[os.uname().machine]
        inside: dict[int, tuple[int, str, int]] = {}
        for line in text.splitlines():
            if not (match := _LINE.search(line)):
                continue
            thread = int(match[1])
            moment = int(match[2]) * 10**9 + int(match[3]) * 1000 + offset
            if match[4]:
                inside[thread] = (moment, names.get(int(match[4]), ""), int(match[5], 16))
            elif thread in inside:
                began, name, fd = inside.pop(thread)
                self._of[thread].append(Call(began, moment, name, fd, int(match[6])))

    def waited(self, thread: int, fd: int, sent: int, answered: int, whole: bool) -> float | None:
        """How long, in ms, this thread waited for an answer, from the call that sent a packet at
        `sent`, or if `whole` from its begin, to the end of the call that read what came at
        `answered`. None if it did not wait when that came, but did something else.
        """
        calls = self._of[thread]
        asked = [
            call for call in calls
            if call.name in _SENDING and call.fd == fd
            and call.began - _CLOCK_ERROR_NS <= sent <= call.ended + _CLOCK_ERROR_NS
        ]  # fmt: skip
        rest = calls[bisect_left(calls, answered, key=lambda call: call.ended) :]
        read = [c for c in rest if c.name in _RECEIVING and c.fd == fd and c.result > 0]
        waits = rest and rest[0].name in _WAITING
        if not asked or not read or not waits or rest[0].began > answered + _CLOCK_ERROR_NS:
            return None
        return (read[0].ended - (asked[0].began if whole else asked[0].ended)) / 1e6


@contextlib.contextmanager
def logging(words: Sequence[str]) -> Iterator[tuple[list[str], Calls]]:
    """A command line that runs `words` under the log, and the log, filled in at the end."""
    require((_TRACEFS / "instances").is_dir(), f"no tracefs in {_TRACEFS}")
    found = Calls()
    folder = _TRACEFS / "instances" / f"lambdatrace-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "trace_clock").write_text("mono")
        (folder / "buffer_size_kb").write_text(_BUFFER_KB)
        (folder / "options/event-fork").write_text("1")
        (folder / "events/raw_syscalls/enable").write_text("1")
        join = f'echo $$ >{folder}/set_event_pid && exec "$@"'
        yield ["sh", "-c", join, "sh", *words], found
        (folder / "tracing_on").write_text("0")
        found.read((folder / "trace").read_text(), time.time_ns() - time.monotonic_ns())
    finally:
        (folder / "events/enable").write_text("0")
        folder.rmdir()
