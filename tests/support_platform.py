"""A platform for what AWS's emulator does not do: overlaps, freezes, snapshots.

It gives two runtimes of one environment an execution each at the same time, lets everything in it
stand still, and restores a runtime that waits to be snapshotted (SnapStart). It speaks the same two
APIs to the same agent and to AWS's own runtime client; everything between them and the store is
real.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from support_agent import HANDLERS, Function, eventually

from lambdatrace.layer.unpacked import unpacked_layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ARN = "arn:aws:lambda:us-east-1:012345678912:function:under-test"
# X-Ray's, of every invocation.
TRACING = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"
TIMEOUT_S = 20


class Platform:
    """The two APIs, the agent and as many runtimes as wanted; a context manager.

    With `snapshot`, runtimes wait for `restore()` when they have started. `runtime` is AWS's, if
    no other command is given.
    """

    def __init__(
        self,
        function: Function,
        runtimes: int,
        environ: Mapping[str, str] | None = None,
        *,
        snapshot: bool = False,
        runtime: tuple[str, ...] = (sys.executable, "-m", "awslambdaric", "app.handler"),
    ) -> None:
        self._function = function
        self._more = environ or {}
        self._snapshot = snapshot
        self._runtime = runtime
        self._restored = not snapshot
        self._skew_s = 0
        self._changed = threading.Condition()
        self._events: deque[dict[str, Any]] = deque()  # for the extension
        self._invocations: deque[tuple[str, bytes, float]] = deque()  # for the runtimes
        self.answers: dict[str, bytes] = {}
        self._asking = 0  # runtimes that wait
        self._extension_asks = False  # has asked, ever
        self.extension_waits = False  # has asked for its next event
        self._count = runtimes
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._environ = environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "under-test",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_REGION": "us-east-1",
            "LAMBDA_TASK_ROOT": str(HANDLERS),
            "LAMBDATRACE_PYTHON": sys.executable,
            "LAMBDATRACE_STORE": self._function.store,
            "LAMBDATRACE_SPOOL": f"{self._function.folder}/spool",
            "LAMBDATRACE_TEST": str(self._function.folder),
            **({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"} if self._snapshot else {}),
            **self._more,
        }
        log = self._function.folder / "log"
        root = f"{unpacked_layer()}/lambdatrace"
        # As the layer starts it, but with a clock that can be moved.
        skewed = str(HANDLERS / "skewed_agent.py")
        agent = (sys.executable, "-I", "-S", "-B", skewed, f"{root}/packages/start.py")
        self._agent = self._start(agent, environ, log)
        eventually(lambda: self._extension_asks, "the agent's first `next`")
        for _ in range(self._count):
            self.start_runtime()
        self.await_runtimes()
        return self

    def await_runtimes(self) -> None:
        """Until each of them has asked for its next execution."""
        eventually(lambda: self._asking == self._count, "runtimes that wait")

    @contextlib.contextmanager
    def frozen(self, seconds: int) -> Iterator[None]:
        """Let nothing in the environment run meanwhile; then its wall clock has so much gone on.

        Runtimes have to wait, and the agent to have asked for its next event.
        """
        eventually(lambda: self.extension_waits, "the agent's `next`")
        self.await_runtimes()
        worker = self._function.worker()
        inside = [worker, *(each.pid for each in self._processes)]
        for process_id in inside:
            os.kill(process_id, signal.SIGSTOP)
        try:
            yield
        finally:
            self._skew_s += seconds
            (self._function.folder / "skew").write_text(str(self._skew_s))
            for process_id in inside:
                os.kill(process_id, signal.SIGCONT)

    def restore(self) -> None:
        """The environment goes on as one made of the snapshot."""
        with self._changed:
            self._restored = True
            self._asking = 0
            self._changed.notify_all()
        self.await_runtimes()

    def now(self) -> float:
        """The environment's wall clock, s since the epoch."""
        return time.time() + self._skew_s

    def wait_until_restored(self) -> None:
        """For a runtime."""
        with self._changed:
            self._asking += 1
            self._changed.wait_for(lambda: self._restored)

    def __exit__(self, *_: object) -> None:
        if self._agent.poll() is None:
            self.shut_down("spindown")
        for process in self._processes:
            process.kill()
            process.wait()
        self._server.shutdown()
        self._server.server_close()

    def start_runtime(self) -> subprocess.Popen[bytes]:
        """One more process that initialises, and asks for executions if it gets that far."""
        return self._start(self._runtime, self._environ, self._function.folder / "log")

    def shut_down(self, reason: str) -> None:
        """Tell the extension that the environment ends, and wait until it has ended itself."""
        self.tell({"eventType": "SHUTDOWN", "shutdownReason": reason})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._agent.wait(5)

    def _start(
        self, command: tuple[str, ...], environ: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=HANDLERS, env=environ, stdout=output, stderr=output
            )
        self._processes.append(process)
        return process

    def neighbour(self, *arguments: str) -> None:
        """Run handlers/neighbour.py as one more child of the platform, to its end."""
        command = (sys.executable, str(HANDLERS / "neighbour.py"), *arguments)
        assert self._start(command, self._environ, self._function.folder / "log").wait(20) == 0

    @property
    def agent_lines(self) -> list[str]:
        """What the agent said on stderr."""
        lines = (self._function.folder / "log").read_text().splitlines()
        return [line for line in lines if line.startswith("lambdatrace: ")]

    def begin(
        self,
        *steps: dict[str, Any],
        is_told: bool = True,
        timeout_s: float = TIMEOUT_S,
        request_id: str = "",
    ) -> str:
        """Give an execution to a runtime that waits, and tell the extension; returns its id."""
        request_id = request_id or str(uuid.uuid4())
        deadline = self.now() + timeout_s
        if is_told:
            self.tell(
                {
                    "eventType": "INVOKE", "requestId": request_id, "invokedFunctionArn": ARN,
                    "tracing": {"type": "X-Amzn-Trace-Id", "value": TRACING},
                },
                timeout_s,
            )  # fmt: skip
        with self._changed:
            self._invocations.append((request_id, json.dumps({"steps": steps}).encode(), deadline))
            self._changed.notify_all()
        return request_id

    def answer(self, request_id: str) -> Any:
        """What the runtime answered."""
        return json.loads(eventually(lambda: self.answers.get(request_id), "an answer"))

    def tell(self, event: dict[str, Any], timeout_s: float = TIMEOUT_S) -> None:
        """An event for the extension, for when it asks."""
        seconds = 2 if event["eventType"] == "SHUTDOWN" else timeout_s
        with self._changed:
            self._events.append({**event, "deadlineMs": int((self.now() + seconds) * 1000)})
            self._changed.notify_all()

    def next_event(self) -> dict[str, Any]:
        """For the extension: wait for the next event."""
        with self._changed:
            self._extension_asks = self.extension_waits = True
            self._changed.wait_for(lambda: self._events)
            self.extension_waits = False
            return self._events.popleft()

    def next_invocation(self) -> tuple[str, bytes, float]:
        """For a runtime: wait for the next execution."""
        with self._changed:
            self._asking += 1
            self._changed.wait_for(lambda: self._invocations)
            self._asking -= 1
            return self._invocations.popleft()


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            words = self.path.split("/")
            if words[-1] == "register":
                self._reply(200, b"{}", {"Lambda-Extension-Identifier": "one"})
                return
            if words[-1] in ("response", "error"):
                platform.answers[words[-2]] = body
            self._reply(202, b"{}", {})

        def do_GET(self) -> None:
            if "/extension/" in self.path:
                self._reply(200, json.dumps(platform.next_event()).encode(), {})
                return
            if self.path.endswith("/restore/next"):
                platform.wait_until_restored()
                self._reply(200, b"{}", {})
                return
            request_id, body, deadline = platform.next_invocation()
            # The order of the emulator's headers, which is that of their names.
            self._reply(
                200,
                body,
                {
                    "Lambda-Runtime-Aws-Request-Id": request_id,
                    "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": ARN,
                    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
                },
            )

        def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
