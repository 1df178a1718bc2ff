"""What a worker does once it senses: from each invocation to its execution in the store.

It sleeps while the handler runs; after the response is out it drains, attributes, writes what is
due and says so. worker.py lists the messages.
"""

from __future__ import annotations

import os
import select
import time

from lambdatrace import wire
from lambdatrace.agent import attribution, flush, keep
from lambdatrace.agent.attribution import Attribution
from lambdatrace.agent.authority import Authority
from lambdatrace.agent.delivery import Delivery
from lambdatrace.agent.log import log
from lambdatrace.agent.outbox import Parcel
from lambdatrace.agent.recorder import Recorder, monotonic_deadline
from lambdatrace.agent.spool import Spool
from lambdatrace.agent.summary import clock_offset
from lambdatrace.agent.xray import Traces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.agent.attribution import Cut
    from lambdatrace.agent.channel import Channel
    from lambdatrace.agent.sensor import Sensor
    from lambdatrace.agent.settings import Settings
    from lambdatrace.store.base import Writer

# Seconds.
WRITE_BUDGET_S = 2.0  # after a response: what is billed at worst when the store does not answer
BEFORE_DEADLINE_S = 0.15  # how long before a timeout what is known so far is written
# How long before it writing ends: who does not ask for `next` in time fails the invocation.
DEADLINE_RESERVE_S = 0.05
LATE_START_S = 1.0  # how long after a worker's death the runtime may still have to be told
EXIT_S = 0.005  # how long the kernel may take to close the sockets of a process that ended
SHUTDOWN_RESERVE_S = 0.2  # of the two seconds Lambda grants
# A runtime that ends this shortly before the deadline, or later, was ended by it.
DEADLINE_SLACK_NS = 20_000_000
# Where only INVOKE events cut the stream: by how much the runtime may have been told before.
HEAD_START_NS = 1_000_000
# A fast handler overtakes its own INVOKE event. That is on its way and says until when there is
# time to write, so it is waited for (s).
OVERTAKEN_S = 0.05
# Clocks that part by more than this (s) have been stopped; and how long an INVOKE takes at most to
# arrive afterwards.
THAWED_S = 0.1
# Between two writes that nothing but time has led to (s).
UNASKED_S = 0.5

# SHUTDOWN reasons, in lower case, of an invocation that failed: the platform's, the emulator's.
_FAILURES = ("failure", "releasefail")


class Serving:
    """Serves one registered process until its channel closes.

    `refused` are the backends that were tried in vain; None: a worker before this one has told.
    """

    def __init__(
        self,
        channel: Channel,
        settings: Settings,
        sensor: Sensor,
        writer: Writer,
        refused: list[dict[str, Any]] | None,
    ) -> None:
        first = refused is not None
        self._refused = refused
        self._channel = channel
        self._settings = settings
        self._sensor = sensor
        self._recorder = Recorder(sensor, settings, os.getppid(), is_first=first)
        mode, period, wrong_flush = flush.read(settings.flush)
        policy, wrong_keep = keep.read(settings.keep)
        for wrong in (wrong_flush, wrong_keep):
            if wrong and first:  # a worker that takes over has nothing new to say
                log(wrong)
        self._keep = keep.Keep(policy)
        spool = None
        if settings.spool:
            spool = Spool(settings.spool, settings.store_name, settings.spool_bytes)
        self._delivery = Delivery(writer, flush.FlushPolicy(mode, period), spool)
        self._managed = settings.is_managed
        self._attribution = Attribution(several=self._managed)
        # A worker that takes over does not know which runtimes have served already.
        self._cold = first
        self._warm: set[int] = set()  # branches: where several runtimes start, each does so cold
        self._restores = first and settings.is_snapshot
        self._traces = Traces()
        self._invocation: dict[str, Any] | None = None  # INVOKE not yet answered with "done"
        self._deadline: float | None = None  # when to write what is known (s, time.monotonic)
        self._write_end: float | None = None  # when its writing must have ended (same clock)
        self._deadline_ns = 0  # the invocation's, on the records' clock
        self._authority = Authority(is_told=not self._managed)
        self._has_said_refused = False
        self._has_begun = not first  # the platform has told of an execution
        self._has_lost_runtime = False  # it ended with the latest execution that was stored
        self._resumes = False  # nobody saw how the invocation began, and maybe not how it ended
        self._waiting: dict[str, Any] | None = None  # a message that came in the midst of others
        self._told_waiting = 0  # executions only this process knows of
        self._idle_until = 0.0  # not before then (s, time.monotonic) is anything written unasked
        self._over = False

    def resume(self, invocation: dict[str, Any] | None, lost_executions: int) -> None:
        """Take over from a worker that died, in the middle of `invocation` if there is one.

        `lost_executions` waited in its memory to be written.
        """
        if lost_executions:
            self._recorder.add_losses({"executions": lost_executions})
            self._told_waiting = -1  # also that nothing waits will be news: they have been told
        told_until = time.monotonic_ns()
        if invocation is not None:
            # The runtime may have been told first, and have connected to somebody since.
            began = invocation["at_ns"] - HEAD_START_NS
            told_until = invocation["previous_end"] or began
        for record, exchange in self._recorder.add_gap(told_until):
            self._attribution.keep(record, exchange)
        if invocation is None:
            return
        self._authority.know(invocation["known"])
        self._begin(invocation)
        ended = invocation["ended"]
        if ended is not None:
            # It died while it wrote. What was recorded is gone with it; that it took place is not.
            cut = self._attribution.resume(
                invocation["request_id"], ended["branch"], ended["started"]
            )
            cut.offset = ended["offset"]
            self._finish(self._attribution.end(cut, ended["status"], ended["ended"]))
            return
        self._attribution.begin(invocation["request_id"], began)
        if not (invocation["sees_runtime"] and self._sensor.follows):
            self._answer(invocation["request_id"])
        else:
            self._resumes = True
            self._look_for_end()

    def _look_for_end(self) -> None:
        if self._resumes and self._deadline is not None and self._sensor.runtime_waits():
            # Either it has not been told yet, or the worker that died had read of the response.
            self._resumes = False
            self._deadline = min(self._deadline, time.monotonic() + LATE_START_S)

    def _end_untold(self) -> None:
        """Only an edge tells that an execution is over, and there may have been no room for it."""
        if not self._attribution.open_cuts() or not self._recorder.has_lost():
            return
        # Of several, nobody knows which of them waits.
        if len(self._attribution.runtimes()) != 1 or not self._sensor.runtime_waits():
            return
        self._take_events()  # what it did since the latest time
        for cut in self._attribution.open_cuts():
            if cut.edges == attribution.EXTENSION:
                continue  # it may not have been told of that one
            if cut.answer is not None:
                self._attribution.conclude(cut, cut.answer)
            else:
                self._attribution.end(cut, attribution.UNFINISHED, time.monotonic_ns())
            self._finish(cut)

    def serve(self) -> None:
        """Run until SHUTDOWN. Raises channel.Closed when the registered process is gone."""
        poll = select.epoll()
        channel, events = self._channel.fileno(), self._sensor.events_fd
        for fd in (channel, events, self._sensor.syscalls_fd):
            poll.register(fd, select.EPOLLIN)
        while not self._over:
            clocks = time.time() - time.monotonic()
            ready = [fd for fd, _ in poll.poll(self._timeout())]
            if time.time() - time.monotonic() - clocks > THAWED_S:
                # It was frozen, and an INVOKE is on its way: its handler comes first.
                self._idle_until = time.monotonic() + THAWED_S
            # Messages first: an INVOKE brings the deadline that limits what events lead to.
            if channel in ready:
                received = self._channel.receive(time.monotonic())
                if received is not None:
                    self._handle_message(received[0])
            if events in ready or self._sensor.look():
                self._handle_events()
            elif self._sensor.syscalls_fd in ready:
                self._recorder.drain_syscalls()
            if self._waiting is not None:
                self._handle_message(self._waiting)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._handle_deadline()
            if not ready and self._invocation is None and time.monotonic() >= self._idle_until:
                self._flush_unasked()

    def _timeout(self) -> float:
        """Until when to sleep if nothing happens, in seconds; -1: for ever."""
        now = time.monotonic()
        look_in = self._sensor.due_in()
        if self._deadline is not None:
            left = max(0.0, self._deadline - now)
            return left if look_in is None else min(left, look_in)
        if look_in is not None:
            return look_in
        due_in = self._delivery.due_in()
        if due_in is None or self._invocation is not None:
            return -1.0
        return max(0.0, due_in, self._idle_until - now)

    def _flush_unasked(self) -> None:
        """Nothing is under way, and what waits is due: the environment was not frozen."""
        if self._delivery.is_due():
            self._delivery.flush(self._write_until())
            # Whatever became of it, not again at once.
            self._idle_until = time.monotonic() + UNASKED_S
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        # Only news: nobody reads it before the next invocation, and there is room for so many.
        if self._told_waiting != self._delivery.waiting:
            self._told_waiting = self._delivery.waiting
            self._channel.send({"waiting": self._told_waiting})

    def _handle_events(self) -> None:
        self._take_events()
        if not self._managed:
            self._end_untold()
        self._look_for_end()

    def _take_events(self) -> None:
        may_wait = not self._managed
        if self._settings.extensions:
            self._attribution.apart = self._sensor.followed_branches()
        ended = self._attribution.feed(self._recorder.drain())
        snapshot = self._attribution.take_snapshot()
        if snapshot is not None:
            self._recorder.begin_afresh(snapshot)
        for cut in ended:  # which may get more meanwhile
            if self._invocation is None and cut.edges == attribution.KERNEL and may_wait:
                self._await_invocation()
                may_wait = False  # or whoever floods the runtime API keeps everybody waiting
            if self._invocation is not None:
                request_id = self._invocation["request_id"]
                if attribution.is_beginning(cut.request_id, request_id) or (
                    not cut.request_id and self._attribution.may_be_anonymous(cut, request_id)
                ):
                    cut.request_id = request_id
            if cut.own_end() is not None:
                ended += self._take_last_words(cut)
            self._finish(cut)

    def _finish(self, cut: Cut) -> None:
        """An execution has ended: write it, and say that the platform may go on."""
        if cut.offset is None:
            cut.offset = clock_offset()
        if self._managed and 0 < cut.deadline_ms * 1_000_000 <= cut.ended + cut.offset:
            # The platform ends no process there. It takes no answer that is late.
            cut.status = attribution.TIMEOUT
        invocation = self._invocation
        awaited = invocation is not None and invocation["request_id"] == cut.request_id
        if invocation is not None and awaited and not cut.started:
            cut.started = min(invocation["at_ns"] - HEAD_START_NS, cut.ended)
        if awaited and cut.branch:
            # A worker that takes over will know that nothing more comes.
            names = ("request_id", "branch", "started", "ended", "status", "offset")
            self._channel.send({"ended": {name: getattr(cut, name) for name in names}})
        if not self._store(cut, self._write_until()):
            return
        if self._managed:
            self._tell_waiting()
        if self._answer(cut.request_id) and cut.edges != attribution.EXTENSION:
            self._delivery.answered(time.monotonic_ns() - cut.ended)

    def _begin(self, invocation: dict[str, Any]) -> None:
        self._invocation = invocation
        self._has_begun = True
        if self._restores:
            self._restores = False
            self._recorder.begin_afresh()
        self._take_deadline(invocation)
        self._traces.told(invocation["request_id"], invocation.get("tracing", ""))
        self._sensor.invoked(invocation["request_id"], invocation["at_ns"])
        early = self._authority.announce(invocation["request_id"])
        if early is not None:
            self._finish(early)

    def _await_invocation(self) -> None:
        if self._waiting is not None:
            return
        received = self._channel.receive(time.monotonic() + OVERTAKEN_S)
        if received is not None:
            message = received[0]
            if message["event"] == "INVOKE":
                self._begin(message)
            else:
                self._waiting = message

    def _take_last_words(self, cut: Cut) -> list[Cut]:
        """A process that ends is seen to end before the kernel closes its sockets.

        Returns the executions of others that end meanwhile.
        """
        if self._timed_out(cut):
            cut.status = attribution.TIMEOUT
        time.sleep(EXIT_S)
        ended = self._attribution.feed(self._recorder.drain())
        cut.records.extend(self._attribution.claim(cut.branch))
        return ended

    def _handle_message(self, message: dict[str, Any]) -> None:
        if message["event"] == "SHUTDOWN":
            self._shut_down(message)
            return
        self._begin(message)
        if self._invocation is None:
            return
        self._handle_events()
        follows = self._attribution.sees_runtime and self._sensor.follows
        if follows or self._invocation is None:
            return
        # Nothing tells when this execution will end, and waiting would be billed: what was recorded
        # of the one before is written now, and this one with the next event.
        began = message["at_ns"] - HEAD_START_NS
        if self._end_all(attribution.OK, self._write_until(), began, None):
            self._attribution.death = None  # somebody was there to be given it
        self._attribution.begin(message["request_id"], began)
        self._answer(message["request_id"])

    def _handle_deadline(self) -> None:
        """Shortly before the platform kills everything: write what is known so far."""
        self._handle_events()
        invocation = self._invocation
        if invocation is None:
            return
        self._take_deadline(invocation)
        if self._deadline is not None and time.monotonic() < self._deadline:
            # After a death (resume). Nothing tells any more how it ended, and nobody is to wait.
            known = self._attribution.open_cut(invocation["request_id"])
            was_seen = known is not None and known.edges != attribution.EXTENSION
            if known and not was_seen and self._sensor.runtime_waits():
                now = time.monotonic_ns()
                self._finish(self._attribution.end(known, attribution.UNFINISHED, now))
            return
        self._deadline = None
        # Without an id where the reply to `next` did not show it where it is looked for.
        request_id = invocation["request_id"]
        cut = self._attribution.open_cut(request_id)
        if cut is None:
            cut = self._attribution.open_cut("")
            if cut is not None and not self._attribution.may_be_anonymous(cut, request_id):
                cut = None
        if cut is not None:
            cut.request_id = request_id
            cut.ended, cut.status = time.monotonic_ns(), attribution.UNFINISHED
            self._attribution.peek(cut)
            cut.was_written = True
            costs = self._delivery.costs(peek=True)
            summary, items = self._recorder.pack(
                cut, cold_start=self._is_cold(cut), final=False, costs=costs,
                keep=self._keep.policy, **self._traces.of(request_id),
            )  # fmt: skip
            state = Parcel((cut.request_id, summary["started_ns"]), items, is_state=True)
            self._delivery.send_at_once(state, self._write_until())
            self._keep_unseen()
        self._answer(request_id)

    def _shut_down(self, message: dict[str, Any]) -> None:
        self._over = True
        until = monotonic_deadline(message["deadline_ms"]) - SHUTDOWN_RESERVE_S
        self._handle_events()
        # Platform and emulator differ in case.
        reason = message["reason"].lower()
        without_runtime = not (self._attribution.sees_runtime and self._sensor.follows)
        status = attribution.OK if without_runtime else attribution.UNFINISHED
        if without_runtime and reason in _FAILURES:
            status = attribution.CRASH  # before it was seen
        status = attribution.TIMEOUT if reason == "timeout" else status
        death = self._attribution.death
        if death is not None and self._has_begun and reason == "spindown" and _ended_well(death):
            death = None  # nobody that an execution was for
        self._end_all(status, until, time.monotonic_ns(), death, is_last=True)
        if death is not None and not self._has_begun:
            # There was no execution that could tell it.
            log(_failed_init(death.edge))
        if reason in _FAILURES and self._invocation is None and not self._has_lost_runtime:
            untold = self._authority.vouch_for_crashed()
            if untold is not None:
                self._store(untold, until, is_last=True)
        self._authority.refuse_held()
        self._count_refused()
        self._delivery.flush(until, last=True)

    def _end_all(
        self,
        status: str,
        until: float,
        now: int,
        death: attribution.Death | None,
        *,
        is_last: bool = False,
    ) -> int:
        """End what has begun; returns how many executions that is.

        `death` is that of whoever it was for, where that is not known from it.
        """
        cuts = self._attribution.open_cuts()
        for cut in cuts:
            if death is not None and cut.edges == attribution.EXTENSION:
                self._attribution.end_in_init(cut, death, now)
            elif cut.answer is not None and status == attribution.UNFINISHED:
                self._attribution.conclude(cut, cut.answer)
            else:
                self._attribution.end(cut, status, now)
            self._store(cut, until, is_last=is_last)
        return len(cuts)

    def _store(self, cut: Cut, until: float, *, is_last: bool = False) -> bool:
        """Pack a finished execution, and write it if that is due. `is_last`: it will be, anyway.

        False if it is none that anybody could ask for.
        """
        if not cut.request_id or not self._authority.admits(cut):
            return False
        self._attribution.confirm(cut.branch)
        self._count_refused()
        self._has_lost_runtime = cut.own_end() is not None
        has_failed = cut.status != attribution.OK
        duration = max(0, cut.ended - cut.started)
        kept = self._keep.decide(cut.request_id, has_failed, duration) or cut.was_written
        self._recorder.add_losses(self._delivery.take_losses())
        summary, items = self._recorder.pack(
            cut,
            cold_start=self._is_cold(cut),
            kept=kept,
            costs=self._delivery.costs(),
            others=self._attribution.take_others(cut.ended) if self._settings.extensions else None,
            keep=self._keep.policy,
            **self._traces.of(cut.request_id),
        )
        if self._refused is not None:
            # The environment's first: no other one costs more than itself.
            from lambdatrace.agent.report import report_items

            items += report_items(self._settings, self._sensor, self._refused)
            self._refused = None
        self._warm.add(cut.branch)
        self._cold = self._cold and self._managed
        self._keep_unseen()
        parcel = Parcel(
            (cut.request_id, summary["started_ns"]),
            items,
            summary["dropped"],
            is_urgent=has_failed,
        )
        self._delivery.put(parcel, duration)
        if not is_last and (has_failed or self._delivery.is_due()):
            self._delivery.flush(until)
        return True

    def _is_cold(self, cut: Cut) -> bool:
        return self._cold and cut.branch not in self._warm

    def _count_refused(self) -> None:
        """What somebody has made up is told by the next summary, and once in the log."""
        refused = self._authority.take_refused() + self._attribution.take_refused()
        if refused:
            self._recorder.add_losses({"forged": refused})
        if refused and not self._has_said_refused:
            self._has_said_refused = True
            log(
                "somebody other than the runtime uses the runtime API: what is made up there is "
                "not stored as an execution"
            )

    def _keep_unseen(self) -> None:
        for record, exchange in self._recorder.take_unseen():
            self._attribution.keep(record, exchange)

    def _take_deadline(self, invocation: dict[str, Any]) -> None:
        deadline = monotonic_deadline(invocation["deadline_ms"])
        self._deadline = deadline - BEFORE_DEADLINE_S
        self._write_end = deadline - DEADLINE_RESERVE_S
        self._deadline_ns = int(deadline * 1e9)

    def _timed_out(self, cut: Cut) -> bool:
        return bool(self._deadline_ns) and cut.ended >= self._deadline_ns - DEADLINE_SLACK_NS

    def _write_until(self) -> float:
        until = time.monotonic() + WRITE_BUDGET_S
        return until if self._write_end is None else min(until, self._write_end)

    def _answer(self, request_id: str) -> bool:
        """Say that the platform may go on, if it waits for this execution."""
        if self._invocation is None or self._invocation["request_id"] != request_id:
            return False
        self._invocation = self._deadline = self._write_end = None
        self._resumes = False
        self._told_waiting = self._delivery.waiting
        self._channel.send(
            {
                "done": request_id,
                "sees_runtime": self._attribution.sees_runtime,
                "waiting": self._told_waiting,
            }
        )
        return True


def _ended_well(death: attribution.Death) -> bool:
    edge = death.edge
    return not (edge.exit_code or edge.flags & wire.ENDING_SIGNAL)


def _failed_init(edge: wire.EdgeRecord) -> str:
    signal = edge.flags & wire.ENDING_SIGNAL
    how = f"signal {signal}" if signal else f"exit code {edge.exit_code}"
    return (
        f"the function's init failed: process {edge.tgid} ended with {how}, "
        f"{(edge.time - edge.born) / 1e6:.0f} ms after it began; the platform gave no request id "
        "to store it under"
    )
