"""The reading commands on a real store: their JSON, JSON lines, CSV, notes and errors."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import support_traces as traces
from support_cli import run

from lambdatrace.export import documents
from lambdatrace.items import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.items import Item

ID = "4f2c9a10-0000-4000-8000-000000000001"


@pytest.fixture
def store(tmp_path: Path) -> str:
    minute = 60_000 * traces.MS
    return traces.write(
        tmp_path / "store.db",
        traces.execution(
            traces.pipeline(),
            execution_id=ID,
            status="timeout",
            errors=1,
            dropped={"events": 2},
            folded={"exchanges": 3},
            capture=["dns", "tls", "exchanges", "cpu", "processes"],
            unavailable={"blocked": "no sched_switch"},
            unseen=["io_uring"],
            steal_ns=20 * traces.MS,
            major_faults=None,
            partition=[1 * traces.MS, *[0] * 10, None],
            shares=[["wait", "api.example:443", traces.MS]],
            ending=[0, 9, 1],
            kept=True,
            keep="1/1",
            agent={
                "cpu_ns": 11_400_000,
                "peak_bytes": 18_300_000,
                "after_ns": 42_000_000,
                "sent_bytes": 3_100,
                "write_units": 3,
                "flushes": 1,
                "retries": 0,
                "spooled": 2,
                "drained": 1,
            },
            exchanges=[
                traces.exchange(2, first_out=80, last_out=82, first_in=1_240, last_in=1_310)
            ],
            destinations=[traces.destination(time=1_285, connect=[51])],
        ),
        *(
            traces.execution(
                execution_id=f"4f2d-{number}",
                function="thumbnails",
                started_ns=traces.STARTED_NS - number * minute,
                destinations=[traces.destination(), traces.destination(port=80, time=1)],
            )
            for number in range(1, 25)
        ),
    )


def test_show_json(store: str) -> None:
    result = run("show", ID, "--store", store, "--output", "json")
    document = json.loads(result.stdout)
    assert (result.code, result.stderr) == (0, "")
    assert document["schema_version"] == 1
    assert document["execution"] == {
        "execution_id": ID,
        "function": "checkout",
        "version": "7",
        "started_at": "2026-11-22T07:00:00.000000000Z",
        "duration_ms": 2_000.0,
        "status": "timeout",
        "cold_start": False,
        "backend": "ebpf",
        "backend_why": None,
        "level": "flows",
        "edges": "kernel",
        "tolerance_ms": None,
        "memory_mb": 512,
        "command": None,
        "exit_code": None,
        "connection_count": 5,
        "error_count": 1,
        "dropped": 2,
        "dropped_by": {"events": 2},
        "folded": {"exchanges": 3},
        "missing_chunks": 0,
        "capture": ["dns", "tls", "exchanges", "cpu", "processes"],
        "unavailable": {"blocked": "no sched_switch"},
        "unseen": ["io_uring"],
        "cpu_ms": 310.0,
        "cpu_wall_ms": 300.0,
        "runqueue_ms": 12.0,
        "runqueue_wall_ms": 9.0,
        "steal_ms": 20.0,
        "major_faults": None,
        "partition": {
            **dict.fromkeys(
                (
                    "dns_ms",
                    "connect_ms",
                    "tls_ms",
                    "wait_ms",
                    "transfer_ms",
                    "file_ms",
                    "sleep_ms",
                    "lock_ms",
                    "cpu_ms",
                    "runqueue_ms",
                    "steal_ms",
                ),
                0.0,
            ),
            "dns_ms": 1.0,
            "other_ms": None,
        },
        "shares": [{"part": "wait", "subject": "api.example:443", "ms": 1.0}],
        "ending": {"exit_code": None, "signal": "SIGKILL", "out_of_memory": True},
        "in_init": False,
        "kept": True,
        "keep": "1/1",
        "agent": {
            "cpu_ms": 11.4,
            "peak_mb": 18.3,
            "after_ms": 42.0,
            "sent_bytes": 3_100,
            "write_units": 3,
            "flushes": 1,
            "retries": 0,
            "spooled": 2,
            "drained": 1,
        },
    }
    assert "syscalls" not in document
    by_id = {one["id"]: one for one in document["connections"]}
    assert list(by_id) == [4, 1, 2, 3, 5]
    assert tuple(by_id[2]) == documents.CONNECTION_FIELDS
    assert (by_id[2]["address"], by_id[2]["port"], by_id[2]["protocol"]) == ("10.0.0.7", 443, "tcp")
    assert (by_id[2]["started_ms"], by_id[2]["connect_ms"]) == (27.0, 51.0)
    assert (by_id[2]["duration_ms"], by_id[2]["wait_ms"]) == (1_285.0, 1_158.0)
    assert (by_id[2]["outcome"], by_id[2]["error"]) == ("ok", None)
    assert (by_id[3]["outcome"], by_id[3]["error"]) == ("refused", "ECONNREFUSED")
    assert by_id[3]["connect_ms"] is None
    assert (by_id[5]["outcome"], by_id[5]["connect_ms"]) == ("connecting", None)
    assert by_id[4]["reused"] is True


CONNECTION = {
    "established": 1, "first_out": 2, "first_in": 6, "tls_started": 2, "tls_ended": 9,
    "last_out": 50, "closed": 90, "exchanges": 1, "waited": 1_000, "transferred": 1_000,
}  # fmt: skip


def test_show_what_was_captured_in_json_and_lines(tmp_path: Path) -> None:
    items = traces.execution(
        [traces.connection(**CONNECTION)],
        exchanges=[
            traces.exchange(first_out=10, last_out=11, first_in=20, last_in=25, bytes_in=7,
                            receives=2, retransmits=1),
            traces.exchange(first_out=50),
        ],
        blocked=[traces.blocked("fsync", started=3, ended=8, waited=4, path=b"/tmp/x", result=-5)],
        details={
            "hosts": {"1": "api.test"},
            "tls": {"1": ["api.test", "1.3", ""]},
            "processes": [traces.process(200, name="sh", started=1, ended=2, signal=11)],
            "extensions": [traces.elsewhere()],
        },
    )  # fmt: skip
    url = traces.write(tmp_path / "store.db", items)
    document = json.loads(run("show", ID, "--store", url, "-o", "json").stdout)
    (one,) = document["connections"]
    assert (one["host"], one["tls_server_name"], one["tls_version"]) == ("api.test",) * 2 + ("1.3",)
    assert (one["tls_started_ms"], one["tls_ms"], one["tls_error"]) == (2.0, 7.0, None)
    # 9 ms for the first answer, 40 ms in vain: what the exchanges say, not the connection's sums.
    assert (one["exchanges"], one["wait_ms"], one["transfer_ms"]) == (2, 49.0, 5.0)
    assert document["exchanges"] == [
        {"connection_id": 1, "started_ms": 10.0, "request_ms": 1.0, "wait_ms": 9.0,
         "transfer_ms": 5.0, "bytes_out": 100, "bytes_in": 7, "sends": 1, "receives": 2,
         "retransmits": 1},
        {"connection_id": 1, "started_ms": 50.0, "request_ms": 0.0, "wait_ms": None,
         "transfer_ms": None, "bytes_out": 100, "bytes_in": 0, "sends": 1, "receives": 0,
         "retransmits": 0},
    ]  # fmt: skip
    assert document["blocked"] == [
        {"op": "fsync", "kind": "file", "fd": 5, "path": "/tmp/x", "process_id": 100,
         "thread_id": 100, "started_ms": 3.0, "duration_ms": 5.0, "blocked_ms": 4.0, "result": -5}
    ]  # fmt: skip
    assert document["processes"] == [
        {"process_id": 200, "parent_id": 100, "name": "sh", "started_ms": 1.0, "duration_ms": 1.0,
         "exit_code": None, "signal": "SIGSEGV", "out_of_memory": False}
    ]  # fmt: skip
    assert document["extensions"] == [
        {"process": "telegraf", "process_id": 77, "host": None, "address": "192.0.2.7",
         "port": 443, "protocol": "tcp", "started_ms": 1.0, "connect_ms": 1.0, "duration_ms": 8.0,
         "bytes_out": 310, "bytes_in": 4200, "error": None}
    ]  # fmt: skip
    lines = run("show", ID, "--store", url, "-o", "jsonl").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["record"] for row in rows] == [
        "execution", "verdict", "connection", "exchange", "exchange", "blocked", "extension",
        "process",
    ]  # fmt: skip
    assert rows[1] == {"schema_version": 1, "record": "verdict", **document["verdict"]}
    assert rows[5] == {"schema_version": 1, "record": "blocked", **document["blocked"][0]}


@pytest.mark.parametrize("changes", [{"capture": ["tls"]}, {"folded": {"exchanges": 1}}])
def test_waits_that_are_not_known_are_null(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The sums of a connection hold its handshake; not all of its exchanges are there."""
    items = traces.execution(
        [traces.connection(**CONNECTION)], exchanges=[traces.exchange(first_out=50)], **changes
    )
    url = traces.write(tmp_path / "store.db", items)
    (one,) = json.loads(run("show", ID, "--store", url, "-o", "json").stdout)["connections"]
    assert (one["wait_ms"], one["transfer_ms"]) == (None, None)
    assert one["exchanges"] == (None if "capture" in changes else 2)


def test_show_syscalls_in_json_and_lines(tmp_path: Path) -> None:
    calls = [
        traces.syscall("write", result=5),
        traces.syscall("recvfrom", result=-11, connection=0),
    ]
    items = traces.execution([traces.connection(closed=1)], calls, level="syscalls")
    url = traces.write(tmp_path / "store.db", items)
    expected = {
        "op": "write", "fd": 7, "connection_id": 1, "process_id": 100, "thread_id": 100,
        "started_ms": 0.0, "duration_ms": 0.01, "result": 5,
    }  # fmt: skip
    document = json.loads(run("show", ID, "--store", url, "-o", "json").stdout)
    assert document["syscalls"][0] == expected
    assert document["syscalls"][1]["connection_id"] is None
    lines = run("show", ID, "--store", url, "-o", "jsonl").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    kinds = [row["record"] for row in rows]
    assert kinds == ["execution", "verdict", "connection", "syscall", "syscall"]
    assert rows[3] == {"schema_version": 1, "record": "syscall", **expected}


def test_show_csv(store: str) -> None:
    result = run("show", ID, "--store", store, "--output", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert tuple(rows[0]) == documents.CONNECTION_FIELDS
    assert [row["port"] for row in rows] == ["8000", "53", "443", "8443", "5432"]
    assert (rows[1]["error"], rows[1]["connect_ms"], rows[1]["reused"]) == ("", "", "false")


def test_list(store: str) -> None:
    result = run("list", "--store", store, "--output", "json")
    rows = json.loads(result.stdout)
    assert len(rows) == 20
    assert tuple(rows[0]) == (*documents.LIST_FIELDS, "verdict")
    assert (rows[0]["execution_id"], rows[0]["dropped"], rows[0]["connection_count"]) == (ID, 2, 5)
    assert result.stderr == "note: 5 more; see them with --limit 25\n"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--limit", "50"], 25),
        (["--function", "thumbnails", "-n", "50"], 24),
        (["--status", "timeout"], 1),
        (["--since", "65m"], 6),
        (["--since", "2026-11-22T06:50:00Z", "--until", "2026-11-22T06:55:00Z"], 6),
    ],
)
def test_list_filters(store: str, arguments: list[str], count: int) -> None:
    lines = run("list", "--store", store, *arguments, "-o", "jsonl").stdout.splitlines()
    assert len(lines) == count


def test_list_csv(store: str) -> None:
    lines = run("list", "--store", store, "-o", "csv", "-n", "1").stdout.splitlines()
    assert lines[0] == ",".join(documents.LIST_CSV_FIELDS)
    assert len(lines) == 2


def test_top_destinations(store: str) -> None:
    result = run("top-destinations", "--since", "2h", "--store", store, "--output", "json")
    rows = json.loads(result.stdout)
    assert tuple(rows[0]) == documents.DESTINATION_FIELDS
    times = rows[0].pop("times_ms")
    assert (len(times), sum(times)) == (16, 1_525.0)
    assert rows[0] == {
        "schema_version": 1, "function": None, "host": None, "address": "10.0.0.7", "addresses": 1,
        "port": 443, "protocol": "tcp", "executions": 25, "connections": 25, "reused": 0,
        "reuse_ratio": 0.0, "requests": 0, "errors": 0, "bytes_out": 2_500, "bytes_in": 50_000,
        "connect_p50_ms": 5.0, "connect_p95_ms": 5.0, "connect_p99_ms": 51.0,
        **{f"{phase}_{quantile}_ms": None for phase in ("dns", "tls", "wait")
           for quantile in ("p50", "p95", "p99")},
        "time_ms": 1_525.0, "share": 0.984506, "change": None,
    }  # fmt: skip
    assert (rows[1]["port"], rows[1]["executions"]) == (80, 24)


def test_top_destinations_limit_and_sort(store: str) -> None:
    arguments = ("top-destinations", "--store", store, "-o", "jsonl", "--limit", "1")
    for sort in ("time", "connect", "connections", "bytes", "executions"):
        result = run(*arguments, "--sort", sort)
        assert json.loads(result.stdout)["port"] == 443
        assert result.stderr == "note: 1 more; see them with --limit 2\n"


def test_what_is_new_has_changed_most(tmp_path: Path) -> None:
    """And what is not known is last."""

    def one(number: int, started: int, *rows: list[Any]) -> list[Item]:
        return traces.execution(
            execution_id=f"id-{number}", started_ns=started, destinations=list(rows)
        )

    url = traces.write(
        tmp_path / "store.db",
        one(1, traces.STARTED_NS - 1, *(traces.destination(port=n, time=10) for n in (1, 2, 5))),
        one(2, traces.STARTED_NS + 1,
            traces.destination(port=1, time=12), traces.destination(port=2, time=5),
            traces.destination(port=3, time=1), traces.destination(port=4, time=0),
            traces.destination(port=5, time=10)),
    )  # fmt: skip
    result = run(
        "top-destinations", "--store", url, "--since", "1h", "--sort", "change", "-o", "json"
    )
    found = [(row["port"], row["change"]) for row in json.loads(result.stdout)]
    assert found == [(3, None), (1, 0.2), (5, 0.0), (2, -0.5), (4, None)]


def test_destinations_left_out_are_owned_up_to(tmp_path: Path) -> None:
    items = traces.execution(destinations=[traces.destination()], destinations_left_out=7)
    url = traces.write(tmp_path / "store.db", items)
    result = run("top-destinations", "--store", url)
    assert result.code == 0
    assert result.stderr.startswith("warning: 7 destinations not counted")


@pytest.mark.parametrize(
    ("command", "empty"),
    [
        (["list"], ""),
        (["list", "-o", "json"], "[]\n"),
        (["list", "-o", "jsonl"], ""),
        (["list", "-o", "csv"], ",".join(documents.LIST_CSV_FIELDS) + "\n"),
        (["list", "--status", "crash"], ""),
        (["top-destinations"], ""),
        (["top-destinations", "-o", "json"], "[]\n"),
        (["top-destinations", "-o", "csv"], ",".join(documents.DESTINATION_FIELDS) + "\n"),
    ],
)
def test_nothing_found_is_no_error_and_says_where_it_looked(
    store: str, command: list[str], empty: str
) -> None:
    result = run(*command, "--store", store, "--since", "10m")
    assert (result.code, result.stdout) == (0, empty)
    assert result.stderr.startswith("note: no executions")
    assert "since 10m; widen the window with --since" in result.stderr


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["--dst", "nowhere"], "no executions that talked to 'nowhere' since 24h"),
        (["--min-duration", "1e9"], "no executions of at least 1e+09 ms since 24h"),
        (
            ["--errors", "--status", "ok", "--function", "thumbnails"],
            "no executions with status ok with errors of function 'thumbnails' since 24h",
        ),
    ],
)
def test_nothing_found_says_what_was_looked_for(store: str, wanted: list[str], said: str) -> None:
    result = run("list", "--store", store, *wanted)
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"note: {said}; widen")


def error_of(*arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and message of a command that fails: one line, one hint, nothing else."""
    result = run(*arguments, environ=environ)
    message, hint = result.stderr.splitlines()
    assert message.startswith("error: ")
    assert hint.startswith("hint: ")
    assert "Traceback" not in result.stderr
    return result.code, message


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "feed"], 3, "no execution has the id 'feed'"),
        (["show", "4f2"], 2, "executions begin with '4f2': 4f2c9a10"),
        (["show", "@latest", "--since", "1m"], 3, "@latest"),
        (["show", "@best"], 2, "'@best' is not known"),
        (["show"], 2, "EXECUTION"),
        (["list", "--since", "soon"], 2, "'soon' is neither a duration nor a time"),
        (["list", "--since", "1h", "--until", "2h"], 2, "later than"),
        (["list", "--until", "2d"], 2, "is before the last 24h"),
        (["list", "--status", "fine"], 2, "fine"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["list", "--min-duration", "nan"], 2, "--min-duration: nan is no number of ms"),
        (["list", "--min-duration", "inf"], 2, "--min-duration: inf is no number of ms"),
        (["list", "--output", "xml"], 2, "xml"),
        (["list", "--colour"], 2, "--colour"),
        (["top-destinations", "--sort", "name"], 2, "name"),
        (["top-destination"], 2, "top-destination"),
    ],
)
def test_bad_input(store: str, arguments: list[str], code: int, message: str) -> None:
    found, error = error_of(*arguments, environ={"LAMBDATRACE_STORE": store})
    assert found == code
    assert message in error


@pytest.mark.parametrize("command", [["list"], ["show", "@latest"], ["top-destinations"]])
def test_stores_that_are_not_there(tmp_path: Path, command: list[str]) -> None:
    assert error_of(*command, "--store", f"sqlite://{tmp_path}/none.db")[0] == 1
    assert error_of(*command, environ={"XDG_DATA_HOME": str(tmp_path)})[0] == 1
    assert error_of(*command, "--store", "mongodb://x")[0] == 2
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one" * 50)
    assert error_of(*command, "--store", f"sqlite://{tmp_path}/text")[0] == 1


def changed(path: Path, sql: str, *items: Any) -> str:
    url = traces.write(path, *items)
    with sqlite3.connect(path) as connection:
        assert connection.execute(sql).rowcount > 0
    connection.close()
    return url


def test_a_failed_init_is_called_one(tmp_path: Path) -> None:
    changes = {"status": "crash", "in_init": True, "cold_start": True, "ending": [3, 0, 0]}
    url = traces.write(tmp_path / "store.db", traces.execution(**changes))
    text = " ".join(run("show", "@latest", "--store", url).stdout.split())
    assert "crash in init, its process ended with exit code 3, cold start" in text
    document = json.loads(run("show", "@latest", "--store", url, "--output", "json").stdout)
    assert document["execution"]["in_init"] is True


@pytest.mark.parametrize("command", [["list"], ["show", ID], ["show", "@latest"]])
@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE items SET schema = 4", "was written with schema 4"),
        ("UPDATE items SET body = 'x'", "wrong type"),
        ("UPDATE items SET body = x'7b'", "not one of lambdatrace"),
        ("UPDATE items SET body = substr(body, 1, 9)", "not as long as it says"),
        ("UPDATE items SET body = zeroblob(100)", "not one of lambdatrace"),
        ("UPDATE items SET schema = 1, body = x'7b'", "not JSON"),
        ("UPDATE items SET schema = 1, body = x'5b5d'", "not an object"),
        ("UPDATE items SET schema = 1, body = x'7b7d'", "is missing"),
    ],
)
def test_corrupt_and_newer_items(
    tmp_path: Path, command: list[str], sql: str, message: str
) -> None:
    url = changed(tmp_path / "store.db", sql, traces.execution())
    result = run(*command, "--store", url)
    assert result.code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "idx#" not in result.stderr  # nothing that anybody knows
    assert "\nhint: " in result.stderr
    if command == ["show", ID]:
        assert ID in result.stderr


def test_of_newer_executions_it_is_not_said_that_they_are_too_few(tmp_path: Path) -> None:
    sql = "UPDATE items SET schema = 4"
    many = [traces.execution(execution_id=f"one-{n}") for n in range(12)]
    url = changed(tmp_path / "store.db", sql, *many)
    for also in ([], ["--filter", "status=ok"]):
        result = run("compare", "--slow", *also, "--store", url)
        assert (result.code, result.stdout) == (1, "")
        assert "upgrade it" in result.stderr


def test_a_corrupt_chunk(tmp_path: Path) -> None:
    sql = f"UPDATE items SET body = x'4c547231' WHERE kind = '{CHUNK}'"
    stored = traces.execution(traces.pipeline(), syscalls=[traces.syscall("read")] * 3_000)
    url = changed(tmp_path / "store.db", sql, stored)
    assert run("show", ID, "--store", url).code == 1
    assert run("list", "--store", url).code == 0


def test_one_corrupt_row_does_not_hide_the_others(tmp_path: Path) -> None:
    good, bad = traces.execution(execution_id="good"), traces.execution(execution_id="bad")
    for item in bad:
        item.body = b"{"
    url = traces.write(tmp_path / "store.db", good, bad)
    result = run("list", "--store", url, "-o", "jsonl")
    assert result.code == 1
    assert json.loads(result.stdout)["execution_id"] == "good"
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("SET body = substr(body, 1, 9) WHERE kind = 'chunk'", "cut short"),
        ("SET body = zeroblob(100) WHERE kind = 'chunk'", "mark"),
        ("SET body = substr(body, 1, 50) WHERE kind = 'chunk'", "as long as it says"),
        ("SET kind = 'chunk' WHERE kind = 'summary'", "has no summary"),
    ],
)
def test_what_is_corrupt_of_an_execution_names_it(
    tmp_path: Path, change: str, message: str
) -> None:
    many = [traces.connection(number, closed=5) for number in range(1, 500)]
    url = changed(tmp_path / "store.db", f"UPDATE items {change}", traces.execution(many))
    result = run("show", ID, "--store", url)
    assert result.code == 1
    first, hint = result.stderr.splitlines()
    assert ID in first
    assert message in first
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("glance", ["x'00'", "NULL"])
@pytest.mark.parametrize(
    "command", [("stats",), ("top-destinations",), ("list", "--slowest"), ("compare", "--slow")]
)
def test_what_is_corrupt_of_a_row_says_what_it_is(
    tmp_path: Path, command: tuple[str, ...], glance: str
) -> None:
    body = "x'" + b'{"function":"checkout"}'.hex() + "'"
    sql = f"UPDATE items SET schema = 1, body = {body} WHERE kind = 'index'"
    url = changed(tmp_path / "store.db", sql, traces.execution())
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute(f"UPDATE glances SET taken = {glance}")
        connection.execute(f"UPDATE glances SET figures = {glance}, shapes = 'x'")
    connection.close()
    result = run(*command, "--store", url)
    assert result.code == 1
    assert "corrupt" in result.stderr
    assert "\nhint: " in result.stderr
    assert "idx#" not in result.stderr
    assert "Traceback" not in result.stderr


_OF_THE_NEWER = f"WHERE execution_id LIKE 'idx#%' AND timestamp_nano > {traces.STARTED_NS}"


@pytest.mark.parametrize("glances", [True, False], ids=["with glances", "without"])
@pytest.mark.parametrize(
    "change", ["body = 'text'", "kind = x'00'", "schema = 'x'", "expires_at = 'x'"]
)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("list",), 1),
        (("list", "--slowest"), 1),
        (("stats", "--filter", "status=ok"), 1),
        (("top-destinations", "--filter", "status=ok"), 1),
        (("show", "@latest"), 0),
        (("show", "@slowest"), 0),
    ],
)
def test_one_row_of_a_wrong_type_does_not_hide_the_others(
    tmp_path: Path, command: tuple[str, ...], code: int, change: str, glances: bool
) -> None:
    good = traces.execution([traces.connection(closed=5)], execution_id="good", function="whole",
                            destinations=[traces.destination()])  # fmt: skip
    bad = traces.execution(execution_id="bad", started_ns=traces.STARTED_NS + 1)
    path = tmp_path / "store.db"
    url = changed(path, f"UPDATE items SET {change} {_OF_THE_NEWER}", good, bad)
    if not glances:
        connection = sqlite3.connect(path)
        for what in ("TRIGGER items_written", "TRIGGER items_deleted", "TABLE glances"):
            connection.execute(f"DROP {what}")
        connection.close()
    result = run(*command, "--store", url, "-o", "jsonl")
    assert json.loads(result.stdout.splitlines()[0])
    assert "good" in result.stdout or "10.0.0.7" in result.stdout or '"p50_ms"' in result.stdout
    assert "a value of a wrong type" in result.stderr
    assert result.code == code


def test_retries_under_one_id_are_owned_up_to(tmp_path: Path) -> None:
    later = traces.execution(started_ns=traces.STARTED_NS + 1, status="error")
    url = traces.write(tmp_path / "store.db", traces.execution(), later)
    result = run("show", ID, "--store", url, "-o", "json")
    assert json.loads(result.stdout)["execution"]["status"] == "error"
    assert result.stderr.startswith("note: 2 executions have this id")


@pytest.mark.parametrize("command", ["run", "invoke"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--capture", "dns,disks"), "there is no disks; the groups are dns, tls, exchanges"),
        (("--capture", ""), "there is no ''; the groups are dns"),
        (("--capture", "DNS"), "there is no DNS"),
        (("--threshold", "-1"), "--threshold"),
        (("--threshold", "1.5"), "--threshold"),
        (("--threshold", "900001"), "--threshold"),
    ],
)
def test_nothing_runs_with_a_bad_choice_of_what_to_record(
    tmp_path: Path, command: str, options: tuple[str, str], message: str
) -> None:
    url = f"sqlite://{tmp_path}/store.db"
    word = "app.handler" if command == "invoke" else str(tmp_path / "not there")
    found, error = error_of(command, *options, "--store", url, word)
    assert found == 2
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), {"LAMBDATRACE_LEVEL": "flows"}),
        (
            ("--capture", "tls, cpu", "--threshold", "0", "--level", "syscalls"),
            {
                "LAMBDATRACE_LEVEL": "syscalls",
                "LAMBDATRACE_CAPTURE": "tls, cpu",
                "LAMBDATRACE_THRESHOLD_MS": "0",
            },
        ),
    ],
)
def test_run_tells_the_agent_what_to_record_and_leaves_the_rest_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], told: dict[str, str]
) -> None:
    """The agent is a stand-in that writes down what it was given."""
    given = tmp_path / "given.json"
    agent = (
        "import json, os, sys; wanted = json.loads(sys.argv[-1]);"
        f"open({str(given)!r}, 'w').write(sys.argv[-1]);"
        "os.write(wanted['report_fd'], json.dumps({'error': 'so', 'hint': 'it is', "
        "'exit_code': 7}).encode())"
    )
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen",
        lambda command, **more: real([command[0], "-c", agent, command[-1]], **more),
    )  # fmt: skip
    result = run("run", *options, "--store", f"sqlite://{tmp_path}/s.db", "--", "true", "--capture")
    assert result.code == 7
    wanted = json.loads(given.read_text())
    assert (wanted["command"], wanted["environ"]) == (["true", "--capture"], told)


def test_200_000_syscalls_are_shown_quickly(tmp_path: Path) -> None:
    """As totals; the figure is generous, for what must not happen takes five times as long."""
    import time

    calls = [traces.syscall("write", result=10)] * 200_000
    url = traces.write(tmp_path / "store.db", traces.execution([], calls, level="syscalls"))
    began = time.process_time()
    result = run("show", ID, "--store", url, "--events")
    assert time.process_time() - began < 2
    assert "200,000" in result.stdout
    assert "2.00 MB" in result.stdout


def usual_store(folder: Path) -> str:
    """Ten usual executions, and one whose partner took its time; its name is hostile."""
    host = "api\x1b[31m.example"
    executions = [
        traces.execution(
            execution_id=f"usual-{number}",
            started_ns=traces.STARTED_NS - (number + 1) * 1_000 * traces.MS,
            duration_ns=20 * traces.MS,
            partition=traces.partition(20, wait=5, cpu=15),
        )
        for number in range(10)
    ]
    slow = traces.execution(
        [traces.connection(established=1, first_out=2, closed=960)],
        exchanges=[traces.exchange(first_out=2, first_in=952)],
        duration_ns=1_000 * traces.MS,
        partition=traces.partition(1_000, wait=950, cpu=50),
        shares=[["wait", f"{host}:443", 950 * traces.MS]],
        details={"hosts": {"1": host}},
    )
    return traces.write(folder / "store.db", *executions, slow)


def test_a_verdict_compares_with_what_is_usual(tmp_path: Path) -> None:
    url = usual_store(tmp_path)
    verdict = json.loads(run("show", ID, "--store", url, "-o", "json").stdout)["verdict"]
    assert verdict == {
        "cause": "wait.slow",
        "destination": "api\x1b[31m.example:443",
        "share": 0.95,
        "text": "95 % of 1.00 s went into waiting for api\x1b[31m.example:443: the answer took "
        "950 ms (e1, c1); usually 5.00 ms, the median of 10 executions.",
        "evidence": [{"kind": "exchange", "number": 1}, {"kind": "connection", "number": 1}],
        "usual_ms": 5.0,
        "compared": 10,
    }
    rows = json.loads(run("list", "--store", url, "-o", "json").stdout)
    assert [row["verdict"]["cause"] for row in rows] == ["wait", *[None] * 10]
    assert rows[0]["verdict"]["compared"] == 11


def test_a_verdict_on_a_terminal_is_harmless(tmp_path: Path) -> None:
    shown = run("show", ID, "--store", usual_store(tmp_path), width=80).stdout
    assert "\x1b" not in shown
    words = " ".join(shown.partition("verdict")[2].split())
    assert words.startswith("95 % of 1.00 s went into waiting for api")


@pytest.mark.parametrize("count", [1, 24, 25, 40])
def test_namelookups_on_a_socket_that_was_closed_before(tmp_path: Path, count: int) -> None:
    """Unanswered, and their socket's record has ended: they took no time, and that is drawn."""
    socket = traces.connection(1, "10.0.0.2", 53, 17, started=-500, closed=-400)
    lookups = [traces.lookup(f"n{n}.example", started=30 + n, answer=None) for n in range(count)]
    items = traces.execution([socket], details={"lookups": lookups}, duration_ns=100 * traces.MS)
    url = traces.write(tmp_path / "store.db", items)
    for width in (40, 80, 200):
        result = run("show", ID, "--store", url, "--width", str(width))
        assert (result.code, result.stderr) == (0, "")
        assert "\N{BALLOT X}" in result.stdout
