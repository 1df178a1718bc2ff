"""AWS's Lambda emulator (RIE): find it, start it, invoke a function, stop everything again.

What was seen of the emulator, and is relied upon:
- Nothing of the function runs before the first invocation: extensions and runtime start then.
- The request id is in no header of the reply. `START RequestId: <id>` on the emulator's standard
  output is the one place; it is written before the runtime gets the event.
- A timeout is a reply of status 200 whose body is the sentence of `_TIMEOUT`; it comes after the
  extensions have had their SHUTDOWN. The next invocation starts extensions and runtime anew. So it
  does after the runtime crashed, which is a reply of status 502.
- A handler that raises is status 200, too; its body names the request id.
- SIGTERM sends SHUTDOWN to the extensions and then ends them and the runtime.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import platform
import re
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lambdatrace.emulator.environment import (
    AGENT,
    Room,
    agent_command,
    check_machine,
    end_all,
    hold_namespace,
    namespace_of,
    remove_mapping,
)
from lambdatrace.errors import EmulatorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RELEASES = "https://github.com/aws/aws-lambda-runtime-interface-emulator/releases"
RIE_VARIABLE = "LAMBDATRACE_RIE"

_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_INVOCATIONS = "/2015-03-31/functions/function/invocations"
_START = re.compile(r"START RequestId: (\S+) Version: ")
_END = re.compile(r"END RequestId: ")
_RUNTIME_DONE = re.compile(r"INVOKE RTDONE\(.* duration: ([0-9.]+)ms\)")
_FATAL = re.compile(r"First fatal error stored in appctx: (\S+)")
_PLATFORM = re.compile(r"(START|END|REPORT) RequestId: |.* \(rapid\) ")
_TIMEOUT = "Task timed out after {}.00 seconds"

_START_S = 10.0
_START_ATTEMPTS = 3
_LOG_S = 2.0  # until a line written before the reply has been read
# What a reply may take beyond the function's own timeout: 10 s of init, 2 s of SHUTDOWN, and slack.
_REPLY_SLACK_S = 30.0
_STOP_S = 5.0  # the extensions' two seconds, and slack
_LOG_TAIL = 12


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation and its answer.

    `status` is the emulator's HTTP status. `duration_ms` is the runtime's: from taking the event
    to posting the response. `error` is None unless the function failed, timed out or crashed.
    """

    request_id: str
    status: int
    body: bytes
    duration_ms: float
    error: str | None


def find_rie(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The emulator's binary: `path`, else $LAMBDATRACE_RIE, else the copy that `make` fetched.

    Raises EmulatorError, saying how to get it.
    """
    machine = platform.machine()
    name = f"aws-lambda-rie-{_ARCHITECTURES.get(machine, machine)}"
    named = path or (Path(environ[RIE_VARIABLE]) if environ.get(RIE_VARIABLE) else None)
    candidates = (
        [named]
        if named
        else [root / ".tools" / name for root in (Path.cwd(), Path(__file__).parents[2])]
    )
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.absolute()
    if named:
        raise EmulatorError(
            f"{named} is not an executable file", f"--rie and ${RIE_VARIABLE} name {name} itself"
        )
    raise EmulatorError(
        "AWS's Lambda emulator cannot be found",
        f"`make setup` in lambdatrace's repository fetches it; elsewhere take {name} from "
        f"{RELEASES} and name it with --rie PATH or ${RIE_VARIABLE}",
    )


class Emulator:
    """A function under AWS's emulator: use it as a context manager, then `invoke`.

    Parameters
    ----------
    handler
        `module.function`, as in Lambda's configuration.
    task_root
        The folder with the function's code; its working directory.
    timeout_s, memory_mb
        The function's configuration. The emulator knows whole seconds and does not enforce memory.
    environ
        The function's and the extensions' environment variables, all of them.
    rie_path
        The emulator's binary, see `find_rie`.
    extensions
        File name in /opt/extensions -> command; the agent alone if None.
    runtime
        The command that speaks the Runtime API, as a `bootstrap` does; AWS's Python client if None.
    resolv_conf
        A file that takes the place of /etc/resolv.conf for the function.
    log
        Called with ("function" | "extension" | "platform", line), from other threads.
    """

    def __init__(
        self,
        handler: str,
        task_root: Path,
        *,
        timeout_s: int = 3,
        memory_mb: int = 128,
        environ: Mapping[str, str] | None = None,
        rie_path: Path | None = None,
        extensions: Mapping[str, Sequence[str]] | None = None,
        runtime: Sequence[str] | None = None,
        resolv_conf: Path | None = None,
        log: Callable[[str, str], None] | None = None,
    ) -> None:
        self._handler = handler
        self._task_root = task_root.absolute()
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._environ = dict(os.environ if environ is None else environ)
        self._rie_path = rie_path
        self._extensions = {AGENT: agent_command()} if extensions is None else extensions
        self._runtime = runtime
        self._resolv_conf = resolv_conf
        self._log = log or (lambda source, line: None)
        self._platform = _PlatformLog()
        self._one_at_a_time = threading.Lock()
        self._port = 0
        self._namespace = ""
        self._held: int | None = None  # it, so that its number is nobody else's
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        check_machine()
        if self._runtime is None:
            _check_handler(self._handler, self._task_root)
            self._runtime = _python_client(self._handler)
        rie = find_rie(self._rie_path, self._environ)
        with contextlib.ExitStack() as cleanup:
            room = Room(self._extensions, self._resolv_conf)
            cleanup.callback(room.remove)
            self._follow_function(room.output, cleanup)
            self._start(rie, room, cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def invoke(self, event: bytes) -> Invocation:
        """Invoke the function with `event` (JSON) and wait for its answer.

        Raises EmulatorError if the emulator does not answer; a failing function is an answer.
        """
        with self._one_at_a_time:  # the emulator refuses a second one
            self._platform.begin()
            began = time.monotonic()
            status, body = self._post(event)
            wall_ms = (time.monotonic() - began) * 1e3
            # A crash leaves no END behind.
            request_id, runtime_ms = self._platform.wait(until_end=status == http.client.OK)
            fatal = self._platform.fatal
        error = _error(status, body, request_id, self._timeout_s)
        if fatal and not body:  # an extension that ended; the emulator says so in its log only
            error = fatal
        if error == _TIMEOUT.format(self._timeout_s):
            duration_ms = self._timeout_s * 1e3
        else:
            duration_ms = wall_ms if runtime_ms is None else runtime_ms
        return Invocation(request_id, status, body, duration_ms, error)

    def _post(self, event: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=self._timeout_s + _REPLY_SLACK_S
        )
        try:
            connection.request("POST", _INVOCATIONS, event, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise EmulatorError(
                f"the emulator did not answer an invocation ({error or type(error).__name__})",
                f"its last words: {self._platform.tail()}",
            ) from error
        finally:
            connection.close()

    def _start(self, rie: Path, room: Room, cleanup: contextlib.ExitStack) -> None:
        for _ in range(_START_ATTEMPTS):
            with contextlib.ExitStack() as attempt:
                if self._started(rie, room, attempt):
                    cleanup.push(attempt.pop_all())
                    return
        raise EmulatorError(
            "the emulator did not start", f"its last words: {self._platform.tail()}"
        )

    def _started(self, rie: Path, room: Room, cleanup: contextlib.ExitStack) -> bool:
        """Start it once; False when it ended, as it does when a port was taken meanwhile."""
        self._port, runtime_api_port = _free_ports(2)
        # Its own standard output and error are the platform's log; what the function prints goes
        # elsewhere, or a handler could print a START line of its own.
        command = [
            str(rie),
            *("--runtime-api-address", f"127.0.0.1:{runtime_api_port}"),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
            *("/bin/sh", "-c", 'exec "$@" >"$0" 2>&1', str(room.output)),
            # As a runtime's bootstrap does it.
            *([wrapper] if (wrapper := self._environ.get("AWS_LAMBDA_EXEC_WRAPPER")) else []),
            *(self._runtime or ()),
        ]
        cleanup.callback(remove_mapping, runtime_api_port)
        process = subprocess.Popen(  # noqa: S603  # the user's own function and binaries
            room.command(command),
            cwd=self._task_root,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is ours to handle: the extensions get their SHUTDOWN.
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101  # PIPE above
        cleanup.callback(process.stdout.close)
        reader = _reader(process.stdout.fileno(), self._platform_line)
        cleanup.callback(reader.join, _LOG_S)
        cleanup.callback(self._stop, process)
        deadline = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(self._port):
                self._held = hold_namespace(process.pid)
                self._namespace = namespace_of(process.pid)
                return True
            time.sleep(0.01)
        return False

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            end_all(self._namespace)
            if self._held is not None:
                os.close(self._held)
            self._namespace, self._held = "", None

    def _follow_function(self, output: Path, cleanup: contextlib.ExitStack) -> None:
        reading = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
        cleanup.callback(os.close, reading)
        # A writer of our own, so that the pipe does not end when the runtime does; closing it
        # after everyone inside has gone ends the reader.
        writing = os.open(output, os.O_WRONLY)
        os.set_blocking(reading, True)
        reader = _reader(reading, lambda line: self._log("function", line))
        cleanup.callback(reader.join, _LOG_S)
        cleanup.callback(os.close, writing)

    def _platform_line(self, line: str) -> None:
        if _PLATFORM.match(line):
            self._log("platform", line)
        else:
            self._log("extension", line)
        self._platform.feed(line)

    def _variables(self) -> dict[str, str]:
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": self._task_root.name,
            "AWS_REGION": "us-east-1",  # of the ARN that the emulator gives the function
            # Where Lambda's runtimes have theirs, this machine has none.
            "LAMBDATRACE_PYTHON": sys.executable,
            **self._environ,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self._timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._memory_mb),
            "LAMBDA_TASK_ROOT": str(self._task_root),
        }
        # This one turns the emulator into one for managed instances.
        variables.pop("AWS_LAMBDA_MAX_CONCURRENCY", None)
        return variables


class _PlatformLog:
    """What the emulator's log says about the invocation at hand; fed by another thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: deque[str] = deque(maxlen=_LOG_TAIL)
        self._request_id = ""
        self._runtime_ms: float | None = None
        self._ended = False
        self.fatal: str | None = None

    def begin(self) -> None:
        """Forget the invocation before."""
        with self._changed:
            self._request_id, self._runtime_ms, self._ended = "", None, False
            self.fatal = None

    def feed(self, line: str) -> None:
        """Take one line in."""
        with self._changed:
            self._lines.append(line)
            if start := _START.match(line):
                self._request_id = start[1]
            elif done := _RUNTIME_DONE.search(line):
                self._runtime_ms = float(done[1])
            elif _END.match(line):
                self._ended = True
            elif fatal := _FATAL.search(line):
                self.fatal = fatal[1]
            self._changed.notify_all()

    def wait(self, *, until_end: bool) -> tuple[str, float | None]:
        """The request id, and the runtime's milliseconds where the log has them.

        Raises EmulatorError when the log does not tell the request id in time.
        """
        with self._changed:
            known = self._changed.wait_for(
                lambda: self._request_id and (self._ended or not until_end), _LOG_S
            )
            if not known and not self._request_id:
                raise EmulatorError(
                    "the emulator's log does not name the invocation's request id",
                    f"its last words: {self.tail()}",
                )
            return self._request_id, self._runtime_ms

    def tail(self) -> str:
        """The last lines, as one."""
        return " / ".join(self._lines) or "none"


def _python_client(handler: str) -> tuple[str, ...]:
    if importlib.util.find_spec("awslambdaric") is None:
        raise EmulatorError(
            "AWS's runtime client (awslambdaric) is not installed",
            "pip install 'lambdatrace[invoke]'",
        )
    return sys.executable, "-m", "awslambdaric", handler


def _check_handler(handler: str, task_root: Path) -> None:
    module, _, function = handler.rpartition(".")
    if not (module and function.isidentifier()):
        raise UsageError(f"{handler!r} is not a handler", "a handler is module.function")
    path = task_root / module.replace(".", "/")
    if not (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()):
        raise UsageError(
            f"{handler!r}: there is no module {module} in {task_root}",
            "run the command in the folder with the function's code, or name that with --folder",
        )


def _error(status: int, body: bytes, request_id: str, timeout_s: int) -> str | None:
    timeout = _TIMEOUT.format(timeout_s)
    if body == timeout.encode():
        return timeout
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    failed = status != http.client.OK
    if isinstance(answer, dict) and {"errorType", "errorMessage"} <= answer.keys():
        # A handler may return such an object as its response; the runtime's own names the request.
        failed = failed or answer.get("requestId") == request_id
        return f"{answer['errorType']}: {answer['errorMessage']}" if failed else None
    return f"the emulator answered with status {status}" if failed else None


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _reader(descriptor: int, line: Callable[[str], None]) -> threading.Thread:
    """A thread that hands over every line until the other ends are closed."""

    def follow() -> None:
        with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as stream:
            for text in stream:
                line(text.rstrip("\n"))

    thread = threading.Thread(target=follow, name="emulator-log", daemon=True)
    thread.start()
    return thread
