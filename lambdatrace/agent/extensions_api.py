"""Lambda's Extensions API: register, and ask for the next event."""

from __future__ import annotations

import json

from lambdatrace.agent.http import HttpClient, HttpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BASE = "/2020-01-01/extension"
_OK = 200


class ExtensionsApi:
    """One registered extension.

    Parameters
    ----------
    runtime_api : str
        `host:port`, from AWS_LAMBDA_RUNTIME_API.
    name : str
        The file name under /opt/extensions that was started: Lambda insists on it.
    """

    def __init__(self, runtime_api: str, name: str) -> None:
        host, _, port = runtime_api.rpartition(":")
        self._client = HttpClient(host, int(port))
        self._name = name
        self._identifier = ""

    def register(self) -> None:
        """Register for INVOKE and SHUTDOWN. Raises HttpError."""
        body = json.dumps({"events": ["INVOKE", "SHUTDOWN"]}).encode()
        headers = {"Lambda-Extension-Name": self._name, "Content-Type": "application/json"}
        response = self._client.request("POST", f"{_BASE}/register", headers, body)
        if response.status != _OK:
            raise HttpError(f"register: status {response.status}")
        self._identifier = response.headers.get("lambda-extension-identifier", "")

    def next(self) -> dict[str, Any]:
        """The next event, however long it takes: no time-out. Raises HttpError."""
        headers = {"Lambda-Extension-Identifier": self._identifier}
        response = self._client.request("GET", f"{_BASE}/event/next", headers)
        if response.status != _OK:
            raise HttpError(f"next: status {response.status}")
        try:
            event = json.loads(response.body)
        except ValueError as error:
            raise HttpError("next: no JSON") from error
        if not isinstance(event, dict):
            raise HttpError("next: no object")
        return event

    def close(self) -> None:
        """Drop the connection (in a fork: this process's copy of it)."""
        self._client.close()
