"""When the runtime has answered, told by what it has sent on its socket to the runtime API."""

from __future__ import annotations

import pytest

from lambdatrace.proc.answers import Answers, waits
from lambdatrace.proc.sockets import Socket

MS = 1_000_000
TICK = 4 * MS
QUESTION = 150  # bytes
ANSWER = 900


def socket(
    sent: int, *, segments: int = 9, sent_ago: int = 0, received_ago: int = 0, cookie: int = 7
) -> Socket:
    """One that has sent so many bytes; times in ms."""
    found = Socket(4, 1, 1, cookie)
    found.bytes_out, found.segments_out = sent, segments
    found.sent_ago, found.received_ago = sent_ago * MS, received_ago * MS
    return found


@pytest.fixture
def answers() -> Answers:
    """Of a runtime that has asked for its first invocation, which was told of at 100 ms."""
    known = Answers(TICK)
    known.invoked(100 * MS)
    first = socket(QUESTION, segments=1, sent_ago=50, received_ago=1)
    assert known.look([first], 101 * MS) is None
    return known


def test_the_first_byte_after_an_invocation_is_the_answer_s(answers: Answers) -> None:
    assert answers.look([socket(QUESTION, segments=1, sent_ago=70)], 120 * MS) is None
    asked_again = socket(QUESTION + ANSWER + QUESTION, sent_ago=8)
    # Not before the look before, and not after what it has sent last, give or take a tick.
    assert answers.look([asked_again], 140 * MS) == (120 * MS, 136 * MS)


def test_what_is_just_the_question_is_none(answers: Answers) -> None:
    sent = QUESTION + ANSWER
    assert answers.look([socket(sent)], 110 * MS) is not None
    answers.invoked(111 * MS)
    # It had not asked again when it was seen to answer.
    assert answers.look([socket(sent + QUESTION)], 112 * MS) is None
    assert answers.look([socket(sent + QUESTION)], 113 * MS) is None
    assert answers.look([socket(sent + QUESTION + ANSWER)], 114 * MS) is not None


def test_the_rest_of_an_answer_seen_between_its_pieces_is_none(answers: Answers) -> None:
    head, body = 226, 19
    assert answers.look([socket(QUESTION + head)], 110 * MS) is not None
    asked = QUESTION + head + body + QUESTION
    answers.settle([socket(asked)])
    assert answers.question == QUESTION
    # It was all sent moments before the platform told of the next one.
    answers.invoked(111 * MS)
    assert answers.look([socket(asked, sent_ago=4)], 112 * MS) is None
    assert answers.look([socket(asked + head)], 240 * MS) is not None


def test_the_rest_of_a_long_answer_is_none(answers: Answers) -> None:
    assert answers.look([socket(QUESTION + 5_000)], 110 * MS) is not None
    answers.invoked(200 * MS)
    rest = socket(QUESTION + 900_000 + QUESTION, sent_ago=60, received_ago=1)
    assert answers.look([rest], 201 * MS) is None


def test_an_answer_may_come_on_a_connection_of_its_own(answers: Answers) -> None:
    idle = socket(QUESTION, segments=1, sent_ago=70)
    assert answers.look([idle, socket(ANSWER, cookie=8)], 120 * MS) == (101 * MS, 120 * MS)


def test_one_that_asks_anew_on_each_connection_has_not_answered(answers: Answers) -> None:
    assert answers.look([socket(QUESTION, cookie=9)], 120 * MS) is None


def test_what_one_tells_that_is_seen_for_the_first_time() -> None:
    at_work, done = Answers(TICK), Answers(TICK)
    for each in (at_work, done):
        each.invoked(100 * MS)
    # It was sent something after it had sent something.
    assert at_work.look([socket(5_000, sent_ago=200, received_ago=100)], 200 * MS) is None
    # In doubt it waits: nobody is held up for what has come.
    assert done.look([socket(5_000, sent_ago=20, received_ago=20)], 200 * MS) is not None
    assert done.question is None
    done.settle([socket(5_000 + QUESTION)])
    assert done.question == QUESTION


def test_without_counters_nothing_is_told(answers: Answers) -> None:
    assert answers.look([Socket(4, 1, 1, 7)], 120 * MS) is None


@pytest.mark.parametrize(("sent", "received", "expected"), [(1, 2, True), (2, 1, False)])
def test_who_has_sent_last_waits(sent: int, received: int, expected: bool) -> None:
    assert waits(socket(1, sent_ago=sent, received_ago=received)) is expected
