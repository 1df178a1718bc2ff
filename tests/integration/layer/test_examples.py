"""examples/ that can run here: the bootstrap under AWS's emulator, the MicroVM's hooks."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import support_agent as agent
from support_agent import HANDLERS, ROOT, Echo, Function, ok

from lambdatrace.emulator import Emulator
from lambdatrace.layer.unpacked import unpacked_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
