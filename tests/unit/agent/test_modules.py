"""What the agent may load: as its code names it, and as Python has it after importing all of it.

The running processes are looked at in tests/integration/agent/test_processes.py.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import lambdatrace

PACKAGE = Path(lambdatrace.__file__).parent
AGENT = sorted((PACKAGE / "agent").glob("*.py"))
# Too dear at a cold start, or none of the agent's business (DESIGN.md).
FORBIDDEN = (
    "boto3", "botocore", "pandas", "numpy", "rich", "typer", "http.client", "urllib.request",
    "asyncio", "bcc", "lambdatrace.cli", "lambdatrace.analysis", "lambdatrace.emulator",
    "lambdatrace.model", "lambdatrace.store.dynamodb", "lambdatrace.store.table",
)  # fmt: skip
# All right for one who needs them, too dear for all: TLS, the resolver's own module.
LATE = ("ssl", "socket", "email", "dataclasses", "typing", "logging", "subprocess", "sqlite3")


def is_in(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def names(source: str) -> set[str]:
    """Every module a source names in an import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("path", AGENT, ids=lambda path: path.stem)
def test_no_module_of_the_agent_names_a_forbidden_one(path: Path) -> None:
    named = names(path.read_text(encoding="utf-8"))
    assert {name for name in named if is_in(name, FORBIDDEN)} == set()


def test_the_search_finds_what_is_there() -> None:
    source = "def f():\n    from rich import print\n    from lambdatrace import model\n"
    assert {name for name in names(source) if is_in(name, FORBIDDEN)} == {
        "rich", "rich.print", "lambdatrace.model",
    }  # fmt: skip


def loaded_by(*modules: str) -> list[str]:
    """What a bare interpreter has loaded after importing these."""
    script = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        check=True,
    )
    found: list[str] = json.loads(result.stdout)
    return found


def test_what_is_loaded_when_all_of_the_agent_is() -> None:
    modules = [f"lambdatrace.agent.{path.stem}" for path in AGENT if path.stem[0] != "_"]
    loaded = loaded_by(*modules)
    assert set(modules) <= set(loaded)
    assert [name for name in loaded if is_in(name, FORBIDDEN + LATE)] == []


def test_what_stands_in_for_ebpf_is_loaded_only_where_that_is_refused() -> None:
    # All that a worker has loaded once it serves with the probe.
    names = ("choice", "front", "report", "serving", "worker")
    loaded = loaded_by(*(f"lambdatrace.agent.{name}" for name in names), "lambdatrace.bpf.loader")
    assert "lambdatrace.agent.serving" in loaded
    assert [
        name for name in loaded if is_in(name, ("lambdatrace.preload", "lambdatrace.proc"))
    ] == []
