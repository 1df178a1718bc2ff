"""`show` as a whole: header, partition, waterfall and lists, at three widths.

What it should look like stands in show/, a file for each case and width. After a change that was
meant to show, write them anew with GOLDEN=write and read the difference.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
import support_traces as traces
from rich.cells import cell_len
from support_cli import NOW_NS, run
from support_show import CASES, stored

from lambdatrace.cli.environment import Environment
from lambdatrace.cli.main import program

GOLDEN = Path(__file__).parent / "show"
WIDTHS = (80, 120, 200)


def drawn(case: str, folder: Path, *options: str, environ: dict[str, str] | None = None) -> str:
    """What the command writes, through a real store, without the blanks at the ends of lines."""
    url = traces.write(folder / "store.db", stored(case))
    result = run("show", "@latest", "--store", url, *options, environ=environ)
    assert (result.code, result.stderr) == (0, "")
    return stripped(result.stdout)


def stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def check(text: str, name: str) -> None:
    """Hold `text` against what is expected."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_show(case: str, width: int, tmp_path: Path) -> None:
    text = drawn(case, tmp_path, "--width", str(width))
    assert max(cell_len(line) for line in text.splitlines()) <= width
    check(text, f"{case.replace(' ', '-')}-{width}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", ["tls", "command", "extensions"])
def test_events(case: str, width: int, tmp_path: Path) -> None:
    check(drawn(case, tmp_path, "--events", "--width", str(width)), f"{case}-events-{width}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", ["pipeline", "tls", "open", "wide", "hostile", "empty"])
def test_colours(case: str, width: int, tmp_path: Path) -> None:
    environ = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    text = drawn(case, tmp_path, "--width", str(width), environ=environ)
    check(text, f"{case}-colours-{width}")


def test_colours_of_events(tmp_path: Path) -> None:
    environ = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    text = drawn("tls", tmp_path, "--events", "--width", "120", environ=environ)
    check(text, "tls-events-colours-120")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "iso8859-15", "euc-jp", "big5"])
@pytest.mark.parametrize("case", ["wide", "hostile"])
def test_what_the_output_has_no_characters_for_takes_its_cells(
    case: str, encoding: str, width: int, tmp_path: Path
) -> None:
    """Columns stand where they would stand, and nothing is refused."""
    url = traces.write(tmp_path / "store.db", stored(case))
    lines = {}
    for each in (encoding, "ascii"):
        raw = io.BytesIO()
        stdout = io.TextIOWrapper(raw, encoding=each)  # which raises for what it cannot write
        environment = Environment(stdout=stdout, environ={}, clock=lambda: NOW_NS, width=width)
        assert program(["show", "@latest", "--events", "--store", url], environment) == 0
        lines[each] = raw.getvalue().decode(each).splitlines()
    assert list(map(cell_len, lines[encoding])) == list(map(cell_len, lines["ascii"]))
    assert max(map(cell_len, lines[encoding])) <= width


SMALL = [case for case in CASES if case != "folded"]


@pytest.mark.parametrize("case", SMALL)
def test_colours_add_nothing_but_colours(case: str, tmp_path: Path) -> None:
    """Without them, the same characters are there."""
    plain = drawn(case, tmp_path, "--events", "--width", "120")
    (tmp_path / "coloured").mkdir()
    environ = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    coloured = drawn(case, tmp_path / "coloured", "--events", "--width", "120", environ=environ)
    assert "\x1b[" in coloured
    assert stripped(re.sub(r"\x1b\[[0-9;]*m", "", coloured)) == plain


@pytest.mark.parametrize("case", ["pipeline", "tls", "open", "wide", "folded"])
def test_a_terminal_without_unicode(case: str, tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(**CASES[case]))
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    stderr = io.StringIO()
    environment = Environment(stdout=stdout, stderr=stderr, environ={}, clock=lambda: NOW_NS)
    code = program(["show", "@latest", "--store", url, "--width", "80"], environment)
    assert (code, stderr.getvalue()) == (0, "")
    stdout.flush()
    assert isinstance(stdout.buffer, io.BytesIO)
    check(stripped(stdout.buffer.getvalue().decode("ascii")), f"{case}-ascii-80")


@pytest.mark.parametrize("case", SMALL)
def test_nothing_is_wider_than_the_terminal(case: str, tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(**CASES[case]))
    for width in (80, 97, 109, 110, 133, 159, 160, 199, 300):
        text = run("show", "@latest", "--store", url, "--width", str(width)).stdout
        assert max(cell_len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("case", SMALL)
def test_figures_are_whole_in_a_narrow_terminal(case: str, tmp_path: Path) -> None:
    """How long the rows of the partition and the waterfall took, with its unit."""
    url = traces.write(tmp_path / "store.db", traces.execution(**CASES[case]))

    def took(width: int) -> list[str]:
        text = run("show", "@latest", "--store", url, "--width", str(width)).stdout
        return re.findall(
            r"(?m)^ *(?:all|[a-z]+|run queue|[ncew]\d+ .*?|on a CPU) +"
            r"(\d[\d.]* (?:ms|s|min))(?:  |$)",
            text.partition("\n\n")[2],
        )

    for width in (40, 50, 60, 70):
        assert took(width) == took(80)


def test_wide_shows_everything_on_a_narrow_terminal(tmp_path: Path) -> None:
    wide = drawn("tls", tmp_path, "--wide", environ={"COLUMNS": "80"})
    assert wide == (GOLDEN / "tls-200.txt").read_text()


def test_events_lists_every_record(tmp_path: Path) -> None:
    lines = drawn("folded", tmp_path, "--events", "--width", "80").splitlines()
    for letter, count in (("c", 10_301), ("n", 1_000), ("x", 40)):
        numbered = [line for line in lines if re.match(rf" *{letter}\d+  ", line)]
        numbers = {line.split()[0] for line in numbered}
        assert numbers == {f"{letter}{number}" for number in range(1, count + 1)}


@pytest.mark.parametrize("width", ["39", "1001", "x"])
def test_a_width_that_is_none_is_refused(width: str, tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", traces.execution(**CASES["empty"]))
    assert run("show", "@latest", "--store", url, "--width", width).code == 2
