"""Where the agent's credentials come from, and what it says when there are none."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_credentials import GOOD, NOON, Endpoint

from lambdatrace.agent import credentials
from lambdatrace.agent.credentials import CredentialSource
from lambdatrace.agent.http import HttpError
from lambdatrace.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        yield made


def soon() -> float:
    return time.monotonic() + 20


def test_the_environment() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    found = CredentialSource(environ).get(soon())
    assert (found.access_key, found.secret_key, found.token) == ("a", "b", "c")


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
@pytest.mark.parametrize("value", ["dead-beef\n", "déad-beef", "dead-beef\udcff"])
def test_a_variable_that_cannot_stand_in_a_header_is_named_and_not_quoted(
    name: str, value: str
) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", name: value}
    with pytest.raises(StoreError, match=f"^{name}: not printable ASCII$") as caught:
        CredentialSource(environ).get(soon())
    assert "beef" not in caught.value.message + caught.value.hint


def test_a_token_that_cannot_stand_in_a_header(endpoint: Endpoint) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "dead-beef\r\nX: y",
    }
    with pytest.raises(StoreError, match="AWS_CONTAINER_AUTHORIZATION_TOKEN") as caught:
        CredentialSource(environ).get(soon())
    assert "beef" not in caught.value.message + caught.value.hint


def test_variables_that_may_be_as_old_as_a_snapshot(endpoint: Endpoint) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
    }
    # Where there is nothing else, they are what there is.
    assert CredentialSource(environ).get(soon()).access_key == "a"
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = endpoint.url
    assert CredentialSource(environ).get(soon()).access_key == "AKID"
    environ["AWS_LAMBDA_INITIALIZATION_TYPE"] = "on-demand"
    assert CredentialSource(environ).get(soon()).access_key == "a"


@pytest.mark.parametrize("environ", [{}, {"AWS_ACCESS_KEY_ID": "a"}])
def test_none_at_all_says_what_to_set(environ: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="no AWS credentials") as caught:
        CredentialSource(environ).get(soon())
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint


def test_the_endpoint_with_a_token(endpoint: Endpoint) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "let me in",
    }
    found = CredentialSource(environ, lambda: NOON - 3600).get(soon())
    assert (found.access_key, found.secret_key, found.token) == ("AKID", "secret", "token")
    assert found.expires_at == NOON
    assert endpoint.seen == [("/creds?id=1", "let me in")]


def test_a_token_in_a_file_is_read_each_time(endpoint: Endpoint, tmp_path: Path) -> None:
    file = tmp_path / "token"
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
    }
    source = CredentialSource(environ, lambda: NOON)
    for token in ("one", "two"):
        file.write_text(token + "\n")
        source.get(soon())
    assert [seen[1] for seen in endpoint.seen] == ["one", "two"]
    file.write_text("bad\r\nX-Other: 1")
    with pytest.raises(StoreError):
        source.get(soon())
    file.unlink()
    with pytest.raises(StoreError, match="cannot read the token"):
        source.get(soon())


def test_they_are_asked_for_again_before_they_expire(endpoint: Endpoint) -> None:
    now = [NOON - credentials.REFRESH_BEFORE - 10]
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url}
    source = CredentialSource(environ, lambda: now[0])
    source.get(soon())
    source.get(soon())
    assert len(endpoint.seen) == 1
    now[0] += 20
    endpoint.answers = [(500, b"")]
    for _ in range(3):
        assert source.get(soon()).access_key == "AKID"  # still good for a while
    assert len(endpoint.seen) == 2
    now[0] += credentials.REFRESH_AGAIN
    endpoint.answers = [(200, json.dumps({**GOOD, "AccessKeyId": "NEW"}).encode())]
    assert source.get(soon()).access_key == "NEW"
    endpoint.answers = [(500, b"")]
    now[0] = NOON + 1
    with pytest.raises(HttpError):
        source.get(soon())


def test_an_endpoint_that_does_not_answer_any_more(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [NOON - credentials.REFRESH_BEFORE - 10]
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url}
    source = CredentialSource(environ, lambda: now[0])
    source.get(soon())
    asked = []

    def hangs(deadline: float) -> None:
        asked.append(deadline)
        raise HttpError("no answer in time")

    monkeypatch.setattr(source, "_from_endpoint", hangs)
    now[0] += 20
    deadline = soon()
    for _ in range(3):
        assert source.get(deadline).access_key == "AKID"
    # It was asked once, and there was time left to use those that are still good.
    assert len(asked) == 1
    assert asked[0] < deadline
    now[0] = NOON + 1
    with pytest.raises(HttpError):
        source.get(deadline)
    assert asked[1] == deadline


def test_forgotten_they_are_asked_for_again(endpoint: Endpoint) -> None:
    source = CredentialSource({"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url}, lambda: 0.0)
    source.get(soon())
    source.forget()
    source.get(soon())
    assert len(endpoint.seen) == 2


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/creds"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "ftp://127.0.0.1/creds"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ".example.com/creds"},
    ],
)
def test_a_token_is_not_sent_just_anywhere(environ: dict[str, str]) -> None:
    with pytest.raises(StoreError):
        CredentialSource(environ).get(soon())


json_values = st.none() | st.integers() | st.text() | st.lists(st.integers())


@given(
    st.binary()
    | st.dictionaries(st.sampled_from(sorted(GOOD)), json_values).map(
        lambda changed: json.dumps({**GOOD, **changed}).encode()
    )
)
def test_any_answer_is_credentials_or_an_error(body: bytes) -> None:
    try:
        found = credentials._parsed(body)
    except HttpError:
        return
    assert (found.access_key + found.secret_key + (found.token or "")).isprintable()
