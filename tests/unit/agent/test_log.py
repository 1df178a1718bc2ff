"""What may stand in the one line that the function's log sees."""

from __future__ import annotations

import os

import pytest

from lambdatrace.agent.log import log


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\nlines\r\nor  more", "two lines or more"),
        ("moves \x1b[2J the \x07cursor\u202e", "moves ?[2J the ?cursor?"),
        (os.fsdecode(b"not \xff UTF-8"), "not ? UTF-8"),
        ("ünïcode stays", "ünïcode stays"),
    ],
)
def test_one_plain_line(capfd: pytest.CaptureFixture[str], message: str, line: str) -> None:
    log(message)
    assert capfd.readouterr().err == f"lambdatrace: {line}\n"


def test_what_is_said_about_a_huge_value_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    log(f"LAMBDATRACE_FLUSH={'x' * 4000!r} is not a policy: taking adaptive")
    line = capfd.readouterr().err
    assert line.startswith("lambdatrace: LAMBDATRACE_FLUSH='xxx")
    assert line.endswith("is not a policy: taking adaptive\n")
    assert len(line) < 520


def test_however_much_is_said_it_is_not_endless(capfd: pytest.CaptureFixture[str]) -> None:
    log("word " * 1000)
    assert len(capfd.readouterr().err) < 520
