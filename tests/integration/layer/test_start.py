"""The layer at /opt, under AWS's emulator: where the agent can run, and where it cannot."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import support_agent as agent
from support_agent import Function, ok

from lambdatrace.emulator import agent_command

# Run as Lambda's Python of long ago would be: everything but its version is this one.
OLD_PYTHON = """#!/bin/sh
exec {python} -c '
import sys
sys.version_info = (3, 9, 18, "final", 0)
path = sys.argv[-1]
exec(compile(open(path).read(), path, "exec"), {{"__file__": path}})
' "$@"
"""


@pytest.fixture
def function(tmp_path: Path) -> Function:
    agent.require_agent()
    return Function(tmp_path)


def test_what_runs_is_the_layer_and_not_the_sources(function: Function) -> None:
    with function.emulator() as emulator:
        request_id = ok(emulator)
        front, worker = function.processes()
        mounts = Path(f"/proc/{front}/mountinfo").read_text().splitlines()
        mapped = Path(f"/proc/{worker}/maps").read_text()
        root = Path(f"/proc/{front}/root")
        command = Path(f"/proc/{front}/cmdline").read_bytes().decode().split("\0")
        assert (root / "opt/lambdatrace/packages/lambdatrace/agent/worker.py").is_file()
        assert (root / "opt/extensions/lambdatrace").read_text().startswith("#!/bin/sh\n")
    # As on Lambda, nobody can write there.
    (mount,) = [line.split() for line in mounts if line.split()[4] == "/opt/lambdatrace"]
    assert mount[5].split(",")[0] == "ro"
    # The interpreter's own libraries and the platform's: nothing of bcc's, which Lambda has not.
    assert not re.search("lib(bcc|bpf|elf|stdc)", mapped)
    assert command[-2].endswith("/lambdatrace/packages/start.py")
    assert function.read(request_id).summary["edges"] == "kernel"


def test_a_functions_own_python_variables_are_not_the_agents(function: Function) -> None:
    (function.folder / "json.py").write_text("raise SystemExit('not the agents')")
    (function.folder / "lambdatrace").mkdir()
    environ = {"PYTHONPATH": str(function.folder), "PYTHONVERBOSE": "1", "PYTHONHOME": "/nowhere"}
    # For the agent alone: the function would not start with these.
    command = ("env", *(f"{name}={value}" for name, value in environ.items()), *agent_command())
    with function.emulator(extensions={"lambdatrace": command}) as emulator:
        function.read(ok(emulator))
    assert function.agent_lines == []


def test_without_a_python_the_function_runs_on(function: Function) -> None:
    with function.emulator({"LAMBDATRACE_PYTHON": "/var/lang/bin/python0"}) as emulator:
        ids = [ok(emulator) for _ in range(3)]
        assert function.processes() == (0, 0)
    assert all(function.find(request_id) is None for request_id in ids)
    assert function.agent_lines == [
        "lambdatrace: this environment is not traced: there is no Python at "
        "/var/lang/bin/python0 (LAMBDATRACE_PYTHON names another)"
    ]


# One whose standard library is not whole.
POOR_PYTHON = """#!/bin/sh
exec {python} -c '
import sys
sys.modules["_socket"] = None
path = sys.argv[-1]
exec(compile(open(path).read(), path, "exec"), {{"__file__": path}})
' "$@"
"""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "there is no Python at {path} (LAMBDATRACE_PYTHON names another)"),
        ("\x7fELF of another machine", "{path} cannot be run"),
        (POOR_PYTHON, "the agent failed: ModuleNotFoundError: import of _socket halted"),
    ],
    ids=["folder", "machine", "poor"],
)
def test_with_no_python_worth_the_name_the_function_runs_on(
    function: Function, content: str, why: str
) -> None:
    path = function.folder / "python3"
    if content:
        path.write_text(content.format(python=sys.executable))
    else:
        path.mkdir()
    path.chmod(0o755)
    runs_untraced(function, {"LAMBDATRACE_PYTHON": str(path)}, why.format(path=path))


@pytest.mark.parametrize("internal", ["", "0", "1"])
def test_with_something_else_for_a_python_the_function_runs_on(
    function: Function, internal: str
) -> None:
    # Whatever Lambda starts from /opt/extensions is none of a bootstrap's.
    environ = {"LAMBDATRACE_PYTHON": "/bin/true", "LAMBDATRACE_INTERNAL": internal}
    runs_untraced(function, environ, "there is no Python at /bin/true")


def runs_untraced(function: Function, environ: dict[str, str], why: str) -> None:
    """The function answers twice, and one line in the log says that it is not traced."""
    with function.emulator(environ) as emulator:
        ids = [ok(emulator), ok(emulator)]
    assert all(function.find(request_id) is None for request_id in ids)
    (line,) = function.agent_lines
    assert line.startswith(f"lambdatrace: this environment is not traced: {why}")


def test_with_an_old_python_the_function_runs_on(function: Function) -> None:
    old = function.folder / "python"
    old.write_text(OLD_PYTHON.format(python=sys.executable))
    old.chmod(0o755)
    with function.emulator({"LAMBDATRACE_PYTHON": str(old)}) as emulator:
        untraced = ok(emulator)
        ok(emulator)
    assert function.find(untraced) is None
    assert function.agent_lines == [
        "lambdatrace: this environment is not traced: "
        "it needs Python 3.11 or newer, and this is 3.9"
    ]
