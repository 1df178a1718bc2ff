"""Lambda Managed Instances: AWS's emulator in that mode, with the real agent and runtime client.

It starts the environment at once, gives several executions at a time to as many processes, and
knows of no INVOKE events. Invocations are plain HTTP here: lambdatrace's own Emulator is for the
other mode.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support_agent import HANDLERS, PATIENCE_S, Function, eventually

from lambdatrace.emulator import agent_command, find_rie
from lambdatrace.emulator.environment import Room, end_all, namespace_of
from lambdatrace.emulator.rie import _free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME = f"{sys.executable} -m awslambdaric app.handler"
# A shell stands between the platform and the runtime.
WRAPPED_RUNTIME = f"sh -c '{RUNTIME}; exit 3'"
KEEP_ROOT = Path(__file__).parent / "integration/agent/keep_root.py"
# The emulator looks for the bootstrap in these folders and nowhere else; it sets another PATH.
_ENTER = """
mount -t tmpfs tmpfs /var
mkdir /var/runtime /var/task
printf '#!/bin/sh\\ncd "$HANDLERS"\\nexec %s\\n' "$BOOTSTRAP" >/var/runtime/bootstrap
chmod 755 /var/runtime/bootstrap
exec "$@"
"""


class ManagedInstance:
    """One environment with so many processes that serve at once; a context manager.

    `runtime` is the command that runs it, AWS's client unless told otherwise.
    """

    def __init__(
        self,
        function: Function,
        processes: int,
        environ: Mapping[str, str] | None = None,
        *,
        runtime: str = RUNTIME,
    ) -> None:
        self._function = function
        self._processes = processes
        self._environ = environ or {}
        self._runtime = runtime
        self._cleanup = contextlib.ExitStack()
        self._port = 0
        self.namespace = ""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            room = Room({"lambdatrace": agent_command()})
            cleanup.callback(room.remove)
            self._port, api = _free_ports(2)
            rie = (str(find_rie()), "--runtime-api-address", f"127.0.0.1:{api}")
            command = room.command(
                [
                    *("/bin/sh", "-euc", _ENTER, "enter", sys.executable, str(KEEP_ROOT), *rie),
                    *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
                ]
            )
            log = (self._function.folder / "log").open("ab")
            cleanup.callback(log.close)
            process = subprocess.Popen(
                command,
                env=self._variables() | {"BOOTSTRAP": self._runtime},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            cleanup.callback(self._stop, process)
            eventually(self._answers, "the emulator")
            self.namespace = namespace_of(process.pid)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _variables(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "HANDLERS": str(HANDLERS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_NAME": "under-test",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
            "AWS_LAMBDA_MAX_CONCURRENCY": str(self._processes),
            "AWS_REGION": "us-east-1",
            "LAMBDATRACE_PYTHON": sys.executable,
            "LAMBDATRACE_STORE": self._function.store,
            "LAMBDATRACE_SPOOL": f"{self._function.folder}/spool",
            "LAMBDATRACE_TEST": str(self._function.folder),
            **self._environ,
        }

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            end_all(self.namespace)

    @property
    def agent_lines(self) -> list[str]:
        """What the agent said on stderr."""
        lines = (self._function.folder / "log").read_text().splitlines()
        return [line for line in lines if "lambdatrace: " in line]

    def invoke(self, *steps: dict[str, Any], request_id: str = "") -> tuple[str, Any]:
        """Invoke, and wait for the answer: (request id, what the function returned)."""

        def answer() -> tuple[str, Any] | None:
            number = request_id or str(uuid.uuid4())
            body = self._post(number, steps)
            # The first process that waits makes the environment ready; others come later.
            return None if body == {"errorType": "Runtime.Unavailable"} else (number, body)

        found: tuple[str, Any] = eventually(answer, "a process that waits")
        return found

    def _post(self, request_id: str, steps: tuple[dict[str, Any], ...]) -> Any:
        api = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        headers = {"X-Amzn-RequestId": request_id, "Content-Type": "application/json"}
        path = "/2015-03-31/functions/function/invocations"
        api.request("POST", path, json.dumps({"steps": steps}), headers)
        body = api.getresponse().read()
        api.close()
        return json.loads(body)

    @contextlib.contextmanager
    def invoking(self, *steps: dict[str, Any]) -> Any:
        """Invoke in the background; when the block has ended, its list holds the answer."""
        answers: list[tuple[str, Any]] = []
        thread = threading.Thread(target=lambda: answers.append(self.invoke(*steps)))
        thread.start()
        try:
            yield answers
        finally:
            thread.join()
