"""An AWS account to deploy to: moto as a server, and the real command line in a process of its own.

Everything that is asked is noted, and a test may have a call fail as AWS lets it fail.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import boto3
from moto.core.config import default_user_config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# What a function does when it is invoked, a test says.
default_user_config["lambda"] = {"use_docker": False}

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ROOT = Path(__file__).parents[1]
# Everything that the command line sees of this machine.
_ENVIRON = {
    "PATH": os.environ["PATH"],
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_SERVICE = re.compile(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/aws4_request")
# What Lambda's paths and methods mean: its API is the only one here that does not name the action.
_LAMBDA = (
    ("PUT", r"/functions/[^/]+/configuration", "UpdateFunctionConfiguration"),
    ("GET", r"/functions/[^/]+/configuration", "GetFunctionConfiguration"),
    ("GET", r"/functions/?", "ListFunctions"),
    ("GET", r"/layers/[^/]+/versions", "ListLayerVersions"),
    ("POST", r"/layers/[^/]+/versions", "PublishLayerVersion"),
    ("POST", r"/functions/[^/]+/invocations", "Invoke"),
)
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """Its one line of error."""
        (line,) = [each for each in self.stderr.splitlines() if each.startswith("error: ")]
        return line.removeprefix("error: ")

    @property
    def hint(self) -> str:
        """Its one line of what to do."""
        (line,) = [each for each in self.stderr.splitlines() if each.startswith("hint: ")]
        return line.removeprefix("hint: ")


@dataclass
class Fault:
    """The next `times` calls of `action` that mention `about` are answered with this error."""

    action: str
    code: str
    message: str = "not today"
    status: int = 403
    times: int = 1_000
    about: str = ""


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Requests are noted elsewhere."""


class Aws:
    """One account; a context manager."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.calls: list[str] = []  # `service:Action`
        self.bodies: dict[str, bytes] = {}  # of each action's latest call
        self.resources: list[tuple[str, str]] = []  # action, ARN of what it was about
        self.faults: list[Fault] = []
        self.on_call: Callable[[str], None] = lambda action: None
        self.alter: Callable[[str, dict[str, Any]], None] = lambda action, answer: None
        # What an invocation with this event does; the headers of the answer.
        self.invoked: Callable[[bytes], dict[str, str]] = lambda event: {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """An empty account."""
        urlopen(Request(f"{self.endpoint}/moto-api/reset", method="POST")).read()
        self.faults, self.on_call = [], lambda action: None
        self.alter = lambda action, answer: None
        self.invoked = lambda event: {}

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size else b""
        environ["wsgi.input"] = io.BytesIO(body)
        action = _action(environ, body)
        if action:
            self.calls.append(action)
            self.bodies[action] = body
            self.resources.append((action, _resource(action, environ["PATH_INFO"], body)))
            self.on_call(action)
            about = environ["PATH_INFO"] + body[:10_000].decode(errors="replace")
            for fault in self.faults:
                if fault.action == action and fault.times and fault.about in about:
                    fault.times -= 1
                    return _refuse(action.partition(":")[0], fault, start_response)
        if not action.startswith("lambda:"):
            answer: Iterable[bytes] = self._moto(environ, start_response)
            return answer
        begun: list[Any] = []
        document = json.loads(b"".join(self._moto(environ, lambda *head: begun.append(head))))
        self.alter(action, document)
        altered = json.dumps(document).encode()
        status, headers, *_ = begun[0]
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        if action == "lambda:Invoke":
            own = self.invoked(body)
            kept = [each for each in kept if each[0].lower() not in map(str.lower, own)]
            kept += own.items()
        start_response(status, [*kept, ("Content-Length", str(len(altered)))])
        return [altered]

    # --- what is in the account ---------------------------------------------------------------

    def client(self, service: str) -> Any:
        """For the test itself; its calls are not noted in `calls` of what comes after."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="AKIATEST",
            aws_secret_access_key="test",
        )

    def role(self, name: str) -> str:
        """A role that functions can have; returns its ARN."""
        answer = self.client("iam").create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST), Path="/service/"
        )
        return str(answer["Role"]["Arn"])

    def function(self, name: str, *, role: str = "", **options: Any) -> None:
        """A Python function on x86_64, unless told otherwise; its role is its own."""
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", "def handler(event, context): pass")
        arguments: dict[str, Any] = {
            "Runtime": "python3.13",
            "Handler": "app.handler",
            "Code": {"ZipFile": code.getvalue()},
            "Role": role or self.role(f"{name}-role"),
            **options,
        }
        arguments = {key: value for key, value in arguments.items() if value is not None}
        self.client("lambda").create_function(FunctionName=name, **arguments)

    def layers(self, count: int) -> list[str]:
        """ARNs of so many layers of others."""
        arns = []
        for number in range(count):
            answer = self.client("lambda").publish_layer_version(
                LayerName=f"other-{number}", Content={"ZipFile": b"PK\x05\x06" + bytes(18)}
            )
            arns.append(answer["LayerVersionArn"])
        return arns

    def configuration(self, name: str) -> dict[str, Any]:
        """All that Lambda says of a function."""
        answer = dict(self.client("lambda").get_function_configuration(FunctionName=name))
        return {key: value for key, value in answer.items() if key != "ResponseMetadata"}

    def policies(self, role: str) -> dict[str, Any]:
        """The inline policies of a role."""
        iam = self.client("iam")
        return {
            name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        }

    def snapshot(self, *functions: str) -> Any:
        """All that a deployment could change."""
        roles = [self.configuration(name)["Role"].rpartition("/")[2] for name in functions]
        return (
            [self.configuration(name) for name in functions],
            {role: self.policies(role) for role in roles},
            sorted(self.client("dynamodb").list_tables()["TableNames"]),
            [layer["LayerName"] for layer in self.client("lambda").list_layers()["Layers"]],
        )

    # --- the command line ---------------------------------------------------------------------

    def run(
        self,
        *arguments: str,
        environ: Mapping[str, str | None] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> Ended:
        """The real command line, in a process of its own; `calls` are those it makes."""
        self.calls, self.resources = [], []
        variables = {**_ENVIRON, "AWS_ENDPOINT_URL": self.endpoint, **(environ or {})}
        done = subprocess.run(
            [Path(sys.executable).with_name("lambdatrace"), *arguments],
            cwd=ROOT,
            env={name: value for name, value in variables.items() if value is not None},
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)


def _action(environ: Mapping[str, Any], body: bytes) -> str:
    """`service:Action` of a request; empty for one to moto itself."""
    found = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        return ""
    service = found[1]
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return f"{service}:{target.rpartition('.')[2]}"
    if service != "lambda":
        return f"{service}:{parse_qs(body.decode())['Action'][0]}"
    path = re.sub(r"^/20[0-9-]+", "", environ["PATH_INFO"])
    for method, pattern, action in _LAMBDA:
        if environ["REQUEST_METHOD"] == method and re.fullmatch(pattern, path):
            return f"lambda:{action}"
    return f"lambda:{environ['REQUEST_METHOD']} {path}"


def _resource(action: str, path: str, body: bytes) -> str:
    """The ARN of what a call is about; `*` where it is about nothing in particular."""
    service = action.partition(":")[0]
    if service == "dynamodb":
        name = json.loads(body).get("TableName", "")
        return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
    if service == "iam":
        return f"arn:aws:iam::{ACCOUNT}:role/service/{parse_qs(body.decode())['RoleName'][0]}"
    kind, _, rest = path.partition("/")[2].partition("/")[2].partition("/")
    name = rest.partition("/")[0]
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:{kind[:-1]}:{name}" if name else "*"


def _refuse(service: str, fault: Fault, start_response: Any) -> Iterable[bytes]:
    """An error as the service writes it."""
    status = f"{fault.status} Refused"
    if service == "iam":
        start_response(status, [("Content-Type", "text/xml")])
        return [
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{fault.code}</Code><Message>"
            f"{fault.message}</Message></Error><RequestId>1</RequestId></ErrorResponse>".encode()
        ]
    headers = [("Content-Type", "application/json"), ("X-Amzn-ErrorType", fault.code)]
    start_response(status, headers)
    return [json.dumps({"__type": fault.code, "message": fault.message}).encode()]


class Meanwhile:
    """What happens at certain calls, in order: `(action, what)`."""

    def __init__(self, *events: tuple[str, Callable[[], None]]) -> None:
        self._events = deque(events)

    def __call__(self, action: str) -> None:
        if self._events and self._events[0][0] == action:
            self._events.popleft()[1]()
