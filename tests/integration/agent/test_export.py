"""A trace that was really captured, through every form and back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import support_agent as agent
from support_cli import run
from support_forms import as_proto, checked, spans

from lambdatrace.export.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

CLI = "from lambdatrace.cli.main import main; raise SystemExit(main())"
CLIENT = """
import http.client, http.server, os, subprocess, threading, time
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(3):
    connection = http.client.HTTPConnection(*server.server_address)
    for _ in range(2):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()
try:
    http.client.HTTPConnection("127.0.0.1", 9).request("GET", "/")
except OSError:
    pass
subprocess.run(["sleep", "0.05"])
time.sleep(0.02)
"""


@pytest.mark.parametrize("level", ["flows", "syscalls"])
def test_a_captured_execution(tmp_path: Path, level: str) -> None:
    agent.require_probe()
    store = f"sqlite://{tmp_path}/store.db"
    traced = [sys.executable, "-c", CLI, "run", "--store", store, "--level", level, "--"]
    done = subprocess.run(
        [*traced, sys.executable, "-c", CLIENT], capture_output=True, cwd=tmp_path, check=True,
        env={"PYTHONPATH": str(agent.ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    told = re.search(r"lambdatrace show (\S+)", done.stderr.decode())
    assert told, done.stderr
    for form in FORMATS:
        command = ["export", told[1], "--store", store, "--format", form]
        result = run(*command, "-o", str(tmp_path / form))
        assert (result.code, result.stderr) == (0, "")
    for form in ("jsonl", "parquet"):
        for output in ("table", "json"):
            show = ["show", told[1], "-o", output, *(["--events"] * (output == "table"))]
            shown = run(*show, "--from", str(tmp_path / form))
            assert shown.code == 0
            assert shown == run(*show, "--store", store)
        copy = f"sqlite://{tmp_path}/{form}.db"
        assert run("import", str(tmp_path / form), "--store", copy).code == 0
        again = tmp_path / f"again.{form}"
        assert run("export", told[1], "--store", copy, "-o", str(again)).code == 0
        assert again.read_bytes() == (tmp_path / form).read_bytes()
    events = checked(json.loads((tmp_path / "chrome").read_text())["traceEvents"])
    kinds = {each["cat"] for each in events}
    assert {"execution", "connection", "wait", "process"} <= kinds
    assert ("syscall" in kinds) == (level == "syscalls")
    found = spans(as_proto((tmp_path / "otlp").read_text()))
    assert sum(span.name.startswith("127.0.0.1:") for span in found) == 7
    entries = json.loads((tmp_path / "har").read_text())["log"]["entries"]
    assert sum(each["timings"]["wait"] > 0 for each in entries) == 6
