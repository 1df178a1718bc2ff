"""`lambdatrace run`: any command as one execution, and otherwise as if it were run without."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest
import support_agent as agent
from support_agent import Echo, Function

if TYPE_CHECKING:
    from pathlib import Path

CLI = "from lambdatrace.cli.main import main; raise SystemExit(main())"
ID = re.compile(r"lambdatrace show (\S+)")


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Function:
    """A store; what is run is not a function here."""
    agent.require_probe()
    # It has not to be installed.
    monkeypatch.setenv("PYTHONPATH", str(agent.ROOT))
    return Function(tmp_path)


def command(function: Function, *arguments: str) -> list[str]:
    return [sys.executable, "-c", CLI, "run", "--store", function.store, *arguments]


def run(
    function: Function, *arguments: str, **options: object
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command(function, "--", *arguments), capture_output=True, check=False, **options
    )


def read(function: Function, result: subprocess.CompletedProcess[bytes]) -> agent.Execution:
    told = ID.search(result.stderr.decode())
    assert told, result.stderr
    return function.read(told[1])


def one_error(result: subprocess.CompletedProcess[bytes]) -> str:
    """The one error there is, and no traceback; what to do stands below it."""
    line, hint = result.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert hint.startswith("hint: ")
    return f"{line} {hint.strip()}"


@pytest.mark.parametrize(
    ("script", "code", "status"),
    [
        ("exit 0", 0, "ok"),
        ("exit 7", 7, "error"),
        ("exit 255", 255, "error"),
        ("kill -TERM $$", 128 + 15, "error"),
        ("kill -SEGV $$", 128 + 11, "crash"),
        ("kill -KILL $$", 128 + 9, "crash"),
    ],
)
def test_the_exit_code_is_the_commands(
    function: Function, script: str, code: int, status: str
) -> None:
    result = run(function, "sh", "-c", script)
    assert result.returncode == code
    summary = read(function, result).summary
    assert (summary["exit_code"], summary["status"]) == (code, status)
    assert summary["command"] == f"sh -c {script}"
    assert summary["edges"] == "process"


def test_what_cannot_be_run(function: Function) -> None:
    folder = function.folder / "folder"
    folder.mkdir()
    for name, code in (("/no/such/command", 127), (str(folder), 126)):
        result = run(function, name)
        assert result.returncode == code
        line = one_error(result)
        assert f"cannot run '{name}'" in line
    assert function.stored() == []


def test_the_streams_pass_through_untouched(function: Function) -> None:
    data = bytes(range(256)) * 1000
    result = run(function, "sh", "-c", "cat; printf 'to stderr' >&2", input=data)
    assert result.stdout == data
    assert result.stderr.startswith(b"to stderr")


def test_environment_and_descriptors_are_the_callers(function: Function) -> None:
    script = "import json, os; print(json.dumps([dict(os.environ), os.listdir('/proc/self/fd')]))"
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "ODD": "a\nb=c"}
    without = subprocess.run(agent.python(script), env=environ, capture_output=True, check=True)
    result = run(function, *agent.python(script), env=environ)
    assert json.loads(result.stdout) == json.loads(without.stdout)


def test_connections_of_the_command_and_its_children(function: Function, echo: Echo) -> None:
    one, two, three = (echo.port() for _ in range(3))
    script = (
        f"import subprocess, sys, traffic\n"
        f"traffic.connect({one}, b'x' * 10)\n"
        f"subprocess.run([sys.executable, '-c', 'import traffic; traffic.connect({two})'])\n"
    )
    stranger = subprocess.Popen(
        agent.python(f"import traffic; traffic.keep_connecting({three})"), cwd=agent.HANDLERS
    )
    echo.wait_for_more([three])
    result = run(function, *agent.python(script), cwd=agent.HANDLERS)
    echo.wait_for_more([three])
    stranger.kill()
    stranger.wait()
    execution = read(function, result)
    assert execution.ports == {one: 1, two: 1}
    assert (execution.to(one).bytes_out, execution.to(one).bytes_in) == (10, 10)


def test_a_signal_that_comes_after_the_commands_end_is_nobodys(function: Function) -> None:
    # As a terminal sends SIGHUP when it is closed; from before the end until all is written.
    script = (
        'trap "" HUP; tracer=$PPID; '
        "(while kill -HUP $tracer; do sleep 0.002; done) >/dev/null 2>&1 & sleep 0.05; exit 3"
    )
    process = subprocess.run(
        command(function, "--", "sh", "-c", script),
        capture_output=True,
        timeout=agent.PATIENCE_S,
        check=False,
    )
    assert process.returncode == 3
    told = ID.search(process.stderr.decode())
    assert told
    assert function.read(told[1]).summary["exit_code"] == 3
    assert b"Traceback" not in process.stderr


def test_ctrl_c_reaches_the_command_only(function: Function) -> None:
    # The command tells of the signal, and ends as it sees fit.
    script = (
        "import signal, sys, time\n"
        "def handle(*_): print('interrupted', flush=True); sys.exit(5)\n"
        "signal.signal(signal.SIGINT, handle)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    main, side = pty.openpty()
    process = subprocess.Popen(
        command(function, "--", *agent.python(script)),
        stdin=side,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(side)
    with contextlib.closing(os.fdopen(main, "wb", buffering=0)) as terminal:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        terminal.write(b"\x03")
        stdout, stderr = process.communicate(timeout=agent.PATIENCE_S)
    assert (stdout, process.returncode) == (b"interrupted\n", 5)
    told = ID.search(stderr.decode())
    assert told
    assert function.read(told[1]).summary["exit_code"] == 5
    assert b"Traceback" not in stderr


def take_terminal() -> None:
    """Make standard input the controlling terminal, as a shell's is."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_sigterm_is_handed_on(function: Function) -> None:
    script = "trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        command(function, "--", "sh", "-c", script),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    try:
        stdout, _ = process.communicate(timeout=agent.PATIENCE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (stdout, process.returncode) == (b"ended\n", 3)


NEVER_CLOSED = """
import os, signal, socket, sys
port = int(sys.argv[1])
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("127.0.0.1", port))
datagrams.send(b"x")
stream = socket.create_connection(("127.0.0.1", port))
stream.send(b"x")
stream.recv(1)
if os.fork() == 0:
    mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mine.connect(("127.0.0.1", port))
    mine.send(b"xx")
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["killed", "over"])
def test_what_a_killed_process_left_open_is_called_open(
    function: Function, echo: Echo, end: str
) -> None:
    port = echo.port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", port))
        subprocess.run(
            command(function, "--", *agent.python(NEVER_CLOSED, str(port), end)),
            capture_output=True,
            check=False,
        )
    (summary,) = function.stored()
    found = agent.trace(function, summary["execution_id"])
    killed = [each for each in found.processes if each.ending.signal == "SIGKILL"]
    assert len(killed) == (2 if end == "killed" else 1)
    outcomes = {
        (str(each.protocol), each.bytes_out): str(each.outcome) for each in found.connections
    }
    expected = "open" if end == "killed" else "ok"
    closers = {str(each.protocol): each.closed_by for each in found.connections}
    assert closers == {"udp": None, "tcp": None if end == "killed" else "function"}
    assert outcomes == {("udp", 1): expected, ("tcp", 1): expected, ("udp", 2): "open"}
    # Open until its process was killed, not until it was last used.
    (childs,) = [each for each in found.connections if each.bytes_out == 2]
    (child,) = [each for each in killed if each.process_id == childs.process_id]
    ended = child.started_ns + child.duration_ns
    assert childs.started_ns + childs.duration_ns == ended


def test_without_privileges_nothing_is_run(function: Function) -> None:
    mark = function.folder / "ran"
    unprivileged = ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin"]
    result = subprocess.run(
        [*unprivileged, *command(function, "--", "touch", str(mark))],
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1
    line = one_error(result)
    assert "the kernel refused eBPF" in line
    assert "CAP_BPF" in line
    assert not mark.exists()


def test_with_an_unwritable_store_nothing_is_run(function: Function) -> None:
    mark, obstacle = function.folder / "ran", function.folder / "file"
    obstacle.write_text("")
    function.store = f"sqlite://{obstacle}/store.db"
    result = run(function, "touch", str(mark))
    assert result.returncode == 1
    line = one_error(result)
    assert "cannot create the folder" in line
    assert not mark.exists()
