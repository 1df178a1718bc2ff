"""CSV and Parquet, as pandas, DuckDB and pyarrow read them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import support_exports as exports
from support_cli import NOW_NS, run

from lambdatrace.cli.environment import Environment
from lambdatrace.cli.main import program
from lambdatrace.export.columns import COLUMNS, columns
from lambdatrace.export.records import RECORDS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return exports.store(tmp_path / "store.db")


def exported(path: Path, url: str, *more: str) -> Path:
    result = run("export", "--store", url, "-o", str(path), *more)
    assert (result.code, result.stderr) == (0, "")
    return path


def documents(tmp_path: Path, url: str, *more: str) -> list[dict[str, Any]]:
    """What JSON lines say, but for what is not in tables."""
    text = exported(tmp_path / "a.jsonl", url, *more).read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [each for each in found if each["record"] in RECORDS]


def test_columns_are_those_of_the_documents(tmp_path: Path, url: str) -> None:
    from lambdatrace.export.columns import flat

    for document in documents(tmp_path, url):
        kind = document["record"]
        row = flat(document) if kind == "execution" else document
        assert row.keys() <= columns(kind).keys(), kind
        if kind != "execution":  # whose objects may be null
            assert row.keys() == columns(kind).keys(), kind


def test_every_column_is_described() -> None:
    page = (DOCS / "export.md").read_text() + (DOCS / "json.md").read_text()
    for own in COLUMNS.values():
        for name in own:
            short = name.removeprefix("agent_").removeprefix("ending_").removeprefix("partition_")
            assert f"`{short}`" in page, name


def test_a_name_has_one_type() -> None:
    types: dict[str, set[str]] = {}
    for own in COLUMNS.values():
        for name, kind in own.items():
            types.setdefault(name, set()).add(kind)
    assert {name for name, kinds in types.items() if len(kinds) > 1} == set()


def test_csv_has_a_row_for_each_record(tmp_path: Path, url: str) -> None:
    path = exported(tmp_path / "a.csv", url)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    wanted = documents(tmp_path, url)
    assert [row["record"] for row in rows] == [each["record"] for each in wanted]
    for row, document in zip(rows, wanted, strict=True):
        for name in ("host", "duration_ms", "started_at", "answer", "wait_ms", "result", "stale"):
            value = document.get(name)
            text = (
                {None: "", True: "true", False: "false"}.get(value)
                if (
                    value
                    in (
                        None,
                        True,
                        False,
                    )
                    and not isinstance(value, int | float)
                )
                or isinstance(value, bool)
                else str(value)
            )
            assert row[name] == text, name


def test_csv_of_one_kind(tmp_path: Path, url: str) -> None:
    for kind in RECORDS:
        text = exported(tmp_path / "a.csv", url, "--records", kind).read_text()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert rows, kind
        assert {row["record"] for row in rows} == {kind}
        assert list(rows[0]) == list(columns(kind))
    assert run("export", "--store", url, "--records", "pause").code == 2


def test_duckdb_reads_csv(tmp_path: Path, url: str) -> None:
    path = exported(tmp_path / "a.csv", url)
    wanted = documents(tmp_path, url)
    found = duckdb.sql(
        f"select sum(duration_ms), count(*), max(started_at::timestamptz) "
        f"from read_csv('{path}') where record = 'execution'"
    ).fetchall()[0]
    own = [each for each in wanted if each["record"] == "execution"]
    assert found[0] == pytest.approx(sum(each["duration_ms"] for each in own))
    assert found[1] == len(own)


def test_parquet_as_pyarrow_pandas_and_duckdb_read_it(tmp_path: Path, url: str) -> None:
    path = exported(tmp_path / "a.parquet", url)
    wanted = documents(tmp_path, url)
    table = pq.read_table(path)
    assert table.schema.field("started_at").type == pa.timestamp("us", tz="UTC")
    for kind in RECORDS:
        own = [each for each in wanted if each["record"] == kind]
        rows = table.filter(pa.compute.equal(table["record"], kind)).to_pylist()
        assert len(rows) == len(own)
        for row, document in zip(rows, own, strict=True):
            for name in columns(kind):
                value = row[name]
                if name in document and name != "started_at":
                    said = document[name]
                    kept = json.loads(value) if columns(kind)[name] == "json" else value
                    assert kept == said, (kind, name)
    frame = pd.read_parquet(path)
    assert len(frame) == table.num_rows
    assert frame["started_at"].max() == pd.Timestamp(NOW_NS - 60 * 10**9, tz="UTC")
    found = duckdb.sql(
        f"select host, sum(wait_ms) as waited from '{path}' "
        "where record = 'connection' and host is not null group by host order by waited desc"
    ).fetchall()
    assert found[0] == ("api.partner.example", 1158.0)
    listed = duckdb.sql(f"select addresses from '{path}' where record = 'namelookup'").fetchall()
    assert (["10.0.0.7"],) in listed


def test_parquet_is_read_back(tmp_path: Path, url: str) -> None:
    path = exported(tmp_path / "a.parquet", url)
    lines = exported(tmp_path / "a.jsonl", url)
    for items in exports.kinds().values():
        command = ["show", items[0].execution_id, "--events"]
        assert run(*command, "--from", str(path)) == run(*command, "--store", url)
    for command in (
        ["list"], ["top-destinations"], ["stats"], ["compare", "00000001", "00000006"],
    ):  # fmt: skip
        window = [*command, "--since", "2h"]
        assert run(*window, "--from", str(path)) == run(*window, "--store", url)
    copy = f"sqlite://{tmp_path}/copy.db"
    assert run("import", str(path), "--store", copy).code == 0
    assert exported(tmp_path / "b.jsonl", copy).read_bytes() == lines.read_bytes()
    assert exported(tmp_path / "b.parquet", copy).read_bytes() == path.read_bytes()


def test_parquet_in_a_process_of_its_own(tmp_path: Path, url: str) -> None:
    """Where nobody else has loaded parts of pyarrow."""
    path = tmp_path / "a.parquet"
    program = [sys.executable, "-c", "from lambdatrace.cli.main import main; main()"]
    window = ["--since", "2026-11-22T00:00:00Z"]
    for command in (["export", "--store", url, *window, "-o", path], ["list", "--from", path]):
        done = subprocess.run(
            [*program, *command], capture_output=True, text=True, cwd=DOCS.parent, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command
    assert "00000001" in done.stdout


def test_many_row_groups(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lambdatrace.export import parquet

    monkeypatch.setattr(parquet, "_GROUP_ROWS", 7)
    path = exported(tmp_path / "a.parquet", url)
    assert pq.ParquetFile(path).num_row_groups > 90
    assert run("list", "--from", str(path), "-n", "99") == run(
        "list", "--store", url, "-n", "99", "--since", "2h"
    )
    copy = f"sqlite://{tmp_path}/copy.db"
    assert run("import", str(path), "--store", copy).code == 0
    lines = exported(tmp_path / "a.jsonl", url)
    assert exported(tmp_path / "b.jsonl", copy).read_bytes() == lines.read_bytes()


def test_parquet_that_cannot_be_read_back(tmp_path: Path, url: str) -> None:
    path = exported(tmp_path / "a.parquet", url)
    whole = path.read_bytes()
    part = exported(tmp_path / "part.parquet", url, "--records", "pause")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    for content in (
        whole[: len(whole) // 2], whole[:4] + bytes(200) + whole[-8:], b"PAR1PAR1",
        part.read_bytes(), foreign.read_bytes(),
    ):  # fmt: skip
        path.write_bytes(content)
        result = run("list", "--from", str(path))
        assert result.code == 1
        assert result.stderr.startswith("error: ")
        assert "unexpected" not in result.stderr


def test_without_pyarrow_it_is_said_what_to_install(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(tmp_path / "a.parquet", url)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "lambdatrace.export.parquet", raising=False)
    for command in (
        ["list", "--from", str(path)],
        ["export", "--store", url, "--format", "parquet", "-o", str(tmp_path / "b.parquet")],
    ):
        result = run(*command)
        assert result.code == 2
        assert "pip install 'lambdatrace[parquet]'" in result.stderr
    assert not (tmp_path / "b.parquet").exists()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bytes_are_not_written_to_a_terminal(url: str) -> None:
    stdout, stderr = _Terminal(), io.StringIO()
    environment = Environment(stdout=stdout, stderr=stderr, environ={}, clock=lambda: NOW_NS)
    assert program(["export", "--store", url, "--format", "parquet"], environment) == 2
    assert stdout.getvalue() == ""
    assert "terminal" in stderr.getvalue()
