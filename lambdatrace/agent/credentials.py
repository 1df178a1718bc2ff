"""AWS credentials the agent can have: from the environment, or from the container endpoint.

Lambda sets the three variables; with SnapStart, on ECS and on EKS it is the endpoint.
Profiles, SSO and EC2's instance metadata are for boto3, on the reading side.
"""

from __future__ import annotations

import time

from lambdatrace import plain_json
from lambdatrace.agent.http import HttpClient, HttpError
from lambdatrace.agent.settings import SNAP_START
from lambdatrace.agent.sigv4 import Credentials
from lambdatrace.errors import StoreError, UsageError
from lambdatrace.store.url import parse_endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The address of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, and hosts a token may be sent to without
# TLS (AWS SDKs and Tools reference guide, "Container credential provider").
_CONTAINER_HOST = "169.254.170.2"
_PLAIN_HOSTS = (
    _CONTAINER_HOST, "169.254.170.23", "fd00:ec2::23", "localhost", "127.0.0.1", "::1",
)  # fmt: skip

# Seconds before their expiry from which new ones are asked for, and seconds one attempt may take.
REFRESH_BEFORE = 300.0
# While those that are there are still good: how long (s) after a failure to ask again.
REFRESH_AGAIN = 10.0
_ATTEMPT = 2.0
_MAX_TOKEN_BYTES = 16 * 1024
_MAX_ANSWER_BYTES = 64 * 1024

_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PLAIN_HINT = "was a line break pasted with it?"
_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for example with: "
    'eval "$(aws configure export-credentials --format env)"'
)


class CredentialSource:
    """Where credentials come from, and the latest ones that did. `now` gives s since the epoch."""

    def __init__(self, environ: Mapping[str, str], now: Callable[[], float] = time.time) -> None:
        self._environ = environ
        self._now = now
        self._cached: Credentials | None = None
        self._failed_at: float | None = None  # when new ones were asked for in vain

    def get(self, deadline: float) -> Credentials:
        """Credentials that are valid now; `deadline` is in s on `time.monotonic`.

        Raises StoreError when there are none, HttpError when the endpoint does not give any.
        """
        access_key = self._environ.get("AWS_ACCESS_KEY_ID")
        secret_key = self._environ.get("AWS_SECRET_ACCESS_KEY")
        if access_key and secret_key and not self._is_snapshot():
            token = self._environ.get("AWS_SESSION_TOKEN")
            named = zip(_VARIABLES, (access_key, secret_key, token), strict=True)
            if wrong := [name for name, value in named if value and not _is_plain(value)]:
                raise StoreError(f"{' and '.join(wrong)}: not printable ASCII", _PLAIN_HINT)
            return Credentials(access_key, secret_key, token)
        cached = self._cached
        left = 0.0 if cached is None else self._left(cached)
        if cached is not None and left > 0:
            if left > REFRESH_BEFORE or self._has_just_failed():
                return cached
            # Whoever asked has something to do until then, and these will do for that.
            deadline -= max(0.0, deadline - time.monotonic()) / 2
        try:
            self._cached = self._from_endpoint(deadline)
        except (HttpError, StoreError):
            if cached is None or left <= 0:
                raise
            self._failed_at = self._now()
            return cached
        self._failed_at = None
        return self._cached

    def _has_just_failed(self) -> bool:
        return self._failed_at is not None and 0 <= self._now() - self._failed_at < REFRESH_AGAIN

    def forget(self) -> None:
        """Ask again next time: the service did not take the latest ones."""
        self._cached = None

    def _is_snapshot(self) -> bool:
        """Whether the variables may be as old as the snapshot that this environment was made of."""
        names = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        return self._environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == SNAP_START and any(
            self._environ.get(name) for name in names
        )

    def _left(self, credentials: Credentials) -> float:
        return (credentials.expires_at or float("inf")) - self._now()

    def _from_endpoint(self, deadline: float) -> Credentials:
        url = self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if relative := self._environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
            url = f"http://{_CONTAINER_HOST}{relative}"
        if not url:
            raise StoreError("there are no AWS credentials in the environment", _HINT)
        scheme, _, rest = url.partition("://")
        authority, _, path = rest.partition("/")
        try:
            endpoint = parse_endpoint(f"{scheme}://{authority}")
        except UsageError as error:
            raise StoreError(f"AWS_CONTAINER_CREDENTIALS_…_URI: {error.message}") from error
        if not endpoint.tls and endpoint.host not in _PLAIN_HOSTS:
            raise StoreError(
                f"AWS_CONTAINER_CREDENTIALS_FULL_URI names {endpoint.host!r} without TLS",
                "AWS allows http only for the container's own credential endpoints",
            )
        client = HttpClient(
            endpoint.host,
            endpoint.port,
            endpoint.tls,
            max_body=_MAX_ANSWER_BYTES,
            ca_file=self._environ.get("AWS_CA_BUNDLE") or None,
        )
        headers = {"Accept": "application/json"}
        if token := self._token():
            headers["Authorization"] = token
        try:
            response = client.request(
                "GET", f"/{path}", headers, deadline=min(deadline, time.monotonic() + _ATTEMPT)
            )
        finally:
            client.close()
        if response.status != 200:
            raise HttpError(f"the credential endpoint answered {response.status}")
        return _parsed(response.body)

    def _token(self) -> str:
        path = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        if not path:
            given = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
            if not _is_plain(given):
                raise StoreError(
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN: not printable ASCII", _PLAIN_HINT
                )
            return given
        try:
            with open(path, encoding="ascii") as file:  # pathlib is not free
                token = file.read(_MAX_TOKEN_BYTES).strip()
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read the token in {path}: {error}") from error
        if not token.isprintable():
            raise StoreError(f"{path} does not hold a token")
        return token


def _parsed(body: bytes) -> Credentials:
    try:
        answer = plain_json.loads(body)
        access_key, secret_key = answer["AccessKeyId"], answer["SecretAccessKey"]
        token, expires = answer.get("Token"), answer.get("Expiration")
        expires_at = None if expires is None else _epoch(expires)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HttpError("the credential endpoint did not answer with credentials") from error
    if not all(isinstance(text, str) and _is_plain(text) for text in (access_key, secret_key)):
        raise HttpError("the credential endpoint did not answer with credentials")
    if token is not None and not (isinstance(token, str) and _is_plain(token)):
        raise HttpError("the credential endpoint did not answer with credentials")
    return Credentials(access_key, secret_key, token, expires_at)


def _is_plain(text: str) -> bool:
    """Whether it can stand in a header. What it is may not be told."""
    return text.isascii() and text.isprintable()


def _epoch(text: str) -> float:
    """`2026-11-22T07:00:00Z` (with or without decimals) as s since the epoch."""
    import calendar

    if not text.endswith("Z"):
        raise ValueError(text)
    return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
