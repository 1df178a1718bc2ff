"""A handler under AWS's real emulator and runtime client, with an extension of the tests' own.

The agent's own tests under the emulator are elsewhere; here the extension must not matter.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support import require

from lambdatrace.emulator import Emulator, Invocation, find_rie
from lambdatrace.errors import EmulatorError

HANDLER = """
import json, os, pathlib, subprocess, time
if os.environ.get("FAIL_INIT"):
    raise RuntimeError("no init today")

def handler(event, context):
    do = event.get("do")
    if do == "print":
        print("START RequestId: forged Version: 1", flush=True)
    if do == "raise":
        raise ValueError("boom")
    if do == "look_alike":
        return {"errorType": "ValueError", "errorMessage": "only data"}
    if do == "exit":
        os._exit(3)
    if do == "sleep":
        time.sleep(30)
    if do == "daemon":
        command = ["sleep", "600"]
        return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL).pid
    if do == "read":
        return pathlib.Path(event["path"]).read_text()
    if do == "list":
        return sorted(os.listdir(event["path"]))
    return {"id": context.aws_request_id, "name": context.function_name,
            "memory": context.memory_limit_in_mb, "pid": os.getpid(),
            "set": os.environ.get("SET_BY_TEST")}
"""
# Writes every event it gets as a line of JSON to the file it is given.
EXTENSION = """
import http.client, json, os, sys
headers = {"Lambda-Extension-Name": "watcher"}
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None):
    api.request(method, "/2020-01-01/extension/" + path, body, headers)
    reply = api.getresponse()
    return reply, json.loads(reply.read())
reply, _ = call("POST", "register", json.dumps({"events": ["INVOKE", "SHUTDOWN"]}))
headers["Lambda-Extension-Identifier"] = reply.headers["Lambda-Extension-Identifier"]
while True:
    _, event = call("GET", "event/next")
    with open(sys.argv[1], "a") as log:
        log.write(json.dumps(event) + "\\n")
    if event["eventType"] == "SHUTDOWN":
        break
"""


class Function:
    """A handler in a folder of its own, and an extension that writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        (folder / "code").mkdir()
        (folder / "code/app.py").write_text(HANDLER)
        (folder / "watcher.py").write_text(EXTENSION)
        self.folder = folder
        self._events = folder / "events"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the extension was told so far."""
        return [json.loads(line) for line in self._events.read_text().splitlines()]

    def emulator(self, **options: Any) -> Emulator:
        """An emulator for this function."""
        watcher = (sys.executable, str(self.folder / "watcher.py"), str(self._events))
        options.setdefault("extensions", {"watcher": watcher})
        options.setdefault("timeout_s", 20)
        return Emulator("app.handler", self.folder / "code", **options)


@pytest.fixture
def function(tmp_path: Path) -> Function:
    require(os.geteuid() == 0, "a private mount namespace needs root")
    require(shutil.which("unshare"), "unshare is not installed")
    require(find_spec("awslambdaric"), "awslambdaric is not installed")
    try:
        find_rie()
    except EmulatorError as error:
        require(False, error.message)
    return Function(tmp_path)


def do(emulator: Emulator, what: str = "", **more: str) -> Invocation:
    return emulator.invoke(json.dumps({"do": what, **more}).encode())


def test_responses_and_their_request_ids_pass_through(function: Function) -> None:
    with function.emulator(memory_mb=512, environ={**os.environ, "SET_BY_TEST": "x"}) as emulator:
        invocations = [do(emulator) for _ in range(5)]
    bodies = [json.loads(invocation.body) for invocation in invocations]
    ids = [invocation.request_id for invocation in invocations]
    assert [body["id"] for body in bodies] == ids
    assert len(set(ids)) == 5
    assert len({body["pid"] for body in bodies}) == 1  # one execution environment for all
    assert {(body["name"], body["memory"], body["set"]) for body in bodies} == {
        ("code", "512", "x")
    }
    assert all(invocation.error is None for invocation in invocations)
    assert all(0 < invocation.duration_ms < 5_000 for invocation in invocations)
    told = [(event["eventType"], event.get("requestId")) for event in function.events]
    assert told == [*(("INVOKE", request_id) for request_id in ids), ("SHUTDOWN", None)]


def test_a_raising_handler_is_an_error_and_a_look_alike_is_none(function: Function) -> None:
    with function.emulator() as emulator:
        assert do(emulator, "raise").error == "ValueError: boom"
        assert do(emulator, "look_alike").error is None
        assert do(emulator).error is None


def test_a_timeout_is_reported_and_the_function_starts_anew(function: Function) -> None:
    with function.emulator(timeout_s=2) as emulator:
        before = json.loads(do(emulator).body)
        timeout = do(emulator, "sleep")
        after = json.loads(do(emulator).body)
    assert timeout.error == "Task timed out after 2.00 seconds"
    assert timeout.duration_ms == 2_000
    assert function.events[1]["requestId"] == timeout.request_id
    assert function.events[2]["shutdownReason"].lower() == "timeout"
    assert before["pid"] != after["pid"]


def test_a_crash_is_reported_and_the_function_starts_anew(function: Function) -> None:
    with function.emulator() as emulator:
        crash = do(emulator, "exit")
        after = do(emulator)
    assert crash.error is not None
    assert crash.error.startswith("Runtime.ExitError")
    assert crash.request_id in crash.error
    assert after.error is None


def test_a_failing_init_is_an_error(function: Function) -> None:
    with function.emulator(environ={**os.environ, "FAIL_INIT": "1"}) as emulator:
        invocation = do(emulator)
    assert invocation.error is not None
    assert "no init today" in invocation.error


def test_a_dying_extension_is_named_as_the_cause(function: Function) -> None:
    with function.emulator(extensions={"watcher": ("false",)}) as emulator:
        invocation = do(emulator)
    assert invocation.error is not None
    assert "Extension" in invocation.error


def test_what_the_function_prints_does_not_forge_a_request_id(function: Function) -> None:
    lines: list[tuple[str, str]] = []
    with function.emulator(log=lambda source, line: lines.append((source, line))) as emulator:
        invocation = do(emulator, "print")
    assert invocation.request_id != "forged"
    assert ("function", "START RequestId: forged Version: 1") in lines
    assert ("platform", f"END RequestId: {invocation.request_id}") in lines


def test_opt_is_private(function: Function) -> None:
    before = names_in("/opt")
    with function.emulator() as emulator:
        extensions = json.loads(do(emulator, "list", path="/opt/extensions").body)
        inside = json.loads(do(emulator, "list", path="/opt").body)
        during = names_in("/opt")
    assert extensions == ["watcher"]
    assert inside == sorted({*before, "extensions"})
    assert before == during == names_in("/opt")


def test_a_resolver_of_its_own(function: Function, tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 192.0.2.53\n")
    machines = Path("/etc/resolv.conf").read_bytes()
    with function.emulator(resolv_conf=resolv_conf) as emulator:
        seen = json.loads(do(emulator, "read", path="/etc/resolv.conf").body)
        assert Path("/etc/resolv.conf").read_bytes() == machines
    assert seen == "nameserver 192.0.2.53\n"


def test_nothing_is_left_behind(
    function: Function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rooms))
    threads = threading.active_count()
    with function.emulator() as emulator:
        daemon = json.loads(do(emulator, "daemon").body)
        assert Path(f"/proc/{daemon}/ns/mnt").readlink()
        assert list(rooms.iterdir())
    assert not is_running(daemon)
    assert not list(rooms.iterdir())
    assert threading.active_count() == threads


def test_two_at_once(function: Function) -> None:
    with function.emulator() as one, function.emulator() as other:
        first, second = do(one), do(other)
        third = do(one)
    assert json.loads(first.body)["pid"] == json.loads(third.body)["pid"]
    assert json.loads(first.body)["pid"] != json.loads(second.body)["pid"]


def test_the_function_ends_with_a_caller_that_is_killed(function: Function) -> None:
    script = f"""
import pathlib, sys, time
from lambdatrace.emulator import Emulator
folder = pathlib.Path({str(function.folder / "code")!r})
with Emulator("app.handler", folder, timeout_s=20, extensions={{}}) as emulator:
    print(emulator.invoke(b"{{}}").body.decode(), flush=True)
    time.sleep(60)
"""
    # What it cannot remove any more is to go with the test.
    environ = {**os.environ, "TMPDIR": str(function.folder)}
    caller = subprocess.Popen(
        [sys.executable, "-c", script], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    runtime = json.loads(caller.stdout.readline())["pid"]
    assert is_running(runtime)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    caller.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(runtime) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(runtime)


def names_in(folder: str) -> list[str]:
    return sorted(entry.name for entry in Path(folder).iterdir())


def is_running(process_id: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
