"""`python -m lambdatrace.agent.run JSON`: trace one command as one execution.

Started by `lambdatrace run`, which knows neither probe nor bcc. The JSON object says what to do:
    command    [program, argument, ...]
    name, store
    environ    {environment variable: what it is for the agent, whatever the command has}
    report_fd  where one line of JSON goes at the end: {"execution_id", "exit_code", "summary",
               "lost": items not stored} or, when nothing was run, {"error", "hint", "exit_code"}
The command inherits everything else as it is: environment, standard streams, terminal.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import time

from lambdatrace.agent import attribution, keep
from lambdatrace.agent.log import log
from lambdatrace.agent.recorder import Recorder
from lambdatrace.agent.settings import Settings
from lambdatrace.agent.writer import open_writer
from lambdatrace.bpf.loader import EVENTS_RING, Probe
from lambdatrace.errors import LambdatraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PROCESS = "process"

# What shells answer for a command that cannot be started, and for one that a signal ended.
NOT_FOUND = 127
NOT_EXECUTABLE = 126
SIGNALLED = 128

# About 2 kB each: no function has to make room for them here.
MAX_CONNECTIONS = 100_000
# What the kernel may write of a kind: fewer than are kept, because each connection brings its
# latest exchange with it, and one too many would be told as a loss instead of being folded.
MAX_RECORDS = 50_000
MAX_TEXTS = 20_000
WRITE_BUDGET_S = 10.0  # nobody is billed for waiting here
_HANDED_ON = (signal.SIGTERM, signal.SIGHUP)
_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGKILL}
)


class Tracing:
    """One command and the records of what it and its children do."""

    def __init__(self, settings: Settings) -> None:
        """Load the probe. Raises LambdatraceError."""
        self._writer = open_writer(settings.store, settings.environ)
        self._writer.prepare(time.monotonic() + WRITE_BUDGET_S)
        self._probe = Probe.load(
            record_syscalls=settings.level == "syscalls",
            root=os.getpid(),
            events_ring=4 * EVENTS_RING,
            scale=8,
            capture=frozenset(settings.capture),
            threshold_ns=settings.threshold_ns,
            most_exchanges=MAX_RECORDS,
            most_blocked=MAX_RECORDS,
            most_texts=MAX_TEXTS,
        )
        self._recorder = Recorder(self._probe, settings)
        self._attribution = attribution.Attribution(MAX_CONNECTIONS)

    def run(self, command: Sequence[str]) -> dict[str, Any]:
        """Run the command to its end and store its execution; returns the report.

        Raises LambdatraceError when the command cannot be started.
        """
        started = time.monotonic_ns()
        cut = self._attribution.begin(_new_id(), started, PROCESS)
        pid = _start(command)
        status = self._wait(pid)
        self._attribution.feed(self._recorder.drain())
        exit_code, how = _exit_code(status), _status(status)
        self._attribution.end(cut, how, time.monotonic_ns())
        # The command is the only branch, and its end has told its figures.
        cut.figures = cut.own_end()
        text = " ".join(command)
        # Whoever runs a command wants to see it: all is kept, and written at once.
        summary, items = self._recorder.pack(
            cut, keep=keep.ALL, command=text[:1000], exit_code=exit_code
        )
        lost = self._writer.write(items, time.monotonic() + WRITE_BUDGET_S)
        if lost:
            log(f"{lost} of {len(items)} items were not stored: {self._writer.last_error}")
        return {
            "execution_id": cut.request_id,
            "exit_code": exit_code,
            "summary": summary,
            "lost": lost,
        }

    def _wait(self, pid: int) -> int:
        """Drain the rings until the command ends; returns its wait status."""
        child = os.pidfd_open(pid)
        for number in _HANDED_ON:
            signal.signal(number, lambda received, _: signal.pidfd_send_signal(child, received))
        # A signal that comes just before poll() waits makes it return all the same.
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        poll = select.poll()
        for fd in (child, woken, self._probe.events_fd, self._probe.syscalls_fd):
            poll.register(fd, select.POLLIN)
        ended = False
        while not ended:
            ready = [fd for fd, _ in poll.poll()]
            ended = child in ready
            if woken in ready:
                os.read(woken, 64)
            if self._probe.events_fd in ready:
                self._attribution.feed(self._recorder.drain())
            elif self._probe.syscalls_fd in ready:
                self._recorder.drain_syscalls()
        # There is nobody to hand one on to any more, and what was seen is yet to be written.
        for number in _HANDED_ON:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        for fd in (child, woken, wake):
            os.close(fd)
        return os.waitpid(pid, 0)[1]


def _start(command: Sequence[str]) -> int:
    """Fork and exec; returns the pid. Raises LambdatraceError when exec fails."""
    told, tell = os.pipe()
    # Until they can be handed on they wait: without this process nobody would end the command.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    pid = os.fork()
    if pid == 0:
        try:
            # As a shell would start it: not with what this process ignores or catches.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
            os.execvp(command[0], list(command))  # noqa: S606  # the user's own command
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(NOT_FOUND)
    os.close(tell)
    answer = os.read(told, 16)
    os.close(told)
    if answer:
        os.waitpid(pid, 0)
        code = int(answer)
        failure = LambdatraceError(
            f"cannot run {command[0]!r}: {os.strerror(code)}",
            "give the command after --, as in: lambdatrace run -- python3 app.py",
        )
        failure.exit_code = NOT_FOUND if code == errno.ENOENT else NOT_EXECUTABLE
        raise failure
    return pid


def _exit_code(status: int) -> int:
    if os.WIFSIGNALED(status):
        return SIGNALLED + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _status(status: int) -> str:
    if status == 0:
        return attribution.OK
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _CRASHES:
        return attribution.CRASH
    return attribution.ERROR


def _new_id() -> str:
    """A random id in the form of Lambda's request ids (RFC 4122, version 4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def main() -> int:
    """Do what the argument says; returns the exit code."""
    wanted = json.loads(sys.argv[1])
    report_fd = wanted["report_fd"]
    os.set_inheritable(report_fd, False)
    # The terminal sends these to the whole foreground group: they are the command's.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    settings = Settings(
        {
            **os.environ,
            "AWS_LAMBDA_FUNCTION_NAME": wanted["name"],
            "AWS_LAMBDA_FUNCTION_VERSION": "",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "",
            **wanted["environ"],
        }
    )
    settings.store = wanted["store"]
    try:
        report = Tracing(settings).run(wanted["command"])
    except LambdatraceError as error:
        report = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
    os.write(report_fd, json.dumps(report).encode() + b"\n")
    os.close(report_fd)
    # Detaching from the kernel takes half a second (an RCU grace period for each tracepoint).
    # Nobody has to wait for that, nor for the streams this process shares with the command.
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    return int(report["exit_code"])


if __name__ == "__main__":
    sys.exit(main())
