"""What the agent's two processes really hold while they run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from support_agent import Function, ok

# None of these is worth its time at a cold start (DESIGN.md).
FORBIDDEN = {
    "boto3", "botocore", "pandas", "numpy", "rich", "typer", "http.client", "bcc", "asyncio",
    "lambdatrace.cli", "lambdatrace.analysis", "lambdatrace.emulator", "lambdatrace.model",
    "lambdatrace.store.dynamodb",
}  # fmt: skip
IMPORTED = re.compile(r"import time: +\d+ \| +\d+ \| +(\S+)")


def forbidden_in(modules: set[str]) -> set[str]:
    return {
        module
        for module in modules
        for name in FORBIDDEN
        if module == name or module.startswith(f"{name}.")
    }


def telling_imports(function: Function) -> dict[str, str]:
    """What has the agent run by a Python that tells what it imports."""
    python = function.folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -Ximporttime "$@"\n')
    python.chmod(0o755)
    return {"LAMBDATRACE_PYTHON": str(python)}


def test_what_is_imported(function: Function) -> None:
    with function.emulator(telling_imports(function)) as emulator:
        function.read(ok(emulator))
    # Every import of both processes: they share standard error.
    modules = {match[1] for _, line in function.log if (match := IMPORTED.search(line))}
    assert {"lambdatrace.agent.front", "lambdatrace.agent.worker", "sqlite3"} <= modules
    assert forbidden_in(modules) == set()
    assert forbidden_in({"rich.console", "http.client"}) == {"rich.console", "http.client"}


def test_what_is_imported_for_dynamodb(
    function: Function, table: str, aws_environ: dict[str, str]
) -> None:
    function.store = table
    with function.emulator({**aws_environ, **telling_imports(function)}) as emulator:
        function.read(ok(emulator))
    modules = {match[1] for _, line in function.log if (match := IMPORTED.search(line))}
    assert {"lambdatrace.agent.dynamodb", "lambdatrace.agent.worker"} <= modules
    assert forbidden_in(modules) == set()
    assert not modules & {"sqlite3", "ssl"}


def test_the_registered_process_holds_nothing_that_can_fail(function: Function) -> None:
    with function.emulator() as emulator:
        function.read(ok(emulator))
        front, worker = (libraries(pid) for pid in function.processes())
        held = threads_and_sockets(function.processes()[0])
    assert any("_ctypes" in name for name in worker)
    assert not any("_ctypes" in name or "sqlite" in name for name in front)
    # The Extensions API and the worker's channel.
    assert held == (1, 2)


def libraries(process_id: int) -> set[str]:
    lines = Path(f"/proc/{process_id}/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if ".so" in line}


def threads_and_sockets(process_id: int) -> tuple[int, int]:
    links = [str(each.readlink()) for each in Path(f"/proc/{process_id}/fd").iterdir()]
    threads = list(Path(f"/proc/{process_id}/task").iterdir())
    return len(threads), sum(link.startswith("socket:") for link in links)
