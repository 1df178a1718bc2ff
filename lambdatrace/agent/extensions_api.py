"""Lambda's Extensions API: register, and ask for the next event.

Its events are small, flat and of a known make, and the few fields needed are read without json:
importing that would be a tenth of the agent's start.
"""

from __future__ import annotations

from lambdatrace.agent.http import HttpClient, HttpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BASE = "/2020-01-01/extension"
_OK = 200
# `value` is that of `tracing`: X-Ray's header.
_FIELDS = ("eventType", "requestId", "deadlineMs", "shutdownReason", "value")


class ExtensionsApi:
    """One registered extension.

    Parameters
    ----------
    runtime_api : str
        `host:port`, from AWS_LAMBDA_RUNTIME_API.
    name : str
        The file name under /opt/extensions that was started: Lambda insists on it.
    """

    events: tuple[str, ...] = ("INVOKE", "SHUTDOWN")

    def __init__(self, runtime_api: str, name: str) -> None:
        host, _, port = runtime_api.rpartition(":")
        self._client = HttpClient(host, int(port))
        self._name = name
        self._identifier = ""

    def register(self, *, invocations: bool = True) -> None:
        """Register for `events`, INVOKE only if it is not told otherwise. Raises HttpError."""
        wanted = [f'"{event}"' for event in self.events if invocations or event != "INVOKE"]
        body = f'{{"events": [{", ".join(wanted)}]}}'.encode()
        headers = {"Lambda-Extension-Name": self._name, "Content-Type": "application/json"}
        response = self._client.request("POST", f"{_BASE}/register", headers, body)
        if response.status != _OK:
            raise HttpError(f"register: status {response.status}")
        self._identifier = response.headers.get("lambda-extension-identifier", "")

    def next(self, wait: Callable[[int], None] | None = None) -> dict[str, str]:
        """The next event, however long it takes: no time-out. Raises HttpError.

        `wait` is called with the descriptor on which the answer comes, until that is there.
        """
        headers = {"Lambda-Extension-Identifier": self._identifier}
        response = self._client.request("GET", f"{_BASE}/event/next", headers, wait=wait)
        if response.status != _OK:
            raise HttpError(f"next: status {response.status}")
        event = read_event(response.body)
        if "eventType" not in event:
            raise HttpError("next: no event")
        return event

    def close(self) -> None:
        """Drop the connection (in a fork: this process's copy of it)."""
        self._client.close()


def read_event(body: bytes) -> dict[str, str]:
    """The fields of an event that the agent needs, those that are there, as text."""
    text = body.decode("utf-8", "replace")
    found = {name: _value(text, name) for name in _FIELDS}
    return {name: value for name, value in found.items() if value}


def _value(text: str, name: str) -> str:
    """The string or the whole number that stands behind `name`; empty if neither does."""
    rest = text.partition(f'"{name}"')[2].lstrip()
    if not rest.startswith(":"):
        return ""
    rest = rest[1:].lstrip()
    if rest.startswith('"'):
        return rest[1:].partition('"')[0]
    return rest[: len(rest) - len(rest.lstrip("0123456789"))]
