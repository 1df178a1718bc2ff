"""Other tracers: how each is started on a command, and why one cannot run here.

A rival is a function that runs a command (a list of words) under it, and raises `MissingError`
with the reason where the machine does not let it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lambdatrace.bpf import native, plan
from lambdatrace.bpf.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

READY_S = 30

# The points our own probe is attached to, followed for the tree of the command that bpftrace
# starts (`cpid`), counted into maps. It does less at each than the probe.
_TREE = "/@tree[tid]/"
_BPFTRACE = {
    "task:task_newtask": f"{_TREE} {{ @tree[args->pid] = 1; }}",
    "sched:sched_process_exit": f"{_TREE} {{ delete(@tree[tid]); delete(@entered[tid]); }}",
    "sched:sched_switch": "/@tree[args->prev_pid] || @tree[args->next_pid]/ "
    "{ @on[args->next_pid] = nsecs; @cpu[args->prev_pid] = sum(nsecs - @on[args->prev_pid]); }",
    "sched:sched_wakeup": "/@tree[args->pid]/ { @woken[args->pid] = nsecs; }",
    "raw_syscalls:sys_enter": f"{_TREE} {{ @entered[tid] = nsecs; }}",
    "raw_syscalls:sys_exit": f"{_TREE} "
    "{ @calls[args->id] = count(); @ns[args->id] = sum(nsecs - @entered[tid]); }",
}
# r0 = 0; exit (struct bpf_insn, include/uapi/linux/bpf.h)
_RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")
_OTHERWISE = f"{_TREE} {{ @events[probe] = count(); }}"


class MissingError(Exception):
    """Why a rival cannot run here."""


def bpftrace_text() -> str:
    """The bpftrace program, with one clause for each tracepoint of the probe's plan."""
    points = dict.fromkeys(f"{entry.category}:{entry.event}" for entry in plan.PLAN)
    clauses = [f"tracepoint:{name} {_BPFTRACE.get(name, _OTHERWISE)}" for name in points]
    return "\n".join(["BEGIN { @tree[cpid] = 1; }", *clauses, ""])


def strace(*options: str) -> Callable[[Sequence[str]], None]:
    """`strace -f` with `options`."""

    def run(command: Sequence[str]) -> None:
        _run("strace", "-f", *options, "-o", "/dev/null", *command)

    return run


def bpftrace(command: Sequence[str]) -> None:
    """The same points as the probe's. Words with spaces in them are more than it can start."""
    with tempfile.NamedTemporaryFile("w", suffix=".bt") as file:
        file.write(bpftrace_text())
        file.flush()
        _run("bpftrace", "-c", " ".join(command), file.name)


def empty_probe(command: Sequence[str]) -> None:
    """Two programs that do nothing on the raw tracepoints of syscalls: what no probe can go below.

    Every syscall of every process takes the kernel's slow way in and out while they are attached.
    """
    kernel = Kernel()
    descriptors = []
    try:
        place = native.address(_RETURN_ZERO)
        for event in ("sys_enter", "sys_exit"):
            program = kernel.load(plan.RAW_TRACEPOINT, "empty", place, len(_RETURN_ZERO) // 8)
            if program < 0:
                raise MissingError("the kernel refuses an empty program")
            descriptors.append(program)
            link = kernel.attach_raw(program, event)
            if link < 0:
                raise MissingError(f"the kernel refuses a program on {event}")
            descriptors.append(link)
        subprocess.run(command, check=True)
    finally:
        for fd in reversed(descriptors):
            os.close(fd)


def beside(*tools: str) -> Callable[[Sequence[str]], None]:
    """Bcc's `tools`, which watch the whole machine, next to the command."""

    def run(command: Sequence[str]) -> None:
        with contextlib.ExitStack() as stack:
            for tool in tools:
                stack.enter_context(_started(tool))
            subprocess.run(command, check=True)

    return run


def why_not(rival: Callable[[Sequence[str]], None]) -> str:
    """Empty, or the reason why `rival` cannot run here."""
    try:
        rival(["/bin/true"])
    except MissingError as reason:
        return str(reason)
    return ""


def _run(program: str, *words: str) -> None:
    _find(program)
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(_last_line(done.stderr))


@contextlib.contextmanager
def _started(tool: str) -> Iterator[None]:
    """`tool`, from the line that it prints when it is attached until it is interrupted."""
    _find(tool)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen([tool], stdout=out, stderr=err, env=unbuffered)
        try:
            until = time.monotonic() + READY_S
            while b"PID" not in _read(out):
                if process.poll() is not None or time.monotonic() > until:
                    raise MissingError(_last_line(_read(err).decode()))
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(READY_S)


def _find(program: str) -> None:
    if shutil.which(program) is None:
        raise MissingError("not installed (tools/rivals.sh)")


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _last_line(text: str) -> str:
    if "kprobe" in text and not Path("/sys/kernel/tracing/kprobe_events").exists():
        return "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:100] if lines else "it ended without a word"
