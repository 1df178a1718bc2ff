"""Whatever somebody has called a host, a file or a process: every form holds it as a mere text."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest
import support_exports as exports
from support_cli import run
from support_forms import as_proto, checked, facts, spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

hostile = pytest.mark.parametrize("name", exports.HOSTILE.values(), ids=exports.HOSTILE.keys())


def exported(tmp_path: Path, name: str, form: str) -> Path:
    url = exports.store(
        tmp_path / "s.db",
        exports.everything(1, name, function=name, command=name, unavailable={"dns": name}),
    )
    path = tmp_path / "exported"
    result = run("export", "--store", url, "--format", form, "-o", str(path))
    assert (result.code, result.stderr) == (0, "")
    return path


def texts(value: Any) -> Iterator[str]:
    """Every text in a document, names of members as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def as_unicode(name: str) -> str:
    """What is no character of Unicode's by itself, is told by its escape."""
    return name.encode("utf-8", "backslashreplace").decode()


@hostile
def test_jsonl(tmp_path: Path, name: str) -> None:
    path = exported(tmp_path, name, "jsonl")
    data = path.read_bytes()
    assert data.isascii()
    assert all(byte >= 0x20 or byte == 0x0A for byte in data)
    lines = [json.loads(line) for line in data.splitlines()]
    assert [each["record"] for each in lines[:2]] == ["header", "execution"]
    assert lines[-1] == {"record": "end", "executions": 1, "items": 2}
    assert {each["function"] for each in lines if "function" in each} == {as_unicode(name)}
    for text in texts(lines):
        text.encode()  # whole characters only
    found = duckdb.sql(
        f"select function, command from read_json('{path}', format='newline_delimited') "
        "where record = 'execution'"
    ).fetchall()
    # DuckDB ends a text at NUL when it has to guess columns.
    assert found[0][0] == as_unicode(name) or "\0" in name
    url = f"sqlite://{tmp_path}/copy.db"
    assert run("import", str(path), "--store", url).code == 0
    again = run("export", "--store", url)
    assert again.stdout.encode() == data


@hostile
def test_csv(tmp_path: Path, name: str) -> None:
    text = exported(tmp_path, name, "csv").read_text()
    assert text.replace("\n", "").isprintable()
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == text.count("\n")
    for row in rows[1:]:
        for cell in row:
            number = cell.replace(".", "", 1).removeprefix("-").isdigit()
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@hostile
def test_parquet(tmp_path: Path, name: str) -> None:
    path = exported(tmp_path, name, "parquet")
    found = pq.read_table(path, columns=["record", "function", "command"]).to_pylist()
    assert found[0]["function"] == found[0]["command"] == as_unicode(name)
    sql = f"select function from read_parquet('{path}') where record = 'execution'"
    assert duckdb.sql(sql).fetchall() == [(as_unicode(name),)]
    shown = run("show", "00000001", "--from", str(path), "--events")
    assert shown == run("show", "00000001", "--store", f"sqlite://{tmp_path}/s.db", "--events")


@hostile
def test_chrome(tmp_path: Path, name: str) -> None:
    data = exported(tmp_path, name, "chrome").read_bytes()
    assert data.isascii()
    document = json.loads(data)
    checked(document["traceEvents"])
    assert all(text.isprintable() for text in texts(document))


@hostile
def test_otlp(tmp_path: Path, name: str) -> None:
    data = exported(tmp_path, name, "otlp").read_bytes()
    assert data.isascii()
    found = as_proto(data.decode())
    for span in spans(found):
        assert span.name.isprintable()
        assert all(text.isprintable() for text in texts(facts(span.attributes)))
