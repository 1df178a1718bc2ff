"""The man page, and what a report of a bug has to name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import require
from support_cli import run

import lambdatrace
from lambdatrace.cli.app import COMMANDS
from lambdatrace.cli.manual import man_page

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "man/lambdatrace.1"


def test_it_says_what_help_says() -> None:
    assert PAGE.read_text() == man_page(), "write it again: make man"


def test_man_shows_it_without_a_complaint() -> None:
    require(shutil.which("man"), "man is missing: make setup")
    shown = subprocess.run(
        ["man", "--warnings", "--encoding=utf-8", "--local-file", PAGE],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stderr == ""
    text = re.sub(r".\x08", "", shown.stdout)
    for heading in ("NAME", "SYNOPSIS", "COMMANDS", "ENVIRONMENT", "FILES", "EXIT STATUS"):
        assert f"\n{heading}\n" in text
    for command in COMMANDS:
        assert f"lambdatrace {command} " in text
    assert "lambdatrace export @slowest --since 1h -o slowest.jsonl" in text
    assert "--otlp-endpoint URL" in text


def test_the_version() -> None:
    assert run("--version").stdout == f"lambdatrace {lambdatrace.__version__}\n"
    for options in (("--version", "--verbose"), ("--verbose", "--version")):
        result = run(*options)
        assert (result.code, result.stderr) == (0, "")
        facts = dict(line.split(None, 1) for line in result.stdout.splitlines())
        assert facts["lambdatrace"] == lambdatrace.__version__
        assert re.fullmatch(r"sha256 [0-9a-f]{16}, of probe.c [0-9a-f]{16}", facts["probe"])
        assert facts["schema"] == "items 3, exports 1"
        assert facts["python"].endswith(sys.version.split()[0])
        assert re.match(r"[0-9]+\.", facts["boto3"])


@pytest.mark.parametrize("options", [(), ("--verbose",)])
def test_without_a_command(options: tuple[str, ...]) -> None:
    result = run(*options)
    assert result.code == (2 if options else 0)
    assert "unexpected" not in result.stderr
