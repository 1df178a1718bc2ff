"""The registered process and a real, forked worker that misbehaves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.agent import front, worker
from lambdatrace.agent.extensions_api import ExtensionsApi
from lambdatrace.agent.front import Supervisor
from lambdatrace.agent.http import HttpError
from lambdatrace.agent.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.agent.channel import Channel

    Behaviour = Callable[[Channel, bool, dict[str, Any] | None], None]

READY = {"ready": True, "layout": {"maps": []}}


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Behaviour], Supervisor]]:
    """Makes a supervisor whose workers, real processes, behave as told."""
    made: list[Supervisor] = []

    def make(behave: Behaviour) -> Supervisor:
        def main(
            channel: Channel, _: Settings, root: int, adopted: object, invocation: Any, lost: int
        ) -> None:
            assert lost == 0 or adopted
            assert root == os.getppid() or root
            if behave.__code__.co_argcount > 3:
                behave(channel, adopted is not None, invocation, lost)
            else:
                behave(channel, adopted is not None, invocation)

        monkeypatch.setattr(worker, "main", main)
        supervisor = Supervisor(Settings({}), lambda: None)
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        if supervisor._channel is not None:
            supervisor._reap()


def event(request_id: str = "one", seconds: float = 5.0) -> dict[str, Any]:
    return {"requestId": request_id, "deadlineMs": (time.time() + seconds) * 1000}


def be_ready(channel: Channel) -> None:
    channel.send(READY, [0])


def answer_all(channel: Channel) -> None:
    while True:
        received = channel.receive()
        assert received is not None
        answer(channel, received[0])


def answer(channel: Channel, message: dict[str, Any], waiting: int = 0) -> None:
    channel.send({"done": message["request_id"], "sees_runtime": True, "waiting": waiting})


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_a_worker_that_works(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    def behave(channel: Channel, adopted: bool, invocation: dict[str, Any] | None) -> None:
        assert not adopted
        assert invocation is None
        be_ready(channel)
        answer_all(channel)

    supervisor = supervise(behave)
    supervisor.start()
    for number in range(3):
        supervisor.invoke(event(str(number)), time.monotonic_ns())
        assert not supervisor._unanswered
    assert lines(capfd) == []


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "signal 9"),
        (lambda: [][0], "exit code 1"),
        (sys.exit, "exit code 1"),
    ],
)
def test_workers_that_die_before_they_are_ready_are_given_up(
    supervise: Callable[[Behaviour], Supervisor],
    capfd: pytest.CaptureFixture[str],
    end: Callable[[], Any],
    said: str,
) -> None:
    supervisor = supervise(lambda *_: end())
    supervisor.start()
    supervisor.invoke(event(), time.monotonic_ns())  # and nobody is asked
    told = lines(capfd)
    ended = [line for line in told if "before it was ready" in line]
    assert len(ended) == front.MAX_DEATHS
    assert all(said in line for line in ended)
    assert "no longer traced" in told[-1]


def test_a_worker_that_cannot_work_says_so_once(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor = supervise(lambda channel, *_: channel.send({"ready": False, "why": "no eBPF"}))
    supervisor.start()
    for _ in range(3):
        supervisor.invoke(event(), time.monotonic_ns())
    (line,) = lines(capfd)
    assert "this environment is not traced: no eBPF" in line


def test_a_worker_that_is_never_ready_is_not_waited_for(
    supervise: Callable[[Behaviour], Supervisor],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "READY_BUDGET_S", 0.05)
    supervisor = supervise(lambda *_: time.sleep(60))
    supervisor.start()
    pid = supervisor._pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (line,) = lines(capfd)
    assert "not ready in time" in line
    supervisor.invoke(event(), time.monotonic_ns())
    assert supervisor._pid == pid  # no other one


def test_one_that_dies_in_mid_invocation_is_replaced_by_one_that_is_told(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    def behave(channel: Channel, adopted: bool, invocation: dict[str, Any] | None) -> None:
        be_ready(channel)
        if not adopted:
            channel.receive()
            os._exit(1)
        assert invocation is not None
        assert invocation["sees_runtime"]
        answer(channel, invocation)
        answer_all(channel)

    supervisor = supervise(behave)
    supervisor.start()
    first = supervisor._pid
    supervisor.invoke(event("one"), time.monotonic_ns())
    second = supervisor._pid
    assert first != second
    supervisor.invoke(event("two"), time.monotonic_ns())
    assert supervisor._pid == second
    assert not supervisor._unanswered
    (line,) = lines(capfd)
    assert "during one" in line


def test_one_that_takes_over_knows_when_the_execution_before_ended(
    supervise: Callable[[Behaviour], Supervisor],
) -> None:
    """What is older than that may have been told."""
    read, write = os.pipe()

    def behave(channel: Channel, adopted: bool, invocation: dict[str, Any] | None) -> None:
        be_ready(channel)
        if invocation is not None:
            os.write(write, f"{invocation['request_id']} {invocation['previous_end']}\n".encode())
            answer(channel, invocation)
        while received := channel.receive():
            request_id = received[0]["request_id"]
            if request_id in ("two", "three"):
                os._exit(1)
            channel.send({"ended": {"request_id": request_id, "ended": 1234}})
            answer(channel, received[0])

    supervisor = supervise(behave)
    supervisor.start()
    for name in ("one", "two", "three"):
        supervisor.invoke(event(name), time.monotonic_ns())
    # Of the second one nobody has said when it ended.
    assert os.read(read, 100).decode().splitlines() == ["two 1234", "three 0"]


def test_what_waited_in_one_that_died_is_counted_until_another_has_told_of_it(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()

    def behave(
        channel: Channel, adopted: bool, invocation: dict[str, Any] | None, lost: int = 0
    ) -> None:
        os.write(write, bytes([lost]))
        be_ready(channel)
        received = ({}, []) if invocation is None else (invocation, [])
        if invocation is None:
            received = channel.receive() or received
        answer(channel, received[0], waiting=2)
        received = channel.receive() or received
        if not adopted:
            channel.send({"waiting": 3})  # and nobody reads it
            os._exit(1)
        answer(channel, received[0], waiting=0)
        answer_all(channel)

    supervisor = supervise(behave)
    supervisor.start()
    supervisor.invoke(event("one"), time.monotonic_ns())
    assert (supervisor._waiting, supervisor._lost) == (2, 0)
    supervisor.invoke(event("two"), time.monotonic_ns())
    # The second has been told, and its summary is not yet in the store.
    assert (supervisor._waiting, supervisor._lost) == (2, 3)
    supervisor.invoke(event("three"), time.monotonic_ns())
    assert (supervisor._waiting, supervisor._lost) == (0, 0)
    assert list(os.read(read, 10)) == [0, 3]
    (line,) = lines(capfd)
    assert line.endswith("executions that waited in it to be written: 3")


def test_one_that_dies_at_the_end_says_what_it_took_with_it(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    def behave(channel: Channel, *_: object) -> None:
        be_ready(channel)
        received = channel.receive()
        assert received is not None
        answer(channel, received[0], waiting=7)
        channel.receive()
        os.kill(os.getpid(), signal.SIGKILL)

    supervisor = supervise(behave)
    supervisor.start()
    supervisor.invoke(event("one"), time.monotonic_ns())
    supervisor.shut_down({"eventType": "SHUTDOWN", "shutdownReason": "spindown"})
    (line,) = lines(capfd)
    assert "signal 9" in line
    assert line.endswith(": 7")


def test_one_that_dies_each_time_is_given_up(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    def behave(channel: Channel, adopted: bool, *_: object) -> None:
        be_ready(channel)
        if not adopted:
            channel.receive()

    supervisor = supervise(behave)
    supervisor.start()
    for number in range(5):
        supervisor.invoke(event(str(number)), time.monotonic_ns())
    told = lines(capfd)
    assert len(told) == front.MAX_DEATHS + 1
    assert "no longer traced" in told[-1]


def test_one_that_hangs_is_waited_for_until_the_deadline_and_then_replaced(
    supervise: Callable[[Behaviour], Supervisor],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Minutes before it, so that no slow machine makes a difference.
    monkeypatch.setattr(front, "BEFORE_DEADLINE_S", 299.9)

    def behave(channel: Channel, adopted: bool, invocation: dict[str, Any] | None) -> None:
        be_ready(channel)
        if not adopted:
            time.sleep(60)
        assert invocation is None or invocation["request_id"] == "two"
        if invocation is not None:
            answer(channel, invocation)
        answer_all(channel)

    supervisor = supervise(behave)
    supervisor.start()
    one = event("one", 300)
    supervisor.invoke(one, time.monotonic_ns())
    assert time.time() * 1000 < one["deadlineMs"]  # `next` is asked for in time
    supervisor.invoke(event("two", 310), time.monotonic_ns())
    assert not supervisor._unanswered
    (line,) = lines(capfd)
    assert "did not answer for one" in line


def test_a_late_answer_is_no_reason_to_replace_it(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()

    def behave(channel: Channel, *_: object) -> None:
        be_ready(channel)
        received = channel.receive()
        assert received is not None
        os.read(read, 1)  # until the deadline has passed
        answer(channel, received[0])
        answer_all(channel)

    supervisor = supervise(behave)
    supervisor.start()
    supervisor.invoke(event("one", 0.1), time.monotonic_ns())
    assert supervisor._unanswered == "one"
    os.write(write, b"x")
    assert supervisor._channel is not None
    import select

    assert select.select([supervisor._channel.fileno()], [], [], 10)[0]
    pid = supervisor._pid
    supervisor.invoke(event("two"), time.monotonic_ns())
    assert (supervisor._pid, supervisor._unanswered) == (pid, "")
    assert lines(capfd) == []


def test_a_deadline_that_has_passed_is_not_waited_for(
    supervise: Callable[[Behaviour], Supervisor],
) -> None:
    def behave(channel: Channel, *_: object) -> None:
        be_ready(channel)
        time.sleep(60)

    supervisor = supervise(behave)
    supervisor.start()
    supervisor.invoke(event("one", -100), time.monotonic_ns())
    supervisor.shut_down({"eventType": "SHUTDOWN", "deadlineMs": (time.time() - 100) * 1000})


def test_no_room_for_a_worker(
    supervise: Callable[[Behaviour], Supervisor],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fork() -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    supervisor = supervise(lambda *_: None)
    monkeypatch.setattr(os, "fork", fork)
    supervisor.start()
    supervisor.invoke(event(), time.monotonic_ns())
    told = lines(capfd)
    assert len(told) == front.MAX_DEATHS + 1
    assert "Cannot allocate memory" in told[0]
    assert "no longer traced" in told[-1]


class Platform:
    """Lambda's side of the Extensions API: these events, one after the other."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = iter(events)

    events = ExtensionsApi.events

    def register(self, *, invocations: bool) -> None:
        assert invocations

    def next(self, wait: Callable[[int], None]) -> dict[str, Any]:
        with open("/dev/null", "rb") as readable:  # noqa: PTH123
            wait(readable.fileno())
        answer = next(self._events, None)
        if answer is None:
            raise HttpError("no more")
        return answer


def test_whatever_an_event_is_the_next_one_is_asked_for(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    def behave(channel: Channel, *_: object) -> None:
        be_ready(channel)
        for _ in range(2):
            received = channel.receive()
            assert received is not None
            if received[0]["event"] == "INVOKE":
                answer(channel, received[0])

    odd = {"eventType": "INVOKE", "requestId": "one", "deadlineMs": "soon"}
    good = {"eventType": "INVOKE", **event("two")}
    platform = Platform(odd, {}, good, {"eventType": "SHUTDOWN", "shutdownReason": "spindown"})
    assert front.run(platform, supervise(behave)) == 0  # type: ignore[arg-type]
    told = lines(capfd)
    assert "an invocation is not traced" in told[0]
    assert not any("two" in line for line in told)


def test_an_event_is_noted_when_it_comes_and_then_left_alone_for_a_moment(
    supervise: Callable[[Behaviour], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = supervise(lambda channel, *_: be_ready(channel))
    read, write = os.pipe()
    slept = []

    def sleep(seconds: float) -> None:
        slept.append((seconds, time.monotonic_ns()))

    monkeypatch.setattr(front.time, "sleep", sleep)
    before = time.monotonic_ns()
    os.write(write, b"x")
    supervisor.stand_back(read)
    ((seconds, when),) = slept
    assert seconds == front.STAND_BACK_S
    assert before < supervisor.event_ns < when
    assert os.read(read, 10) == b"x"


def test_a_platform_that_has_gone_is_not_asked_for_ever(
    supervise: Callable[[Behaviour], Supervisor],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "RETRY_S", 0)
    assert front.run(Platform(), supervise(lambda channel, *_: be_ready(channel))) == 1  # type: ignore[arg-type]
    (line,) = lines(capfd)
    assert "does not answer: no more" in line


def test_shutdown_waits_for_the_worker(supervise: Callable[[Behaviour], Supervisor]) -> None:
    read, write = os.pipe()

    def behave(channel: Channel, *_: object) -> None:
        be_ready(channel)
        received = channel.receive()
        assert received is not None
        os.write(write, received[0]["reason"].encode())

    supervisor = supervise(behave)
    supervisor.start()
    supervisor.shut_down({"eventType": "SHUTDOWN", "shutdownReason": "spindown"})
    os.set_blocking(read, False)
    assert os.read(read, 100) == b"spindown"


def test_what_is_left_behind_holds_nobody_up_and_goes() -> None:
    read, write = os.pipe()
    code = (
        "from lambdatrace.agent.front import Supervisor\n"
        "from lambdatrace.agent.settings import Settings\n"
        "supervisor = Supervisor(Settings({}), lambda: None)\n"
        "supervisor._layout = {}\n"
        "supervisor.leave()\n"
        "print('left', flush=True)\n"
    )
    # Returns when nobody has its streams any more: the one left behind has let go of them.
    done = subprocess.run(
        [sys.executable, "-c", code], pass_fds=(write,), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
    os.close(write)
    # Its descriptors end with it, and it ends by itself.
    assert os.read(read, 1) == b""
    os.close(read)


def test_while_no_event_comes_a_worker_is_looked_after(
    supervise: Callable[[Behaviour], Supervisor], capfd: pytest.CaptureFixture[str]
) -> None:
    answer_here, answer_there = os.pipe()

    def behave(channel: Channel, adopted: bool, _: object, lost: int) -> None:
        be_ready(channel)
        channel.send({"waiting": 3})
        if not adopted:
            os._exit(7)
        assert lost == 3
        os.write(answer_there, b"x")
        answer_all(channel)

    supervisor = supervise(behave)
    supervisor.start()
    supervisor.watch(answer_here)
    assert supervisor._channel is not None
    (line,) = lines(capfd)
    assert "exit code 7" in line
    assert "to be written: 3" in line
    for fd in (answer_here, answer_there):
        os.close(fd)
