"""HAR, by the schema of the npm package har-schema (make setup fetches it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import support_exports as exports
import support_traces as traces
from jsonschema import Draft6Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT6
from support import require
from support_cli import NOW_NS, run

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = Path(__file__).parents[3] / ".tools/har-schema/lib"


@pytest.fixture(scope="module")
def validator() -> Draft6Validator:
    require(SCHEMAS.is_dir(), "har-schema is missing: make setup")
    # `optional` and `min` are words of other drafts: what they forbid is checked below.
    files = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry: Any = Registry().with_resources(
        (name, Resource.from_contents(each, default_specification=DRAFT6))
        for name, each in files.items()
    )
    return Draft6Validator(
        files["har.json"], registry=registry, format_checker=Draft6Validator.FORMAT_CHECKER
    )


def exported(tmp_path: Path, validator: Draft6Validator, *executions: Any) -> dict[str, Any]:
    url = exports.store(tmp_path / "store.db", *executions)
    path = tmp_path / "a.har"
    result = run("export", "--store", url, "-o", str(path))
    assert (result.code, result.stderr) == (0, "")
    document: dict[str, Any] = json.loads(path.read_text("ascii"))
    assert [error.message for error in validator.iter_errors(document)] == []
    log: dict[str, Any] = document["log"]
    pages = {page["id"] for page in log["pages"]}
    for entry in log["entries"]:
        assert entry["pageref"] in pages
        assert entry["time"] >= 0
        timings = entry["timings"]
        assert all(each >= 0 or each == -1 for each in timings.values())
        total = sum(each for name, each in timings.items() if each > 0 and name != "ssl")
        assert entry["time"] == pytest.approx(total)
        assert timings["connect"] >= timings["ssl"]
    return log


def test_every_kind_of_execution(tmp_path: Path, validator: Draft6Validator) -> None:
    log = exported(tmp_path, validator)
    assert len(log["pages"]) == len(exports.kinds())
    assert len(log["entries"]) > 600


def test_the_schema_refuses_what_is_no_har(validator: Draft6Validator) -> None:
    assert list(validator.iter_errors({"log": {"version": "1.2"}}))
    log = {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": [{"time": 1}]}
    assert list(validator.iter_errors({"log": log}))


def test_what_an_exchange_took(tmp_path: Path, validator: Draft6Validator) -> None:
    log = exported(
        tmp_path, validator,
        traces.execution(
            [
                traces.connection(1, started=30, established=50, tls_started=51, tls_ended=81,
                                  first_out=51, first_in=81, closed=900, exchanges=2),
                traces.connection(2, "10.0.0.9", 8000, started=-900, established=-880,
                                  first_out=10, first_in=14, flags=traces.wire.CONNECTION_REUSED),
                traces.connection(3, "192.0.2.1", 5432, started=100, closed=150, error=111),
                traces.connection(4, "2001:db8::1", 80, started=1, established=2, closed=3),
                traces.connection(5, "10.0.0.2", 53, 17, started=1, closed=3),
            ],
            exchanges=[
                traces.exchange(1, first_out=90, last_out=92, first_in=192, last_in=200,
                                bytes_out=900, bytes_in=5_000, receives=1),
                traces.exchange(1, first_out=210, first_in=260, last_in=260, receives=1),
                traces.exchange(2, first_out=10, first_in=14, last_in=15, receives=1),
            ],
            details={
                "lookups": [traces.lookup("api.example", started=5, answered=28),
                            traces.lookup("api.example", "AAAA", started=5, answered=25)],
                "hosts": {"1": "api.example"},
            },
            started_ns=NOW_NS - 10**9,
        ),
    )  # fmt: skip
    found = [
        (each["request"]["url"], *(each["timings"][name] for name in (
            "dns", "connect", "ssl", "send", "wait", "receive")))
        for each in log["entries"]
    ]  # fmt: skip
    assert sorted(found) == [
        ("http://10.0.0.9:8000/", -1, -1, -1, 0, 4, 1),
        ("http://192.0.2.1:5432/", -1, 50, -1, -1, -1, -1),
        ("http://[2001:db8::1]:80/", -1, 1, -1, -1, -1, -1),
        ("https://api.example:443/", -1, -1, -1, 0, 50, 0),
        ("https://api.example:443/", 23, 50, 30, 2, 100, 8),
    ]
    first = next(each for each in log["entries"] if each["timings"]["dns"] == 23)
    assert first["startedDateTime"] == "2026-11-22T07:59:59.017000000Z"
    assert (first["request"]["_transferSize"], first["response"]["_transferSize"]) == (900, 5_000)
    assert first["response"]["status"] == 0
    assert first["serverIPAddress"] == "10.0.0.7"
    assert log["pages"][0]["pageTimings"] == {"onLoad": 2_000.0}


def test_nothing_is_a_har_as_well(tmp_path: Path, validator: Draft6Validator) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    result = run("export", "--store", url, "--format", "har", "--function", "none")
    document = json.loads(result.stdout)
    assert not list(validator.iter_errors(document))
    assert document["log"]["entries"] == document["log"]["pages"] == []


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


@pytest.mark.parametrize("name", exports.HOSTILE.values(), ids=exports.HOSTILE.keys())
def test_hostile_names(tmp_path: Path, validator: Draft6Validator, name: str) -> None:
    log = exported(tmp_path, validator, exports.everything(1, name, function=name))
    assert all(text.isprintable() for text in texts(log))
    for entry in log["entries"]:
        parts = urlsplit(entry["request"]["url"])
        assert parts.scheme in ("http", "https")
        assert (parts.path, parts.query, parts.fragment) == ("/", "", "")
        assert parts.username is None
        assert parts.port in (443, 8443, 8000, 5432)
