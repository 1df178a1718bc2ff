"""A MicroVM's lifecycle hooks: run the application, and have lambdatrace's agent trace it.

    python3 hooks.py COMMAND...

The agent is the one of the Lambda layer. What Lambda's Extensions API tells it there, this program
tells it here: an execution begins when the MicroVM is run, and ends, written, when it is suspended
or terminated; the next one begins where the one before ended. The agent is started while the image
is built, before the application, for it traces what is started after it. Nothing that has to be
unique gets into the snapshot: ids are made, and credentials asked for, afterwards.

Written for AWS's documentation of MicroVMs; it was not run in one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[str, str], tuple[int, bytes]]

PORT = int(os.environ.get("HOOKS_PORT", "9000"))
PREFIX = "/aws/lambda-microvms/runtime/v1/"
START = os.environ.get("LAMBDATRACE_START", "/opt/lambdatrace/start")
# Seconds. A MicroVM lives for eight hours at most; the hooks' timeouts are configured in the image.
LIFETIME_S = 8 * 3600
READY_S = 5.0
FLUSH_S = 4.0
# The instance metadata service, version 2: credentials of the execution role.
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
METADATA_S = 1.0
ROLE = "/latest/meta-data/iam/security-credentials/"


class Agent:
    """The agent, and what it asks: for the next event, and for credentials."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._event: dict[str, object] | None = None
        self._asking = False
        api = serve("127.0.0.1", 0, self._answer)
        address = f"127.0.0.1:{api.server_port}"
        environ = {
            "LAMBDATRACE_PYTHON": sys.executable,
            # The VM may be gone by the time several would be written together.
            "LAMBDATRACE_FLUSH": "end",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{address}/credentials",
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": address,
        }
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen([START], env=environ)  # noqa: S603  # our own
        except OSError as error:
            print(f"hooks: the agent cannot be started: {error}", file=sys.stderr)
        self._await_asking(READY_S)

    def begin(self) -> None:
        """An execution begins; the one before, if there is one, ends and is written."""
        self._tell("INVOKE", LIFETIME_S, requestId=str(uuid.uuid4()))
        self._await_asking(FLUSH_S)

    def end(self) -> None:
        """The last execution ends; everything is written."""
        self._tell("SHUTDOWN", FLUSH_S, shutdownReason="spindown")
        if self._process is None:
            return
        try:
            self._process.wait(FLUSH_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _tell(self, kind: str, seconds: float, **more: str) -> None:
        deadline = int((time.time() + seconds) * 1000)
        with self._changed:
            self._event = {"eventType": kind, "deadlineMs": deadline, **more}
            self._asking = False
            self._changed.notify_all()

    def _await_asking(self, seconds: float) -> None:
        """Wait until it asks for the next event: whatever came before is done."""
        if self._process is not None:
            with self._changed:
                self._changed.wait_for(lambda: self._asking, seconds)

    def _answer(self, method: str, path: str) -> tuple[int, bytes]:
        if path == "/credentials":
            return credentials()
        if method == "POST":
            return 200, b"{}"
        with self._changed:
            self._asking = self._event is None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._event is not None)
            event, self._event = self._event, None
        return 200, json.dumps(event).encode()


def main() -> int:
    """Run the application and answer hooks until it ends; returns its exit code."""
    agent = Agent()
    application = subprocess.Popen(sys.argv[1:])  # noqa: S603  # the image's own
    one_at_a_time = threading.Lock()
    suspended = False
    terminated = False

    def answer(_: str, path: str) -> tuple[int, bytes]:
        nonlocal suspended, terminated
        hook = path.removeprefix(PREFIX)
        with one_at_a_time:
            if hook in ("ready", "validate"):
                # The application runs. One that needs time has to be asked here: 503 is "again".
                return 200, b""
            # Lambda may call suspend and terminate again.
            if hook == "run" or (hook == "suspend" and not suspended):
                agent.begin()
            elif hook == "terminate" and not terminated:
                agent.end()
            elif hook not in ("resume", "suspend", "terminate"):
                return 404, b""
            suspended = hook == "suspend"
            terminated = terminated or hook == "terminate"
        return 200, b""

    serve("0.0.0.0", PORT, answer)  # noqa: S104  # the hooks come from outside
    return application.wait()


def serve(host: str, port: int, answer: Answer) -> ThreadingHTTPServer:
    """A server in threads of its own; `answer` gets method and path, gives status and body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Lambda-Extension-Identifier", "lambdatrace")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def credentials() -> tuple[int, bytes]:
    """The execution role's, as the metadata service writes them: the agent reads the same form."""
    try:
        token = {
            "X-aws-ec2-metadata-token": metadata(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            ).decode()
        }
        name = metadata("GET", ROLE, token).decode().split("\n")[0]
        return 200, metadata("GET", ROLE + name, token)
    except OSError:
        return 503, b""


def metadata(method: str, path: str, headers: dict[str, str]) -> bytes:
    """What the metadata service answers. Raises OSError."""
    request = urllib.request.Request(METADATA + path, headers=headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=METADATA_S) as answer:  # noqa: S310
        found: bytes = answer.read()
    return found


if __name__ == "__main__":
    sys.exit(main())
