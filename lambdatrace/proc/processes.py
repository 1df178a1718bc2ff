"""What /proc tells of processes to whoever runs as their user: tree, sockets, CPU, run queue."""

from __future__ import annotations

import os

from lambdatrace.agent.machine import content, process_cpu

# Of the words behind a process's name in /proc/<pid>/stat, proc(5).
_CHILDREN_USER, _CHILDREN_SYSTEM, _STARTED = 13, 14, 19
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# What Lambda gives a runtime and no extension.
_RUNTIMES_OWN = b"_HANDLER="


def _stat(process_id: int) -> list[bytes]:
    """The words behind the name, which may hold anything; none: it is gone."""
    return content(f"/proc/{process_id}/stat").rpartition(b")")[2].split()


def name_of(process_id: int) -> bytes:
    """What a process is called, 15 bytes at most."""
    return content(f"/proc/{process_id}/comm").rstrip(b"\n")


def tree(process_id: int) -> list[int]:
    """A process and all that descend from it, by generation."""
    found = [process_id]
    for each in found:
        for thread in threads(each):
            listed = content(f"/proc/{each}/task/{thread}/children").split()
            found += [int(word) for word in listed]
    return found


def lists_children() -> bool:
    """Whether this kernel tells whose children are whose (CONFIG_PROC_CHILDREN)."""
    return os.path.exists("/proc/thread-self/children")


def everybody() -> list[int]:
    """All processes there are."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def threads(process_id: int) -> list[int]:
    """The threads of a process; none: it is gone."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{process_id}/task")]
    except OSError:
        return []


def started(process_id: int) -> int:
    """When a process began, in ticks; those of two processes can be compared."""
    words = _stat(process_id)
    return int(words[_STARTED]) if len(words) > _STARTED else 0


def is_ending(process_id: int) -> bool:
    """Whether it has let go of all its descriptors, even the three that everybody has."""
    try:
        return not os.listdir(f"/proc/{process_id}/fd")
    except FileNotFoundError:
        return True
    except OSError:
        return False


def is_at_work(process_id: int) -> bool:
    """Whether any of its threads is on a CPU, could be, or waits for a disk."""
    return any(
        content(f"/proc/{process_id}/task/{thread}/stat").rpartition(b")")[2][1:2] in (b"R", b"D")
        for thread in threads(process_id)
    )


def is_runtime(process_id: int) -> bool:
    """Whether it was started as the function's runtime, or by it.

    Nothing but that is looked for among its variables, and nothing of them is kept.
    """
    variables = content(f"/proc/{process_id}/environ")
    return variables.startswith(_RUNTIMES_OWN) or b"\0" + _RUNTIMES_OWN in variables


def sockets(process_id: int) -> dict[int, int]:
    """Inode -> descriptor of the sockets of a process that may be looked at."""
    found: dict[int, int] = {}
    folder = f"/proc/{process_id}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found[int(target[8:-1])] = int(name)
    return found


class Times:
    """What the threads of a process, and those of its descendants, have had until now; ns.

    `by_thread` is (on a CPU, waiting for one) of each thread that still runs, `cpus` those that any
    of them may use.
    """

    __slots__ = ("by_thread", "cpu", "cpus", "runqueue")

    def __init__(self, process_id: int) -> None:
        self.cpu = 0
        self.runqueue = 0
        self.by_thread: dict[int, tuple[int, int]] = {}
        self.cpus: set[int] = set()
        for each in tree(process_id):
            self.cpu += _cpu(each)
            for thread in threads(each):
                words = content(f"/proc/{each}/task/{thread}/schedstat").split()
                if len(words) > 1:
                    self.by_thread[thread] = int(words[0]), int(words[1])
                    self.runqueue += int(words[1])
                    self.cpus |= _cpus(thread)


def _cpus(thread_id: int) -> set[int]:
    """The CPUs that a thread may use; none: it is gone."""
    try:
        return os.sched_getaffinity(thread_id)
    except OSError:
        return set()


def _cpu(process_id: int) -> int:
    """Ns that a process and the children it has waited for were on a CPU.

    The children's comes in ticks of 10 ms.
    """
    words = _stat(process_id)
    if len(words) <= _CHILDREN_SYSTEM:
        return 0
    waited_for = (int(words[_CHILDREN_USER]) + int(words[_CHILDREN_SYSTEM])) * _TICK_NS
    return (process_cpu(process_id) or 0) + waited_for
