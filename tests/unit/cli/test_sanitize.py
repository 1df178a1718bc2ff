"""Hostile names, through every view and every form of output."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st
from support_cli import rendered

from lambdatrace.analysis.phases import told_apart
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.trace import read_trace
from lambdatrace.analysis.verdict import judge_summary
from lambdatrace.analysis.waterfall import waterfall
from lambdatrace.cli.environment import Environment
from lambdatrace.cli.output import encoded, write_array, write_csv, write_lines, write_object
from lambdatrace.cli.views.destinations import DestinationTable
from lambdatrace.cli.views.events import event_lists
from lambdatrace.cli.views.execution import execution_view
from lambdatrace.cli.views.executions import ExecutionTable
from lambdatrace.cli.views.partition import PartitionView
from lambdatrace.cli.views.processes import failed_processes
from lambdatrace.cli.views.waterfall import WaterfallView
from lambdatrace.export import documents
from lambdatrace.sanitize import cell, clean

HOSTILE = [
    "[red]",
    "[/]",
    "[link=http://evil]x[/link]",
    ":smile:",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb\nc\td\be",
    "\u202etxt.exe",
    "\u2066\u2069\u200b\ufeff",
    "\u2028\u2029",
    "\x00\x7f",
    "\ud800",
    "=cmd|'/c calc'!A1",
    "\U000e0041",
]
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=60))


def is_harmless(text: str) -> bool:
    return all(mark == "\n" or unicodedata.category(mark)[0] not in "C" for mark in text) and not (
        {"\u2028", "\u2029"} & set(text)
    )


def joined(lines: list[str]) -> str:
    """What was folded, together again."""
    return "".join("".join(lines).split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, with [brackets]", "plain, with [brackets]"),
        ("データ é", "データ é"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b", r"\x9b"),
        ("a\nb", r"a\nb"),
        ("\u202e", r"\u202e"),
        ("\ud800", r"\ud800"),
        ("x" * 1_001, "x" * 999 + "…"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1"])
def test_cells_are_no_formulas(text: str) -> None:
    assert not cell(text).lstrip().startswith(("=", "+", "-", "@", "\t"))


@given(TEXT)
def test_clean_is_harmless(text: str) -> None:
    assert is_harmless(clean(text))
    assert "\n" not in clean(text)


@given(name=TEXT, comm=st.binary(max_size=16) | st.just(b"\x1b[31m[red]"))
def test_views_show_hostile_names_as_they_are(name: str, comm: bytes) -> None:
    rows = [
        traces.connection(1, comm=comm),
        traces.connection(2, port=444, tgid=101, comm=comm, closed=5),
    ]
    rows.append(traces.connection(3, tls_started=1, closed=4))
    items = traces.execution(
        rows,
        blocked=[traces.blocked("fsync", path=name.encode(errors="surrogatepass")[:96])],
        details={
            "hosts": {"3": name},
            "tls": {"3": [name, name, name]},
            "processes": [
                traces.process(100, name=name),
                traces.process(101, name=name, exit_code=1),
            ],
            "lookups": [[name, name, name, traces.moment(0), 0, 1, name, 0, [name], 100, 9]],
        },
        pauses=[traces.pause("file", op="fsync"), traces.pause("sleep", op="nanosleep")],
        partition=[1, 2, 3, 4, 5, 6, 7, None, 8, 9, 10, 11],
        shares=[["wait", name, 3], ["file", name, 4]],
        unavailable={"cpu": name, name: name},
        unseen=[name],
        folded={name: 2},
        capture=[name, "processes", "blocked", "cpu"],
        execution_id=f"id {name}".encode(errors="replace").decode(), function=name,
        version=name, command=name, backend=name, edges=name,
        destinations=[traces.destination(host=name), traces.destination(name, port=444)],
    )  # fmt: skip
    trace = read_trace(items)
    execution = trace.execution
    apart = told_apart(trace.connections, trace.exchanges, whole=True)
    view = WaterfallView(waterfall(trace, apart), apart, {100: name})
    for width in (80, 200):
        lines = rendered(
            execution_view(execution),
            PartitionView(execution, trace.pauses),
            view,
            *failed_processes(trace.processes),
            *event_lists(trace, apart, (), {100: name}),
            ExecutionTable([execution], [execution.execution_id], [judge_summary(execution)]),
            DestinationTable(traces.destination_rows([execution])),
            width=width,
        )
        assert is_harmless("\n".join(lines))
    for markup in ("[red]", "[/]", ":smile:"):  # shown, not interpreted
        if name == markup:
            assert joined(lines).count(markup) >= 15


@given(name=TEXT)
def test_forms_of_output_hold_hostile_names_safely(name: str) -> None:
    execution = read_execution(traces.summary(name or "x", function=name, command=name))
    rows = [documents.list_document(execution, judge_summary(execution))]
    text = io.StringIO()
    write_array(rows, text)
    assert json.loads(text.getvalue())[0]["function"] == name
    write_lines(rows, text)
    write_object({"name": name}, {"rows": encoded(rows)}, text)
    assert text.getvalue().isascii()
    assert is_harmless(text.getvalue())
    table = io.StringIO(newline="")
    flat = [documents.list_row(execution)]
    write_csv(flat, documents.LIST_CSV_FIELDS, table)
    assert is_harmless(table.getvalue())
    (row,) = csv.DictReader(io.StringIO(table.getvalue(), newline=""))
    assert not row["function"].startswith(("=", "+", "-", "@"))


@given(TEXT)
def test_messages_are_one_line(text: str) -> None:
    stderr = io.StringIO()
    Environment(stderr=stderr, environ={}).error(text, f"hint {text}")
    assert is_harmless(stderr.getvalue())
    assert stderr.getvalue().count("\n") == 2
