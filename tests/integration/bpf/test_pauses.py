"""Pauses: stretches in which no thread ran, told by what ended them; and their sums."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import support_probe as kernel
from support import in_a_calm_moment, require
from support_cgroup import cpu_quota

from lambdatrace import wire

MS = 1_000_000
# Of some 50 in which a process waits for its limit: both CPUs must have been, nearly all the time.
IDLE_TICKS = 70
WAIT_MS = 50
# Between any two looks at a clock the scheduler may come.
SLACK_NS = 5 * MS
# Another process sleeps, and may have begun before it was waited for.
OF_ANOTHER = ("wait4", "flock")
IDLE = [f"idle_{name}" for name in wire.WAITS[1:8]]


class Paused:
    """What programs/waits.py told, and what the probe saw."""

    def __init__(self, way: str, folder: Path, wait_ms: int = WAIT_MS, **options: Any) -> None:
        with kernel.watching(**options) as watch:
            ran = kernel.run(
                [sys.executable, "-S", kernel.PROGRAMS / "waits.py", way, str(wait_ms), folder]
            )
            self.connections = watch.connections()
            [self.end] = [edge for edge in watch.ends() if not edge.parent]
            assert not any(watch.probe.lost())
        self.all = watch.pauses
        self.told = json.loads(ran.stdout)

    @property
    def longest(self) -> wire.PauseRecord:
        """The longest while it was timed."""
        timed = [each for each in self.all if each.ended >= self.told["before"]]
        return max(timed, key=lambda each: each.ended - each.started)


def idle(edge: wire.EdgeRecord) -> dict[str, int]:
    return {name[5:]: getattr(edge, name) for name in IDLE}


@pytest.mark.parametrize(
    ("way", "waits", "ops"),
    [
        ("nanosleep", "sleep", {"nanosleep", "clock_nanosleep"}),
        ("poll", "poll", {"poll", "ppoll"}),
        ("epoll", "poll", {"epoll_wait", "epoll_pwait"}),
        ("selects", "poll", {"select", "pselect6"}),
        # Who ends the wait of another thread, or of a parent, was asleep itself until then: the
        # pause is over when it wakes up.
        ("in_a_thread", "sleep", {"nanosleep", "clock_nanosleep"}),
        ("futex", "sleep", {"nanosleep", "clock_nanosleep"}),
        ("wait4", "sleep", {"nanosleep", "clock_nanosleep"}),
        ("flock", "sleep", {"nanosleep", "clock_nanosleep"}),
    ],
)
def test_a_pause_goes_by_what_the_thread_that_was_woken_had_waited_in(
    tmp_path: Path, way: str, waits: str, ops: set[str]
) -> None:
    paused = Paused(way, tmp_path)
    longest = paused.longest
    assert wire.WAITS[longest.waits] == waits
    assert wire.OPS[longest.op] in ops
    assert longest.ended - longest.started >= WAIT_MS * MS * 0.7
    if way not in OF_ANOTHER:
        assert longest.started >= paused.told["before"] - SLACK_NS
    assert longest.ended <= paused.told["after"]
    assert (longest.connection, bool(longest.tid), longest.branch) == (0, True, paused.end.branch)
    assert idle(paused.end)[waits] >= longest.ended - longest.started


def test_a_lock_that_a_stranger_holds(tmp_path: Path) -> None:
    import fcntl

    held = tmp_path / "held"
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX)"
    with held.open("w") as file, kernel.watching() as watch:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.3, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        kernel.run([sys.executable, "-S", "-c", script, held])
        [end] = watch.ends()
    longest = max(watch.pauses, key=lambda each: each.ended - each.started)
    assert (wire.WAITS[longest.waits], wire.OPS[longest.op]) == ("lock", "flock")
    assert idle(end)["lock"] >= longest.ended - longest.started > 100 * MS


def test_what_a_connection_kept_waiting_names_it(tmp_path: Path) -> None:
    import socket

    script = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "s.sendall(b'question'); s.recv(10)"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener, kernel.watching() as watch:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(100)
                time.sleep(0.1)
                peer.sendall(b"answer")

        server = threading.Thread(target=answer)
        server.start()
        kernel.run([sys.executable, "-S", "-c", script, str(listener.getsockname()[1])])
        server.join()
        [connection] = watch.connections()
        [end] = watch.ends()
    longest = max(watch.pauses, key=lambda each: each.ended - each.started)
    assert (wire.WAITS[longest.waits], wire.OPS[longest.op]) == ("network", "recvfrom")
    assert longest.connection == connection.id
    assert connection.first_out <= longest.started <= longest.ended <= connection.first_in
    assert idle(end)["network"] >= longest.ended - longest.started >= 90 * MS


@in_a_calm_moment
def test_who_has_no_cpu_pauses_too(tmp_path: Path) -> None:
    """Two processes on one CPU: one is watched, and waits for its turns."""
    program = kernel.compiled("busy.c", tmp_path)
    cpu = str(max(os.sched_getaffinity(0)))
    rival = os.spawnl(os.P_NOWAIT, program, "busy", "1", "400", cpu, "0")
    try:
        with kernel.watching(threshold_ns=MS) as watch:
            kernel.run([program, "1", "200", cpu, "0"])
            [end] = [edge for edge in watch.ends() if edge.tgid != rival]
    finally:
        os.waitpid(rival, 0)
    turns = [each for each in watch.pauses if each.waits == wire.WAITS_RUNQUEUE]
    waited = sum(each.ended - each.started for each in turns)
    assert turns
    assert waited <= end.runqueue_wall + SLACK_NS
    # The rival was on it.
    assert not any(each.idle for each in turns)


@in_a_calm_moment
def test_who_has_used_up_its_cpu_limit_waits_beside_an_idle_cpu(tmp_path: Path) -> None:
    script = (
        "import sys, time; open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
        "while time.thread_time() < 0.1: pass"
    )
    for _ in range(20):
        before = idle_ticks()
        with cpu_quota(0.2) as limit, kernel.watching(threshold_ns=MS) as watch:
            kernel.run([sys.executable, "-S", "-c", script, limit.path])
            watch.drain()
        turns = [each for each in watch.pauses if each.waits == wire.WAITS_RUNQUEUE]
        longest = max(turns, key=lambda each: each.ended - each.started)
        was_idle = idle_ticks() - before > IDLE_TICKS
        if longest.idle or was_idle:
            break
    else:
        require(False, "this machine is too busy: no CPU was idle")
    assert longest.idle
    assert longest.ended - longest.started >= 40 * MS


def idle_ticks() -> int:
    """How long the machine's CPUs have been idle, in ticks (user_hz)."""
    line = Path("/proc/stat").read_text().partition("\n")[0]
    return int(line.split()[4])


@pytest.mark.parametrize("way", ["nanosleep", "futex", "wait4", "epoll", "many"])
def test_the_sums_leave_nothing_out(tmp_path: Path, way: str) -> None:
    end = Paused(way, tmp_path).end
    told = end.cpu_wall + end.runqueue_wall + sum(idle(end).values())
    life = end.time - end.born
    assert told <= life + SLACK_NS
    # What they do not tell is waiting in pipes and the like: there is next to none of it.
    assert told >= life * 0.9 - SLACK_NS


def test_pauses_do_not_overlap(tmp_path: Path) -> None:
    pauses = sorted(Paused("futex", tmp_path).all, key=lambda each: each.started)
    assert all(one.ended <= other.started for one, other in itertools.pairwise(pauses))


def test_what_comes_on_top_is_counted_and_not_told(tmp_path: Path) -> None:
    paused = Paused("many", tmp_path, 20 * 3, most_pauses=5)
    asleep = [each for each in paused.all if each.waits != wire.WAITS_RUNQUEUE]
    assert len(asleep) == 5
    assert paused.end.folded_pauses > 0


def test_without_a_threshold_there_are_none(tmp_path: Path) -> None:
    paused = Paused("nanosleep", tmp_path, capture=frozenset({"cpu"}))
    assert paused.all == []
    # And the sums are there all the same.
    assert paused.end.idle_sleep >= WAIT_MS * MS * 0.9


def test_a_pause_that_goes_on_is_read_from_the_kernel(tmp_path: Path) -> None:
    import subprocess

    with kernel.watching() as watch:
        script = "print(flush=True); import time; time.sleep(20)"
        command = [sys.executable, "-S", "-c", script]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        try:
            child.stdout.readline()
            time.sleep(0.2)
            [branch] = watch.branches()
            now = time.monotonic_ns()
            pause = watch.probe.pause(branch, now)
            figures = watch.probe.figures(branch, now)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
    assert pause is not None
    assert figures is not None
    assert (wire.WAITS[pause.waits], pause.tgid) == ("sleep", child.pid)
    assert pause.tid == child.pid
    assert pause.ended - pause.started >= 100 * MS
    assert figures.idle_sleep >= pause.ended - pause.started
    assert watch.probe.pause(branch + 1, now) is None


@pytest.mark.parametrize("cpu", sorted(os.sched_getaffinity(0)))
def test_no_wait_is_missed_however_the_thread_was_woken(cpu: int) -> None:
    """Fifty sleeps beside others on the same CPU; kernels hide some switches (probe_tree.c)."""
    script = "import time\nfor _ in range(50): time.sleep(0.003); sum(range(20_000))"
    command = ["taskset", "-c", str(cpu), sys.executable, "-S", "-c", script]
    with kernel.watching() as watch:
        kernel.run(command)
        [end] = watch.ends()
    asleep = [each for each in watch.pauses if wire.WAITS[each.waits] == "sleep"]
    assert len(asleep) == 50
    assert len([each for each in watch.blocked if each.tid == end.tgid]) >= 50
    told = end.cpu_wall + end.runqueue_wall + sum(idle(end).values())
    assert abs(end.time - end.born - told) <= SLACK_NS
