"""Sending traces to an OpenTelemetry backend: OTLP/HTTP with JSON, as its specification has it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from lambdatrace import __version__
from lambdatrace.errors import LambdatraceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Where a base URL's traces go, and what answers "later" (OTLP specification, OTLP/HTTP).
_PATH = "/v1/traces"
_LATER = (429, 502, 503, 504)
_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
# A request: backends take some MB, a span has some hundred bytes.
MAX_SPANS = 1_000
MAX_BYTES = 1_000_000
_TIMEOUT_S = 30.0
_ATTEMPTS = 6
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_MAX_ANSWER = 65_536


class Receiver:
    """An OTLP endpoint. `sleep` takes s, `now` gives s since the epoch.

    Attributes
    ----------
    spans : int
        Spans handed over so far.
    refused : int
        Those of them that were not taken.
    why : str
        What was said of the last that were not.
    """

    def __init__(
        self, url: str, environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.spans = self.refused = 0
        self.why = ""
        self._url = traces_url(url)
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"lambdatrace/{__version__}",
            **headers(environ.get(_HEADERS, "")),
        }
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, body: str, spans: int) -> None:
        """Hand over some spans. Raises LambdatraceError where they cannot be."""
        answer = self._answer(body.encode())
        self.spans += spans
        told = _partial_success(answer)
        self.refused += told[0]
        self.why = told[1] or self.why

    def _answer(self, body: bytes) -> bytes:
        pause = _PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310  # http[s]
            try:
                with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                    answer: bytes = response.read(_MAX_ANSWER)
                    return answer
            except urllib.error.HTTPError as error:
                with error:
                    wait = _asked_for(error.headers.get("Retry-After", ""))
                    said = f"{error.code} {error.reason} {_words(error.read(_MAX_ANSWER))}".strip()
                if error.code not in _LATER or attempt == _ATTEMPTS:
                    raise self._trouble(said) from error
            except (OSError, HTTPException) as error:
                wait = None
                if attempt == _ATTEMPTS:
                    raise self._trouble(str(error)) from error
            self._sleep(min(_LONGEST_PAUSE_S, pause if wait is None else wait))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _trouble(self, said: str) -> LambdatraceError:
        return LambdatraceError(
            f"{self._url} did not take the spans: {said}",
            f"check the endpoint, and what it wants in {_HEADERS}; {self.spans} were sent before",
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Where headers with a key in them are sent, is said by nobody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def traces_url(url: str) -> str:
    """Where traces are sent to: `url`, or below it if it has no path. Raises UsageError."""
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(
            f"{url!r} is not an endpoint", "as in --otlp-endpoint https://collector.example:4318"
        )
    if parts.path in ("", "/"):
        return urllib.parse.urlunsplit(parts._replace(path=_PATH))
    return url


def headers(text: str) -> dict[str, str]:
    """The headers of OTEL_EXPORTER_OTLP_HEADERS: `key=value,key=value`, values %-encoded.

    Raises UsageError.
    """
    found = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, equals, value = pair.partition("=")
        name, value = name.strip(), urllib.parse.unquote(value.strip())
        plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not equals or not plain or not value.isprintable() or not value.isascii():
            raise UsageError(f"{_HEADERS} is not key=value,key=value", "as in api-key=secret")
        found[name] = value
    return found


def _asked_for(retry_after: str) -> float | None:
    """For how long (s) a Retry-After asks to wait (RFC 9110, 10.2.3); None: it does not."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _partial_success(answer: bytes) -> tuple[int, str]:
    """(spans that were refused, why) by an ExportTraceServiceResponse."""
    try:
        told = json.loads(answer or b"{}").get("partialSuccess") or {}
        return int(told.get("rejectedSpans") or 0), str(told.get("errorMessage") or "")
    except (ValueError, AttributeError, TypeError, RecursionError):
        return 0, ""


def _words(answer: bytes) -> str:
    return " ".join(answer.decode("utf-8", "replace").split())[:200]
