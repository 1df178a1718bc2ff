"""The registered process: asks for the next event and watches the worker, and nothing else.

Lambda fails the invocation when a registered extension dies, so whatever can fail happens in the
worker it forks. It also keeps the probe's descriptors: the kernel goes on sensing while a worker
that died is replaced, and the new one adopts what is there.
"""

from __future__ import annotations

import os
import select
import time

from lambdatrace.agent import channel as channels
from lambdatrace.agent.http import HttpError
from lambdatrace.agent.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lambdatrace.agent.channel import Channel
    from lambdatrace.agent.extensions_api import ExtensionsApi
    from lambdatrace.agent.settings import Settings

_SIGKILL = 9  # importing signal would cost 6 ms of CPU, for enum
# Signals that are left as they are: SIGCHLD's default lets the worker be waited for, SIGCONT's lets
# go on who was stopped, and the others tell of this very process's own faults, or cannot be refused
# (ILL, TRAP, ABRT, BUS, FPE, KILL, SEGV, STOP, SYS).
_LEFT_SIGNALS = frozenset((4, 5, 6, 7, 8, 9, 11, 17, 18, 19, 31))

# Seconds.
READY_BUDGET_S = 5.0  # of Lambda's ten for init
SHUTDOWN_BUDGET_S = 2.0  # what Lambda grants when it does not say
# Who has not asked for `next` by the deadline has failed the invocation, whatever the function did.
BEFORE_DEADLINE_S = 0.02
# How long a worker may take to write an execution that has ended; its own budgets are shorter.
WRITTEN_BUDGET_S = 4.0
# Invocations that a worker is told of which takes over.
MAX_KNOWN = 16
# How long an event is left alone. The runtime is told at the same moment, and has better things to
# do than to share a CPU: without this, bench/latency.py's median response came 1.7 % later.
STAND_BACK_S = 0.002
# How long the process that holds the descriptors last waits for this one to be gone.
LEAVE_BUDGET_S = 2.0
LEAVE_POLL_S = 0.005
RETRY_S = 0.05
RETRIES = 100
# Workers in a row that died before they finished a single execution.
MAX_DEATHS = 3


class Supervisor:
    """The worker's life, seen from outside."""

    def __init__(self, settings: Settings, close_in_child: Callable[[], None]) -> None:
        self._settings = settings
        self._close_in_child = close_in_child
        self._root = os.getppid()
        self._channel: Channel | None = None
        self._pid = 0
        self._layout: dict[str, Any] | None = None
        self._descriptors: list[int] = []
        self._deaths = 0
        self._given_up = False
        self._unanswered = ""  # request id
        self._waiting = 0  # executions that only the worker's memory holds
        self._lost = 0  # those of workers that died, until one has told of them
        self._known: list[str] = []  # the latest invocations' ids
        self._ended: dict[str, Any] | None = None  # of an execution that is being written
        self._previous_end = 0  # of the one before the latest (ns, the records' clock); 0: unknown
        self._sees_runtime = True
        self.event_ns = 0  # when the latest event came (time.monotonic_ns)

    def start(self) -> None:
        """Fork a worker and wait until it senses or has said why it cannot."""
        until = time.monotonic() + READY_BUDGET_S
        while self._channel is None and not self._given_up:
            self._fork(None, until)

    def invoke(self, event: dict[str, Any], at_ns: int) -> None:
        """Tell the worker of an invocation and wait until it has written, or given up on, it.

        A worker that dies meanwhile is replaced: that is cheap, because the probe is still loaded,
        and the function goes on.
        """
        invocation: dict[str, Any] = {
            "event": "INVOKE",
            "request_id": str(event.get("requestId", "")),
            "deadline_ms": int(event.get("deadlineMs", 0)),
            "at_ns": at_ns,
            "tracing": str(event.get("value", "")),
        }
        self._known = [*self._known, invocation["request_id"]][-MAX_KNOWN:]
        self._previous_end = self._ended["ended"] if self._ended is not None else 0
        self._ended = None
        left = invocation["deadline_ms"] / 1000 - time.time()
        until = time.monotonic() + left - BEFORE_DEADLINE_S
        self._tell(invocation)
        while not self._given_up:
            if self._channel is None:
                self._fork(invocation, min(until, time.monotonic() + READY_BUDGET_S))
            if self._channel is not None:
                try:
                    self._await_done(invocation["request_id"], until)
                    return
                except channels.Closed:
                    self._bury(f"during {invocation['request_id']}")
            if time.monotonic() >= until:
                return

    def watch(self, answer: int) -> None:
        """Look after the worker until there is something to read on the descriptor `answer`.

        For an environment in which the next event is SHUTDOWN, and nothing else tells of a death.
        """
        while True:
            poll = select.poll()
            poll.register(answer, select.POLLIN)
            if self._channel is not None:
                poll.register(self._channel, select.POLLIN)
            ready = [fd for fd, _ in poll.poll()]
            if answer in ready:
                self.event_ns = time.monotonic_ns()
                return
            self._listen()

    def stand_back(self, answer: int) -> None:
        """Wait until there is something to read on the descriptor `answer`, and a moment more."""
        poll = select.poll()
        poll.register(answer, select.POLLIN)
        poll.poll()
        self.event_ns = time.monotonic_ns()
        time.sleep(STAND_BACK_S)

    def _listen(self) -> None:
        """The worker has said something, or has ended."""
        if self._channel is None:
            return
        try:
            received = self._channel.receive(time.monotonic())
            if received is not None:
                self._note_waiting(received[0])
                self._deaths = 0
        except channels.Closed:
            self._bury("while it was waiting")
        while self._channel is None and not self._given_up:
            self._fork(None, time.monotonic() + READY_BUDGET_S)

    def shut_down(self, event: dict[str, Any]) -> None:
        """Let the worker write the rest within the time the platform grants."""
        if self._channel is None:
            return
        now_ms = time.time() * 1000
        deadline_ms = int(event.get("deadlineMs") or now_ms + SHUTDOWN_BUDGET_S * 1000)
        message = {
            "event": "SHUTDOWN",
            "reason": str(event.get("shutdownReason", "")),
            "deadline_ms": deadline_ms,
        }
        until = time.monotonic() + (deadline_ms - now_ms) / 1000
        try:
            self._channel.send(message)
            while self._channel.receive(until):
                pass
        except channels.Closed:
            status = self._reap()
            if status:
                log(f"the worker ended early ({_ending(status)}){self._count_lost()}")

    def leave(self) -> None:
        """Let this process end at once, and the kernel detach the probe in its own time.

        Detaching waits for an RCU grace period for each tracepoint: half a second in all, more on a
        busy machine, and whoever holds the last descriptors waits. After a crash the platform
        starts the function anew only when its extensions have ended.
        """
        if self._layout is None:
            return
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            return  # it takes longer
        if pid:
            return
        # Who waits for the extension may wait for its streams, too.
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        self._close_in_child()
        until = time.monotonic() + LEAVE_BUDGET_S
        while os.getppid() == parent and time.monotonic() < until:
            time.sleep(LEAVE_POLL_S)
        os._exit(0)

    def _tell(self, invocation: dict[str, Any]) -> None:
        if self._channel is None:
            return
        try:
            if self._unanswered:
                self._await_done(self._unanswered, time.monotonic())
            if self._unanswered:
                # The platform would not have come back before the function had ended.
                self._end_worker(f"the worker did not answer for {self._unanswered}")
                return
            self._channel.send(invocation)
        except channels.Closed:
            self._bury("between executions")

    def _await_done(self, request_id: str, until: float) -> None:
        """Wait for the worker's word until `until` (s, time.monotonic). Raises channel.Closed."""
        self._unanswered = request_id
        while self._channel is not None:
            received = self._channel.receive(until)
            if received is None:
                return
            message = received[0]
            self._note_waiting(message)
            ended = message.get("ended")
            if ended is not None and ended["request_id"] == request_id:
                # The response is out. However long the function may take, writing takes no longer.
                self._ended = ended
                until = min(until, time.monotonic() + WRITTEN_BUDGET_S)
            if message.get("done") == request_id:
                self._unanswered = ""
                self._sees_runtime = message["sees_runtime"]
                self._deaths = 0
                return

    def _note_waiting(self, message: dict[str, Any]) -> None:
        self._waiting = message.get("waiting", self._waiting)
        if message.get("waiting") == 0:
            self._lost = 0  # everything is where it belongs, what was told of losses, too

    def _fork(self, invocation: dict[str, Any] | None, until: float) -> None:
        """One attempt at a worker that is ready by `until` (s, time.monotonic)."""
        try:
            mine, its = channels.pair()
            pid = os.fork()
        except OSError as error:
            log(f"there is no room for a worker: {error.strerror}")
            self._count_death()
            return
        if pid == 0:
            mine.close()
            self._close_in_child()
            self._be_worker(its, invocation)
        its.close()
        self._channel, self._pid = mine, pid
        try:
            received = mine.receive(until)
        except channels.Closed:
            self._bury("before it was ready")
            return
        if received is None:
            self._end_worker("the worker was not ready in time")
            # Nothing that runs already can be traced from the start.
            self._given_up = self._given_up or self._layout is None
            return
        message, descriptors = received
        if not message["ready"]:
            self._end_worker(f"this environment is not traced: {message['why']}")
            self._given_up = True
        elif self._layout is None:
            self._layout, self._descriptors = message["layout"], descriptors
        else:
            for fd in descriptors:
                os.close(fd)

    def _be_worker(self, channel: Channel, invocation: dict[str, Any] | None) -> None:
        """In the child; never returns."""
        code = 1
        try:
            # Not before the fork: the registered process stays small and has nothing to fail on.
            from lambdatrace.agent import worker

            adopted = None
            if self._layout is not None:
                adopted = self._descriptors, self._layout
            if invocation is not None:
                invocation["sees_runtime"] = self._sees_runtime
                invocation["known"] = self._known
                invocation["ended"] = self._ended
                invocation["previous_end"] = self._previous_end
            worker.main(channel, self._settings, self._root, adopted, invocation, self._lost)
            code = 0
        except channels.Closed:
            code = 0
        except BaseException as error:  # noqa: BLE001  # a trace is lost, never an invocation
            log(f"the worker failed: {type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def _bury(self, when: str) -> None:
        status = self._reap()
        why = f"the worker ended {when} ({_ending(status)}); the function is not affected"
        log(why + self._count_lost())
        self._count_death()

    def _end_worker(self, why: str) -> None:
        self._reap()
        log(why + self._count_lost())
        self._count_death()

    def _count_lost(self) -> str:
        """Remember what a worker has taken with it; returns a few words about it, or none."""
        count, self._waiting = self._waiting, 0
        self._lost += count
        return f"; executions that waited in it to be written: {count}" if count else ""

    def _reap(self) -> int:
        if self._channel is not None:
            self._take_last_words(self._channel)
            self._channel.close()
        self._channel = None
        self._unanswered = ""
        # Not reaped yet, so the pid is still its own. Who is ending already keeps its status.
        os.kill(self._pid, _SIGKILL)
        return os.waitpid(self._pid, 0)[1]

    def _take_last_words(self, channel: Channel) -> None:
        """What it said of what waits, and nobody has read yet."""
        try:
            while (received := channel.receive(time.monotonic())) is not None:
                message, descriptors = received
                self._note_waiting(message)
                for fd in descriptors:
                    os.close(fd)
        except channels.Closed:
            return

    def _count_death(self) -> None:
        self._deaths += 1
        if self._deaths >= MAX_DEATHS and not self._given_up:
            self._given_up = True
            log(f"{self._deaths} workers ended in a row: this environment is no longer traced")


def run(api: ExtensionsApi, supervisor: Supervisor, *, managed: bool = False) -> int:
    """Serve events until SHUTDOWN; returns the exit code.

    `managed`: Lambda Managed Instances, where an extension may ask for no other event.
    """
    if "SHUTDOWN" in api.events:  # who is not told of the end is ended by a signal
        stand_firm()
    if os.getppid() == 0:
        log("the platform's process is outside this pid namespace: nothing can be traced from here")
    supervisor.start()
    api.register(invocations=not managed)
    wait = supervisor.watch if managed else supervisor.stand_back
    failures = 0
    while failures < RETRIES:
        try:
            event = api.next(wait)
        except HttpError as error:
            failures += 1
            if failures == 1:
                log(f"the Extensions API does not answer: {error}")
            time.sleep(RETRY_S)
            continue
        failures = 0
        if event.get("eventType") == "SHUTDOWN":
            supervisor.shut_down(event)
            supervisor.leave()
            return 0
        try:
            supervisor.invoke(event, supervisor.event_ns)
        except Exception as error:  # noqa: BLE001  # `next` is asked for, whatever happens
            log(f"an invocation is not traced: {type(error).__name__}: {error}")
    return 1


def stand_firm() -> None:
    """Ignore each signal that may be ignored; a worker inherits that.

    The function is the same user, and may signal whomever it can reach (`kill -1`, `pkill python`).
    Without this its extension would end with it, and Lambda fails the invocation for that. Lambda
    itself ends extensions by an event, and by SIGKILL.
    """
    import _signal  # type: ignore[import-not-found]  # `signal` without its enums

    for number in _signal.valid_signals() - _LEFT_SIGNALS:
        try:
            _signal.signal(number, _signal.SIG_IGN)
        except (OSError, ValueError):
            continue  # one that the C library keeps to itself


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"
