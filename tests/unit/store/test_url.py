"""Store URLs: every form, every refusal, and what the environment says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.errors import UsageError
from lambdatrace.store import open_store, url
from lambdatrace.store.sqlite import SqliteStore

ENVIRON = {"HOME": "/home/me"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///var/lib/traces.db", "/var/lib/traces.db"),
        ("sqlite:///a%20b/100%25.db", "/a b/100%.db"),
        ("sqlite:///gr%C3%B6%C3%9Fe.db", "/größe.db"),
        ("sqlite:///größe.db", "/größe.db"),
        ("sqlite:////var/lib/traces.db", "/var/lib/traces.db"),
        ("sqlite://", "/home/me/.local/share/lambdatrace/lambdatrace.db"),
    ],
)
def test_sqlite(text: str, path: str) -> None:
    target = url.parse(text, ENVIRON)
    assert (target.engine, target.path) == ("sqlite", path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dynamodb://Traces", ("Traces", None, None)),
        ("dynamodb://T_r-a.9?region=eu-west-1", ("T_r-a.9", "eu-west-1", None)),
        (
            "dynamodb://Traces?endpoint=http://localhost:8000&region=eu-west-1",
            ("Traces", "eu-west-1", "http://localhost:8000"),
        ),
        (
            "dynamodb://Traces?endpoint=http%3A%2F%2Flocalhost%3a8000",
            ("Traces", None, "http://localhost:8000"),
        ),
        ("dynamodb://Traces?region=&endpoint=", ("Traces", None, None)),
    ],
)
def test_dynamodb(text: str, parts: tuple[str, str | None, str | None]) -> None:
    target = url.parse(text, {})
    assert (target.table, target.region, target.endpoint) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "traces.db",
        "postgres://x",
        "sqlite:/x.db",
        "sqlite://x.db",
        "sqlite:///x/",
        "sqlite:///x?mode=ro",
        "sqlite:///x#y",
        "sqlite:///x%0",
        "sqlite:///x%zz",
        "sqlite:///x%00",
        "sqlite:///x\0",
        "dynamodb://",
        "dynamodb://ab",
        "dynamodb://" + "a" * 256,
        "dynamodb://a/b/c",
        "dynamodb://Traces?regoin=x",
        "dynamodb://Traces?region=a&region=b",
        "dynamodb://Traces?region=a/b",
        "dynamodb://Traces?region=eu%0d%0aHost:x",
        "dynamodb://Traces?endpoint=localhost:8000",
        "dynamodb://Traces?endpoint=http://x:0",
        "dynamodb://Traces?endpoint=http://x:65536",
        "dynamodb://Traces?endpoint=http://me@x",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        url.parse(text, ENVIRON)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "https://me:secret@host",
        "https://me:s/ecret@host",
        "http://secret@host:99999",
        "x://secret@",
        "me:secret@host:8000",
    ],
)
def test_what_may_be_a_password_is_not_told(text: str) -> None:
    for understand in (lambda: url.parse(text, {}), lambda: url.parse_endpoint(text)):
        with pytest.raises(UsageError) as failure:
            understand()
        assert "ecret" not in failure.value.message + failure.value.hint
        assert "***@" in failure.value.message


@pytest.mark.parametrize(
    "text",
    [
        "dynamodb://Traces?region=eu-west-1&endpoint=https%3A%2F%2Fme%3Asecret%40host&x=1",
        "dynamodb://Traces?endpoint=https%3A%2F%2Fme%3Asecret%40host",
        "dynamodb://Traces?endpoint=https://me:secret%40host/%zz",
    ],
)
def test_nor_what_may_be_one_in_an_endpoint_that_is_escaped(text: str) -> None:
    with pytest.raises(UsageError) as failure:
        url.parse(text, ENVIRON)
    assert "ecret" not in failure.value.message + failure.value.hint
    assert "***@" in failure.value.message


def test_a_bare_path_is_answered_with_the_url_it_should_have_been() -> None:
    with pytest.raises(UsageError) as caught:
        url.parse("/tmp/50%.db", ENVIRON)
    assert caught.value.hint == "for a file: sqlite:///tmp/50%25.db"


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_usage_error(text: str) -> None:
    for candidate in (text, f"sqlite:///{text}", f"dynamodb://{text}", f"dynamodb://Tab?{text}"):
        try:
            url.parse(candidate, ENVIRON)
        except UsageError:
            continue


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_parsed_url_is_written_as_one_that_parses_to_the_same(name: str) -> None:
    path = "/" + name.strip("/") + "x"
    written = str(url.StoreUrl("sqlite", path=path))
    assert url.parse(written, {}).path == path


def test_a_dynamodb_url_is_written_as_one_that_parses_to_the_same() -> None:
    text = "dynamodb://Traces?region=eu-west-1&endpoint=http://[::1]:8000"
    assert str(url.parse(text, {})) == text


@pytest.mark.parametrize(
    ("text", "tls", "host", "port", "authority"),
    [
        ("http://localhost:8000", False, "localhost", 8000, "localhost:8000"),
        ("http://x", False, "x", 80, "x"),
        ("https://x", True, "x", 443, "x"),
        ("https://x:443", True, "x", 443, "x"),
        ("https://x:80/", True, "x", 80, "x:80"),
        ("http://[::1]:8000", False, "::1", 8000, "[::1]:8000"),
        ("http://[::1]", False, "::1", 80, "[::1]"),
    ],
)
def test_endpoint(text: str, tls: bool, host: str, port: int, authority: str) -> None:
    found = url.parse_endpoint(text)
    assert (found.tls, found.host, found.port, found.authority) == (tls, host, port, authority)


@pytest.mark.parametrize(
    "text", ["", "x", "ftp://x", "http://", "http://x/y", "http://x:y", "http://[::1", "http://x y"]
)
def test_no_endpoint(text: str) -> None:
    with pytest.raises(UsageError):
        url.parse_endpoint(text)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "sqlite://"),
        ({"DYNAMO_TABLE_NAME": "Old"}, "dynamodb://Old"),
        ({"DYNAMO_TABLE_NAME": "Old", "LAMBDATRACE_STORE": "dynamodb://New"}, "dynamodb://New"),
        ({"DYNAMO_TABLE_NAME": "", "LAMBDATRACE_STORE": ""}, "sqlite://"),
    ],
)
def test_the_environment(environ: dict[str, str], expected: str) -> None:
    assert url.resolve(environ) == expected


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/me"}, "/data"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/share"),
        ({"XDG_DATA_HOME": "", "HOME": "/home/me"}, "/home/me/.local/share"),
    ],
)
def test_the_default_file(environ: dict[str, str], folder: str) -> None:
    assert url.default_path(environ) == f"{folder}/lambdatrace/lambdatrace.db"


def test_a_table_keeps_region_and_endpoint_of_the_store() -> None:
    store = url.parse("dynamodb://One?region=eu-west-1&endpoint=http://x:1", {})
    other = url.with_table(store, "Other")
    assert str(other) == "dynamodb://Other?region=eu-west-1&endpoint=http://x:1"


def test_a_table_and_a_file_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="not DynamoDB"):
        open_store("sqlite:///x.db", "Traces", {})


def test_a_malformed_table_is_refused() -> None:
    with pytest.raises(UsageError, match="'a b'"):
        open_store(None, "a b", ENVIRON)


@pytest.mark.parametrize("text", [None, ""])
def test_no_url_is_the_store_of_the_environment(text: str | None) -> None:
    store = open_store(text, environ={"LAMBDATRACE_STORE": "sqlite:///nowhere/x.db"})
    assert isinstance(store, SqliteStore)
