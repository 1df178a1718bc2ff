"""examples/ that can run here: the bootstrap under AWS's emulator, the MicroVM's hooks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import support_agent as agent
from support_agent import HANDLERS, ROOT, Echo, Function, ok

from lambdatrace.emulator import Emulator
from lambdatrace.layer.unpacked import unpacked_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = ROOT / "examples"
# Started in the emulator's place, it has the emulator start the function's own bootstrap.
WRAPPER = """#!{python}
import os, sys
arguments = sys.argv[1:]
script = arguments.index("-c") + 1
arguments[script] = 'export _HANDLER=app.handler; exec ./bootstrap >"$0" 2>&1'
os.execv({rie!r}, [{rie!r}, *arguments])
"""


@pytest.fixture
def function(tmp_path: Path) -> Function:
    agent.require_agent()
    return Function(tmp_path)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as servers:
        yield servers


@pytest.fixture
def package(function: Function) -> Path:
    """The folder of a function for provided.al2023, as the bootstrap's comment describes it."""
    folder = function.folder / "package"
    folder.mkdir()
    shutil.copy(EXAMPLES / "custom-runtime/bootstrap", folder)
    shutil.copytree(unpacked_layer() / "lambdatrace", folder / "lambdatrace")
    shutil.copy(HANDLERS / "app.py", folder)
    shutil.copy(HANDLERS / "traffic.py", folder)
    rie = function.folder / "rie"
    rie.write_text(WRAPPER.format(python=sys.executable, rie=str(agent.find_rie())))
    rie.chmod(0o755)
    return folder


def emulator(function: Function, package: Path, **environ: str) -> Emulator:
    """AWS's emulator with no extension, and the bootstrap for a runtime."""
    return Emulator(
        "app.handler",
        package,
        timeout_s=20,
        environ={
            "PATH": os.environ["PATH"],
            "LAMBDATRACE_PYTHON": sys.executable,
            "LAMBDATRACE_STORE": function.store,
            "LAMBDATRACE_SPOOL": f"{function.folder}/spool",
            **environ,
        },
        rie_path=function.folder / "rie",
        extensions={},
        log=lambda source, line: function.log.append((source, line)),
    )


def test_the_bootstrap_of_a_custom_runtime(function: Function, package: Path, echo: Echo) -> None:
    port = echo.port()
    with emulator(function, package) as running:
        ids = [ok(running, {"what": "connect", "port": port}) for _ in range(3)]
        found = [function.read(request_id) for request_id in ids]
    for execution in found:
        assert execution.ports == {port: 1}
        assert (execution.summary["status"], execution.summary["edges"]) == ("ok", "kernel")
        assert execution.summary["dropped"] == {}
    assert [execution.summary["cold_start"] for execution in found] == [True, False, False]
    assert function.agent_lines == []


APPLICATION = """
import socket, sys, time
while True:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.sendall(b"x")
        connection.recv(1)
    time.sleep(0.05)
"""


class MicroVm:
    """hooks.py and an application that connects to `port` again and again. A context manager."""

    def __init__(self, function: Function, port: int, **environ: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._command = [sys.executable, EXAMPLES / "microvm/hooks.py"]
        self._command += [sys.executable, "-c", APPLICATION, str(port)]
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOOKS_PORT": str(self._port),
            "LAMBDATRACE_START": f"{unpacked_layer()}/lambdatrace/start",
            "LAMBDATRACE_STORE": function.store,
            "LAMBDATRACE_SPOOL": f"{function.folder}/spool",
            "AWS_LAMBDA_FUNCTION_NAME": "vm",
            "AWS_REGION": "eu-west-1",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
            **environ,
        }
        self._log = function.folder / "log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stderr=log, start_new_session=True
            )
        agent.eventually(lambda: self.hook("ready") == 200, "the hook ready")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def hook(self, name: str) -> int:
        """Call one, as Lambda does; 0: nobody listens yet."""
        url = f"http://127.0.0.1:{self._port}/aws/lambda-microvms/runtime/v1/{name}"
        try:
            return urlopen(Request(url, b"{}", method="POST"), timeout=20).status
        except HTTPError as error:
            return error.code
        except URLError:
            return 0

    def end_application(self) -> int:
        """Kill it; returns the exit code of hooks.py."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        *_, application = map(int, children.read_text().split())
        os.kill(application, signal.SIGKILL)
        return self._process.wait(agent.PATIENCE_S)

    @property
    def said(self) -> str:
        return self._log.read_text()


def test_the_hooks_of_a_microvm(function: Function, echo: Echo) -> None:
    port = echo.port()
    with MicroVm(function, port) as vm:
        assert vm.hook("run") == 200
        assert function.stored() == []
        echo.wait_for_more([port])
        assert vm.hook("suspend") == 200
        (first,) = function.stored()
        # Called again, it changes nothing.
        assert vm.hook("suspend") == 200
        assert function.stored() == [first]
        assert vm.hook("resume") == 200
        echo.wait_for_more([port])
        assert vm.hook("terminate") == vm.hook("terminate") == 200
        assert vm.hook("else") == 404
        stored = function.stored()
    assert stored[0] == first
    assert len(stored) == 2
    for summary in stored:
        assert (summary["function"], summary["status"], summary["edges"]) == (
            "vm", "ok", "extension",
        )  # fmt: skip
        assert set(function.read(summary["execution_id"]).ports) == {port}
    assert vm.said == ""


def test_a_microvm_runs_without_an_agent(function: Function, echo: Echo) -> None:
    port = echo.port()
    with MicroVm(function, port, LAMBDATRACE_START="/nowhere/start") as vm:
        echo.wait_for_more([port])
        for hook in ("run", "suspend", "resume", "terminate"):
            assert vm.hook(hook) == 200
    assert "the agent cannot be started" in vm.said


def test_a_microvms_hooks_end_with_its_application(function: Function, echo: Echo) -> None:
    with MicroVm(function, echo.port(), LAMBDATRACE_START="/nowhere/start") as vm:
        assert vm.end_application() != 0


class _Metadata(BaseHTTPRequestHandler):
    """An instance metadata service, version 2, with a role."""

    def do_PUT(self) -> None:
        assert self.path == "/latest/api/token"
        self._reply("a-token" if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else "")

    def do_GET(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token"] == "a-token"
        credentials = {
            "Code": "Success",
            "AccessKeyId": "AKIAMICROVM",
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": "2099-01-01T00:00:00Z",
        }
        role = self.path.removeprefix("/latest/meta-data/iam/security-credentials/")
        self._reply(json.dumps(credentials) if role == "vm-role" else "vm-role")

    def _reply(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_the_execution_roles_credentials_reach_the_agent(
    function: Function, echo: Echo, table: str
) -> None:
    """DynamoDB Local takes any credentials, but no request without."""
    function.store = table
    port = echo.port()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metadata) as metadata:
        threading.Thread(target=metadata.serve_forever, args=(0.05,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{metadata.server_port}"
        with MicroVm(function, port, AWS_EC2_METADATA_SERVICE_ENDPOINT=endpoint) as vm:
            assert vm.hook("run") == 200
            echo.wait_for_more([port])
            assert vm.hook("suspend") == 200
            (summary,) = function.stored()
        metadata.shutdown()
    assert summary["function"] == "vm"
    assert vm.said == ""


@pytest.mark.parametrize("name", ["container", "microvm"])
def test_dockerfiles_name_what_is_in_the_layer(name: str) -> None:
    text = (EXAMPLES / name / "Dockerfile").read_text()
    for path in re.findall(r"/opt/[a-z/]+", text):
        assert (unpacked_layer() / path.removeprefix("/opt/")).exists(), path
    for file in re.findall(r"(\w+\.py)\b", text):
        assert file == "app.py" or (EXAMPLES / name / file).is_file(), file
