"""--filter, --slo, --color, and the commands over many executions, on a real store."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import support_traces as traces
from support_cli import run
from support_show import stored

from lambdatrace.analysis.filters import BOOLEAN, MOMENT, NUMBER, TEXT, Kind
from lambdatrace.analysis.summary import read_execution
from lambdatrace.cli import filtering
from lambdatrace.export import documents
from lambdatrace.model import Part

MS = traces.MS
MINUTE = 60_000 * MS


def partition(**parts: float) -> list[int | None]:
    return [None if part == "steal" else round(parts.get(part, 0) * MS) for part in Part]


def slow(number: int) -> float:
    """ms."""
    return 1_500.0 if number == 19 else 100.0 + number


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Twenty executions, a minute apart; the last and oldest is slow, and two failed."""
    return traces.write(
        tmp_path / "store.db",
        *(
            traces.execution(
                traces.pipeline() if number == 0 else [],
                execution_id=f"e{number:02}",
                started_ns=traces.STARTED_NS - number * MINUTE,
                duration_ns=round(slow(number) * MS),
                status="error" if number in (3, 4) else "ok",
                function="checkout" if number % 2 else "thumbnails",
                partition=partition(wait=slow(number) - 40, cpu=40),
                shares=[["wait", "partner.example:443", round((slow(number) - 50) * MS)]],
                destinations=[
                    traces.destination(
                        host="partner.example", time=slow(number) - 40, wait=[slow(number) - 40]
                    ),
                    *([traces.destination("10.0.0.9", 5432, errors=1)] if number == 5 else []),
                ],
            )
            for number in range(20)
        ),
        # The hour before.
        traces.execution(
            execution_id="before",
            started_ns=traces.STARTED_NS - 120 * MINUTE,
            destinations=[traces.destination(host="partner.example", time=50)],
        ),
    )


HOUR = ("--since", "90m")


def ids(store: str, *arguments: str) -> list[str]:
    result = run("list", "--store", store, *HOUR, "-o", "jsonl", *arguments)
    assert result.code == 0, result.stderr
    return [json.loads(line)["execution_id"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--filter", "status!=ok"], ["e03", "e04"]),
        (["--filter", "duration_ms>=1000"], ["e19"]),
        (["--filter", "port=5432"], ["e05"]),
        (["--filter", "port=5432,host~partner"], []),  # no one destination is both
        (["--filter", "host~PARTNER,wait_ms>1000"], ["e19"]),
        (["--filter", "partition.wait_ms>=1460"], ["e19"]),
        (["--filter", "partition.steal_ms!=null"], []),
        (["--dst", "10.0.0.9"], ["e05"]),
        (["--dst", "Partner", "--min-duration", "118"], ["e18", "e19"]),
        (["--errors"], ["e00", "e03", "e04"]),
        (["--slowest", "-n", "2"], ["e19", "e18"]),
        (["--filter", "host=nowhere"], []),
    ],
)
def test_list(store: str, arguments: list[str], expected: list[str]) -> None:
    if "--errors" in arguments:
        # One whose connections failed ended well.
        failed = traces.execution(execution_id="e00", started_ns=traces.STARTED_NS, errors=1)
        traces.write(Path(store.removeprefix("sqlite://")), failed)
    assert ids(store, *arguments) == expected


def test_nothing_passes_the_filter(store: str) -> None:
    result = run("list", "--store", store, *HOUR, "--filter", "host=nowhere")
    assert "no executions that pass the filter since 90m" in result.stderr


def test_largest_part_in_the_table(store: str) -> None:
    result = run("list", "--store", store, *HOUR, "--slowest", "-n", "1", width=120)
    assert "97% wait partner.example:443" in result.stdout


def test_show_chooses_connections(store: str) -> None:
    arguments = ("show", "e00", "--store", store, "--filter", "port<500,outcome=ok")
    result = run(*arguments, "-o", "json")
    found = json.loads(result.stdout)
    assert [one["id"] for one in found["connections"]] == [1, 2]
    assert result.stderr == "note: 2 of 5 connections pass the filter\n"
    table = run(*arguments)
    assert "10.0.0.7:443" in table.stdout
    assert "8443" not in table.stdout
    none = run("show", "e00", "--store", store, "--filter", "host~nowhere")
    assert "no connection passes the filter" in none.stdout


def test_show_chooses_among_executions(store: str) -> None:
    def shown(*arguments: str) -> str:
        result = run("show", *arguments, "--store", store, *HOUR, "-o", "json")
        assert result.code == 0, result.stderr
        return str(json.loads(result.stdout)["execution"]["execution_id"])

    assert shown("@latest", "--filter", "status=error") == "e03"
    assert shown("@slowest", "--filter", "status=error") == "e04"
    assert shown("@slowest", "--function", "thumbnails") == "e18"
    assert run("show", "e1", "--filter", "status=error", "--store", store).code == 3


def rows(store: str, *arguments: str) -> list[dict[str, Any]]:
    result = run("top-destinations", "--store", store, *HOUR, "-o", "json", *arguments)
    assert result.code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_top_destinations_filters_what_goes_in_and_what_comes_out(store: str) -> None:
    assert [row["executions"] for row in rows(store)] == [20, 1]
    assert [row["executions"] for row in rows(store, "--filter", "status=error")] == [2]
    assert [row["port"] for row in rows(store, "--filter", "port=5432")] == [5432]
    assert [row["executions"] for row in rows(store, "--filter", "wait_ms>1000")] == [1]
    assert [row["port"] for row in rows(store, "--filter", "executions<5")] == [5432]
    assert rows(store, "--filter", "wait_p99_ms<1000") == []


def test_top_destinations_by_function_and_change(store: str) -> None:
    found = rows(store, "--by", "function")
    assert [row["function"] for row in found] == ["checkout", "thumbnails"]
    assert [row["host"] for row in found] == [None, None]
    (first, _) = rows(store)
    # 50 ms an execution in the window before.
    assert first["change"] == pytest.approx(first["time_ms"] / 20 / 50 - 1, abs=1e-6)
    # What is new has no change in figures: that is the largest.
    assert [row["change"] is None for row in rows(store, "--sort", "change")] == [True, False]


def test_corrupt_figures_are_owned_up_to(tmp_path: Path) -> None:
    bad = traces.destination()
    bad[4] = -1
    url = traces.write(
        tmp_path / "store.db",
        traces.execution(execution_id="bad", destinations=[bad]),
        traces.execution(execution_id="good", destinations=[traces.destination()]),
    )
    result = run("top-destinations", "--store", url, "-o", "jsonl")
    assert json.loads(result.stdout)["connections"] == 1
    assert result.code == 1
    assert "1 destination left out: corrupt figures" in result.stderr


def test_stats(store: str) -> None:
    result = run("stats", "--store", store, *HOUR, "--function", "checkout", "-o", "json")
    found = json.loads(result.stdout)
    assert (found["function"], found["executions"]) == ("checkout", 10)
    assert sum(each["count"] for each in found["histogram"]) == 10
    by_name = {row["name"]: row for row in found["distributions"]}
    assert tuple(by_name["total"]) == documents.DISTRIBUTION_FIELDS
    assert (by_name["total"]["p50_ms"], by_name["total"]["max_ms"]) == (109.0, 1_500.0)
    assert (by_name["cpu"]["p99_ms"], by_name["steal"]["count"]) == (40.0, 0)
    text = run("stats", "--store", store, *HOUR, "-o", "csv").stdout
    assert [row["name"] for row in csv.DictReader(io.StringIO(text))] == ["total", *Part]
    table = run("stats", "--store", store, *HOUR, width=80).stdout
    assert "20 executions, 18 ok, 2 error" in table
    assert "not known: steal" in table
    nothing = run("stats", "--store", store, "--since", "1m")
    assert (nothing.code, nothing.stdout) == (0, "")
    assert "no executions since 1m" in nothing.stderr


def test_compare_two(store: str) -> None:
    result = run("compare", "e00", "@slowest", "--store", store, *HOUR, "-o", "json")
    found = json.loads(result.stdout)
    assert (found["a"]["execution_id"], found["b"]["execution_id"]) == ("e00", "e19")
    assert found["parts"][0] == {
        "part": "wait", "a_ms": 60.0, "b_ms": 1_460.0, "difference_ms": 1_400.0,
    }  # fmt: skip
    (place,) = found["destinations"]
    assert (place["host"], place["difference_ms"]) == ("partner.example", 1_400.0)
    text = run("compare", "e05", "e19", "--store", store, *HOUR, "-o", "csv").stdout
    records = [(row["record"], row["name"]) for row in csv.DictReader(io.StringIO(text))]
    assert records[0] == ("total", "total")
    assert records[1] == ("part", "wait")
    assert records[-2:] == [("destination", "partner.example"), ("destination", "10.0.0.9")]
    arguments = ("compare", "e05", "e19", "--store", store, *HOUR)
    table = run(*arguments, width=100).stdout
    assert "+1.40 s" in table
    assert "10.0.0.9:5432" in table
    assert "10.0.0.9" not in run(*arguments, "--filter", "host~partner").stdout


def test_compare_slow(store: str) -> None:
    result = run("compare", "--slow", "--store", store, *HOUR, "-o", "json")
    found = json.loads(result.stdout)
    assert (found["a"]["executions"], found["b"]["executions"]) == (4, 1)
    assert found["b"]["duration_ms"] == 1_500.0
    assert "2 functions taken together" in result.stderr
    few = run("compare", "--slow", "--filter", "status=error", "--store", store, *HOUR)
    assert (few.code, "2 executions are too few" in few.stderr) == (3, True)


@pytest.mark.parametrize("arguments", [["e00"], [], ["--slow", "e00"], ["e00", "e01", "e02"]])
def test_compare_takes_two(store: str, arguments: list[str]) -> None:
    result = run("compare", *arguments, "--store", store)
    assert (result.code, "takes two executions" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--slo", "total=1000"], "1 of 20 executions broke the limits"),
        (["list", "--slo", "wait=1000,total=5000"], "(wait): lambdatrace show e19"),
        (["list", "--filter", "status=ok", "--slo", "cpu=39"], "18 of 18 executions"),
        (["show", "e19", "--slo", "total=1000"], "1 of 1 execution broke"),
        (["stats", "--slo", "total=1000"], "the p99 of total broke the limits"),
        (["top-destinations", "--slo", "wait=1000"], "1 of 2 destinations broke the limits"),
        (["compare", "e00", "e19", "--slo", "total=1000"], "1 of 2 executions broke"),
    ],
)
def test_a_broken_limit_is_exit_code_4(store: str, arguments: list[str], said: str) -> None:
    result = run(*arguments, "--store", store, *HOUR)
    assert result.code == 4
    assert result.stdout
    assert said in result.stderr
    kept = [word.replace("=1000", "=9000").replace("cpu=39", "cpu=40") for word in arguments]
    assert run(*kept, "--store", store, *HOUR).code == 0


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "e00"], ["stats"], ["top-destinations"], ["compare", "--slow"], ["tail"]],
)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--filter", "hots=1"], "there is no field 'hots'"),
        (["--filter", "status"], "'status' is not a condition"),
        (["--slo", "nothing=1"], "'nothing=1' is not a limit"),
        (["--color", "blue"], "blue"),
        (["--region", "eu-west-1"], "is DynamoDB's"),
    ],
)
def test_bad_options(store: str, arguments: list[str], options: list[str], said: str) -> None:
    result = run(*arguments, *options, "--store", store)
    assert result.code == 2
    assert said in result.stderr or (arguments == ["tail"] and options[0] == "--slo")
    assert result.stdout == ""


def test_top_destinations_has_limits_for_what_it_knows(store: str) -> None:
    result = run("top-destinations", "--slo", "total=1", "--store", store)
    assert (result.code, "the names are dns, connect, tls, wait" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["list", "stats", "top-destinations"])
def test_colours(store: str, command: str) -> None:
    def has_colours(*arguments: str, **environ: str) -> bool:
        result = run(command, "--store", store, *HOUR, *arguments, environ=environ)
        assert result.code == 0
        return "\x1b[" in result.stdout

    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert not has_colours()
    assert has_colours(**terminal)
    assert has_colours("--color", "always")
    assert has_colours("--color", "always", NO_COLOR="1")
    assert not has_colours("--color", "never", **terminal)


def test_wide_shows_every_column(store: str) -> None:
    arguments = ("top-destinations", "--store", store, *HOUR)
    assert "dns p50" not in run(*arguments, width=80).stdout
    assert "dns p50" in run(*arguments, "--wide", width=80).stdout


def kinds(document: dict[str, Any]) -> dict[str, Kind]:
    """What the values of a document look like."""
    names = {str: TEXT, bool: BOOLEAN, int: NUMBER, float: NUMBER}
    return {name: names[type(value)] for name, value in document.items() if type(value) in names}


def test_every_documented_field_can_be_filtered_by() -> None:
    execution = read_execution(
        traces.summary(
            partition=[1] * len(Part), destinations=[traces.destination(host="a", wait=[1])]
        )
    )
    document = documents.list_row(execution)
    assert [*filtering.EXECUTION_FIELDS] == [*documents.LIST_CSV_FIELDS][1:]
    assert filtering.CONNECTION_FIELDS.keys() == set(documents.CONNECTION_FIELDS)
    figures = documents.figures_document(execution.destinations[0])
    assert figures.keys() == filtering.DESTINATION_FIELDS.keys()
    (row,) = traces.destination_rows([execution])
    found = documents.destination_document(row)
    not_numbers = {"schema_version", "function", "reused", "times_ms"}
    places = {"host", "address", "port", "protocol"}
    assert filtering.ROW_FIELDS.keys() == found.keys() - not_numbers - places
    for fields, values in (
        (filtering.EXECUTION_FIELDS, document),
        (filtering.DESTINATION_FIELDS, figures),
        (filtering.ROW_FIELDS, found),
    ):
        for name, kind in kinds(values).items():
            declared = fields.get(name, kind)
            base = TEXT if isinstance(declared, tuple) or declared == MOMENT else declared
            assert base == kind, name


def test_the_verdict_names_rows_as_the_filtered_view_numbers_them(tmp_path: Path) -> None:
    url = traces.write(tmp_path / "store.db", stored("pipeline"))

    def evidence(condition: str) -> tuple[str, list[dict[str, Any]]]:
        found = run("show", "@latest", "--store", url, "--filter", condition, "-o", "json")
        document = json.loads(found.stdout)
        verdict = document["verdict"]
        for each in verdict["evidence"]:
            row = document[f"{each['kind']}s"][each["number"] - 1]
            assert row.get("connection_id", row.get("id")) == 2
        return verdict["text"], verdict["evidence"]

    assert "took 1.16 s (e1, c3);" in evidence("port>0")[0]
    assert "took 1.16 s (e1, c2);" in evidence("port!=53")[0]
    assert "took 1.16 s (e1, c1);" in evidence("port=443")[0]
    text, rows = evidence("port=5432")
    assert ("took 1.16 s;" in text, rows) == (True, [])
