"""The agent's signer against botocore's."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.agent.sigv4 import Credentials, sign

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
hosts = st.from_regex(r"[a-z][a-z0-9.-]{0,30}[a-z](:[1-9][0-9]{0,3})?", fullmatch=True)
# Every header of these is signed; botocore leaves a few out by name.
names = st.from_regex(r"X-Amz-[A-Z][a-z]{3,9}", fullmatch=True) | st.just("Content-Type")
unsent = ("X-Amz-Date", "X-Amz-Security-Token")
values = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip)


@given(
    access_key=printable,
    secret_key=printable,
    token=st.none() | printable,
    region=st.sampled_from(["eu-west-1", "cn-north-1", "us-gov-east-1"]),
    service=st.sampled_from(["dynamodb", "execute-api"]),
    host=hosts,
    headers=st.dictionaries(names.filter(lambda name: name not in unsent), values, max_size=4),
    body=st.binary(),
    now=st.integers(0, 4_000_000_000),
)
def test_signatures_are_botocores_byte_for_byte(
    access_key: str,
    secret_key: str,
    token: str | None,
    region: str,
    service: str,
    host: str,
    headers: dict[str, str],
    body: bytes,
    now: int,
) -> None:
    # Header names that differ in case only are one header to either signer.
    headers = {name.title(): value for name, value in headers.items()}
    port = host.partition(":")[2]
    scheme = "https" if port != "443" else "http"  # so that the port stays in the Host header
    request = AWSRequest("POST", f"{scheme}://{host}/", headers=headers, data=body)
    moment = datetime.fromtimestamp(now, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(BotoCredentials(access_key, secret_key, token), service, region).add_auth(request)
    added = sign(
        Credentials(access_key, secret_key, token), region, service, host, headers, body, now
    )
    expected = {
        name: request.headers[name]
        for name in ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
        if name in request.headers
    }
    assert added == expected


def test_a_secret_is_not_shown() -> None:
    assert "hidden" not in repr(Credentials("AKID", "hidden", "hidden"))
