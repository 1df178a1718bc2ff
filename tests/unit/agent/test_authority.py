"""Which executions there are: what INVOKE events tell of, once each."""

from __future__ import annotations

import pytest

from lambdatrace.agent.attribution import CRASH, ERROR, KERNEL, OK, TIMEOUT, Cut
from lambdatrace.agent.authority import MAX_ANNOUNCED, MAX_HELD, Authority


def cut(request_id: str, branch: int = 1, status: str = OK) -> Cut:
    made = Cut(request_id, branch, 1, KERNEL)
    made.status = status
    return made


def test_what_was_announced_is_admitted_once() -> None:
    authority = Authority()
    assert authority.announce("a") is None
    assert authority.admits(cut("a"))
    assert not authority.admits(cut("a", branch=2))
    assert (authority.take_refused(), authority.take_refused()) == (1, 0)


def test_an_invocation_that_is_tried_again_has_the_same_id() -> None:
    authority = Authority()
    for _ in range(3):
        assert authority.announce("a") is None
        assert authority.admits(cut("a"))
    assert authority.take_refused() == 0


def test_a_retry_that_overtook_its_event_waits_for_it() -> None:
    authority, early = Authority(), cut("a")
    assert authority.announce("a") is None
    assert authority.admits(cut("a"))
    assert not authority.admits(early)
    assert authority.announce("a") is early
    assert authority.admits(early)
    assert authority.take_refused() == 0
    # Nobody announces a third one.
    assert not authority.admits(cut("a"))
    authority.refuse_held()
    assert authority.take_refused() == 1


def test_what_overtook_its_event_waits_for_it() -> None:
    authority, early = Authority(), cut("a")
    assert not authority.admits(early)
    assert authority.announce("b") is None
    assert authority.announce("a") is early
    assert authority.admits(early)
    assert authority.take_refused() == 0


def test_two_that_overtook_one_event() -> None:
    authority, first = Authority(), cut("a")
    assert not authority.admits(first)
    assert not authority.admits(cut("a", branch=2))
    assert authority.announce("a") is first
    assert authority.take_refused() == 1


def test_what_nobody_announces_is_refused_in_the_end() -> None:
    authority = Authority()
    for number in range(2 * MAX_HELD):
        assert not authority.admits(cut(str(number)))
    # Another branch's is not pushed out by that.
    assert not authority.admits(cut("real", branch=2))
    assert authority.take_refused() == MAX_HELD
    authority.refuse_held()
    assert authority.take_refused() == MAX_HELD + 1


def crashed(request_id: str) -> Cut:
    found = cut(request_id)
    found.status = CRASH
    return found


def test_a_failed_invocation_that_nobody_was_told_of() -> None:
    authority, early = Authority(), crashed("a")
    assert not authority.admits(cut("made up"))
    assert not authority.admits(early)
    assert authority.vouch_for_crashed() is early
    assert authority.admits(early)
    authority.refuse_held()
    assert authority.take_refused() == 1


def test_which_of_several_failed_is_not_guessed() -> None:
    authority = Authority()
    assert not authority.admits(cut("ended well"))
    assert authority.vouch_for_crashed() is None
    assert not authority.admits(crashed("a"))
    assert not authority.admits(crashed("b"))
    assert authority.vouch_for_crashed() is None


def test_what_a_worker_before_was_told_of_is_known() -> None:
    authority = Authority()
    authority.know(["a", "b"])
    assert authority.admits(cut("a"))
    assert authority.admits(cut("b"))
    authority.know(["a"])
    assert not authority.admits(cut("a"))


def test_it_does_not_grow() -> None:
    authority = Authority()
    for number in range(2 * MAX_ANNOUNCED):
        authority.announce(str(number))
    assert not authority.admits(cut("0"))
    assert authority.admits(cut(str(2 * MAX_ANNOUNCED - 1)))


def test_where_no_event_tells_of_executions_an_id_is_stored_once() -> None:
    authority = Authority(is_told=False)
    assert authority.admits(cut("a"))
    assert not authority.admits(cut("a"))
    assert authority.take_refused() == 1
    for number in range(2 * MAX_ANNOUNCED):
        assert authority.admits(cut(str(number)))
    assert len(authority._announced) == MAX_ANNOUNCED


@pytest.mark.parametrize("status", [ERROR, CRASH, TIMEOUT])
def test_what_has_failed_is_tried_again_though_no_event_tells_of_it(status: str) -> None:
    authority = Authority(is_told=False)
    assert authority.admits(cut("a", status=status))
    assert authority.admits(cut("a", branch=2, status=status))
    assert authority.admits(cut("a"))
    assert not authority.admits(cut("a"))
    assert authority.take_refused() == 1
