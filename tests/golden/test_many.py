"""Views over many executions as a whole: `list`, `tail`, `stats`, `compare`, `top-destinations`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import support_traces as traces
from rich.cells import cell_len
from support_cli import rendered, run
from support_golden import COLORS, WIDTHS, check, hold
from support_views import CASES, STRANGE, USUAL

from lambdatrace.analysis.compare import compare
from lambdatrace.analysis.destinations import By, Tally, add_executions
from lambdatrace.analysis.stats import distributions, histogram
from lambdatrace.analysis.taken import taken
from lambdatrace.analysis.times import Window
from lambdatrace.analysis.usual import Recent
from lambdatrace.analysis.verdict import judge_summaries
from lambdatrace.cli.views.comparison import comparison_views
from lambdatrace.cli.views.destinations import DestinationTable
from lambdatrace.cli.views.executions import ExecutionTable
from lambdatrace.cli.views.following import ExecutionLines
from lambdatrace.cli.views.stats import DistributionTable, Histogram, stats_head

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from lambdatrace.model import Execution


def views_of(view: str, executions: list[Execution]) -> list[RenderableType]:
    """What a command draws of these."""
    if view == "list":
        ids = [one.execution_id for one in executions]
        return [ExecutionTable(executions, ids, judge_summaries(executions, Recent()))]
    if view == "tail":
        return [ExecutionLines(executions, judge_summaries(executions, Recent()), is_first=True)]
    if view == "stats":
        found = taken(executions)
        rows = DistributionTable(distributions(found))
        return [stats_head(found), rows, Histogram(histogram(found.durations_ns))]
    if view == "compare":
        return comparison_views(compare(executions[:1], executions[1:] or executions))
    window = Window(traces.STARTED_NS - traces.HOUR_NS, traces.STARTED_NS + 1)
    tally, before = Tally(By.HOST, window), Tally(By.HOST, window)
    add_executions(tally, executions)
    add_executions(before, [USUAL[0], USUAL[0], *USUAL[1:]])
    return [DestinationTable(tally.rows(before))]


# What finds nothing in a store without executions, and what nobody's filter lets through.
SEARCHES = (
    "list",
    "list --errors --min-duration 500 --dst partner --status timeout",
    "list --slowest",
    "top-destinations",
    "top-destinations --by function --filter wait_p95_ms>=100",
    "stats",
    "stats --function checkout --slo total=500",
    "compare --slow",
    "compare --slow --function checkout --filter cold_start=false",
    "compare @latest @slowest",
    "compare 4f2c b700",
)


VIEWS = ("list", "tail", "stats", "compare", "top-destinations")


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("view", VIEWS)
def test_as_it_was(view: str, case: str, width: int, color: bool) -> None:
    check(f"{view}-{case}", *views_of(view, CASES[case]), width=width, color=color)


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_cut_at_any_width(view: str) -> None:
    """Every heading is whole, and no line is longer than there is room for."""
    widest = rendered(*views_of(view, USUAL), width=400)
    known = {word for line in widest for word in line.split()}
    for width in range(80, 201):
        lines = rendered(*views_of(view, USUAL + STRANGE), width=width)
        assert max(map(cell_len, lines)) <= width
        heads = [lines[n - 1] for n, line in enumerate(lines) if line.startswith("───")]
        for word in " ".join(heads).split():
            assert word in known or word == "started", (width, word)


@pytest.mark.parametrize("view", ["stats", "compare", "top-destinations"])
def test_no_figure_is_cut_in_a_narrow_terminal(view: str) -> None:
    """Rather a column less: `-49.3 m` and `1 min 44` are something else."""

    def figures(lines: list[str]) -> set[str]:
        # What is folded is the first column.
        return {cell for line in lines for cell in re.split(r"\s{2,}", line.rstrip())[1:]}

    whole = figures(rendered(*views_of(view, USUAL), width=400))
    for width in range(40, 80):
        lines = rendered(*views_of(view, USUAL), width=width)
        assert max(map(cell_len, lines)) <= width
        under = [n for n, line in enumerate(lines) if line.startswith("───")]
        assert figures(lines[under[0] : under[0] + 5]) <= whole, width
        assert figures(lines[under[-1] : under[-1] + 5]) <= whole, width


@pytest.mark.parametrize("width", [60, *WIDTHS])
@pytest.mark.parametrize("view", VIEWS)
def test_a_terminal_without_unicode_is_asked_for_none(view: str, width: int) -> None:
    """A stand-in like `\\u2026` would have six cells instead of one."""
    lines = rendered(*views_of(view, USUAL), width=width, encoding="ascii")
    assert "".join(lines).isascii()
    assert max(map(len, lines)) <= width


def test_nothing_at_all() -> None:
    assert rendered(ExecutionTable([], [], []), width=80)
    assert rendered(DestinationTable([]), width=80)
    assert rendered(DistributionTable(distributions(taken([]))), width=80)
    assert rendered(Histogram([]), width=80) == []
    assert rendered(ExecutionLines([], [], is_first=False), width=80) == []


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_nothing_is_found(output: str, tmp_path: Path) -> None:
    """What is printed, on which stream, and how the command exits."""
    url = traces.write(tmp_path / "store.db", [])
    lines = []
    for search in SEARCHES:
        found, *others = (
            run(*search.split(), "--store", url, "-o", output, width=width) for width in WIDTHS
        )
        assert others == [found, found]
        lines.append(f"$ lambdatrace {search} -o {output}")
        lines += [f"1: {line}" for line in found.stdout.splitlines()]
        lines += [f"2: {line}" for line in found.stderr.splitlines()]
        lines.append(f"exit code {found.code}")
    hold(f"nothing-{output}", lines)


@pytest.mark.parametrize("view", ["list", "tail", "stats"])
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("width", [1, 40, *WIDTHS])
def test_a_view_of_nothing_can_be_drawn(view: str, color: bool, width: int) -> None:
    lines = rendered(*views_of(view, []), width=width, color=color)
    assert all(cell_len(re.sub("\x1b[^m]*m", "", line)) <= width for line in lines)
