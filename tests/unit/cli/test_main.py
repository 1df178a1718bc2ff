"""How the program starts, what `--help` says, and how it ends when something goes wrong."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
import typer
from support_cli import run

from lambdatrace import __version__
from lambdatrace.cli.app import HELP, make_app
from lambdatrace.cli.options import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
MAIN = [sys.executable, "-c", "from lambdatrace.cli.main import main; main()"]


def commands() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(make_app())
    yield from group.commands.items()


def test_version() -> None:
    """Typer writes to the process's own output."""
    result = subprocess.run([*MAIN, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"lambdatrace {__version__}\n"


def test_help_teaches() -> None:
    result = subprocess.run([*MAIN, "--help"], capture_output=True, text=True, check=True)
    assert "lambdatrace show @slowest" in result.stdout
    for name, _ in commands():
        assert name in result.stdout


def test_alone_it_says_what_its_help_says() -> None:
    alone, helped = (
        subprocess.run([*MAIN, *words], capture_output=True, text=True, check=True)
        for words in ([], ["--help"])
    )
    assert alone.stdout == helped.stdout
    assert not alone.stderr


def test_what_is_set_by_hand_fits_a_terminal_of_80() -> None:
    texts = [HELP.partition("\b")[2], *(command.epilog for _, command in commands())]
    for line in "\n".join(texts).splitlines():
        assert len(line) <= 78, line  # indented by two


def test_every_command_has_help_examples_and_a_place_in_the_documentation() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]
    documentation = "\n".join(path.read_text() for path in pages if path.exists())
    for name, command in commands():
        assert command.help, name
        assert f"lambdatrace {name}" in command.epilog, name
        assert f"lambdatrace {name}" in documentation, name
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, (name, parameter.name)


def test_the_examples_can_be_typed() -> None:
    """Each example's options exist: parsed, not run."""
    for name, command in commands():
        for line in command.epilog.splitlines():
            if line.strip().startswith(f"lambdatrace {name}"):
                words = line.split(">")[0].split()[2:]
                if any(mark in line for mark in "'\"|"):
                    continue  # a shell's business
                command.make_context(name, words, resilient_parsing=False)


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug\nof ours")

    monkeypatch.setattr(Selection, "window", broken)
    result = run("list")
    assert result.code == 1
    assert result.stderr.splitlines()[0] == "error: unexpected ZeroDivisionError: a bug\\nof ours"
    assert "LAMBDATRACE_DEBUG=1" in result.stderr.splitlines()[1]
    assert "Traceback" not in result.stderr
    assert "Traceback" in run("list", environ={"LAMBDATRACE_DEBUG": "1"}).stderr


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Selection, "window", interrupted)
    result = run("list")
    assert (result.code, result.stderr) == (130, "")


def test_interrupted_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "lambdatrace.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "lambdatrace.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    result = run("list")
    assert (result.code, result.stderr) == (130, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream(tmp_path: Path, closed: str) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution())
    line = shlex.join([*MAIN, "show", traces.summary()["execution_id"], "--store", url])
    result = subprocess.run(
        ["sh", "-c", f"{line} {closed}"], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    assert ("checkout" in result.stdout) is (closed != ">&-")


def test_a_full_disk(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution())
    command = [*MAIN, "show", traces.summary()["execution_id"], "--store", url]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    what, hint = result.stderr.splitlines()
    assert what == "error: what was found cannot be written: No space left on device"
    assert hint.startswith("hint: ")


def test_completion_that_cannot_be_installed(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    environ = {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    result = subprocess.run(
        [*MAIN, "--install-completion", "bash"], capture_output=True, text=True, env=environ
    )
    assert result.returncode == 1
    what, hint = result.stderr.splitlines()
    assert what.startswith("error: completion cannot be installed: ")
    assert "--show-completion" in hint


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    calls = [traces.syscall("write")] * 20_000
    url = traces.write(tmp_path / "store.db", traces.execution([], calls, level="syscalls"))
    command = [*MAIN, "show", "@latest", "--since", "2026-01-01T00:00:00Z", "-o", "json"]
    with subprocess.Popen(
        [*command, "--store", url, "--until", "2026-12-31T00:00:00Z"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("gone", ["pipe", "disk"])
@pytest.mark.parametrize(
    ("arguments", "code"), [(("nonsense",), 2), (("list",), 0), (("show", "nothing"), 3)]
)
def test_where_nobody_listens_to_errors_codes_and_data_stay(
    tmp_path: Path, arguments: tuple[str, ...], code: int, gone: str
) -> None:
    url = traces.write(tmp_path / "store.db", [])
    if gone == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    environ = {**os.environ, "LAMBDATRACE_STORE": url}
    result = subprocess.run(
        [*MAIN, *arguments], stdout=subprocess.PIPE, stderr=writer, env=environ, check=False
    )
    os.close(writer)
    assert result.returncode == code


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(traces.pipeline(), function="名"))
    result = subprocess.run(
        [*MAIN, "show", "4f2c9a10-0000-4000-8000-000000000001", "--store", url],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert result.stderr == b""
    assert b": connect  = wait  - open, idle" in result.stdout
    assert b"function   ??, version 7" in result.stdout  # as wide as it would be


def test_tables_without_unicode(tmp_path: Path) -> None:
    summary = {"destinations": [traces.destination(time=1)], "started_ns": time.time_ns()}
    url = traces.write(tmp_path / "store.db", traces.execution(**summary))
    for command in ("list", "top-destinations", "stats"):
        result = subprocess.run(
            [*MAIN, command, "--store", url],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            check=True,
        )
        assert b"----" in result.stdout
        assert b"\\u" not in result.stdout


def test_colours_only_where_they_are_wanted(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(traces.pipeline()))
    arguments = ("show", "@latest", "--store", url)
    assert "\x1b[" not in run(*arguments).stdout
    forced = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[35m" in run(*arguments, environ=forced).stdout
    assert "\x1b[35m" not in run(*arguments, environ={**forced, "NO_COLOR": "1"}).stdout


def test_the_width_of_a_pipe_and_of_columns(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(traces.pipeline()))
    arguments = ("show", "@latest", "--store", url)
    assert max(map(len, run(*arguments).stdout.splitlines())) == 120
    narrow = run(*arguments, environ={"COLUMNS": "80"}).stdout
    assert max(map(len, narrow.splitlines())) == 80
