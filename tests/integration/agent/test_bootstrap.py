"""Environments without a managed runtime: a bootstrap of one's own, a container image."""

from __future__ import annotations

import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support import require
from support_agent import HANDLERS, Echo, Function, ok

from lambdatrace.emulator import find_rie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER_S = 0.2


@pytest.fixture
def server() -> Iterator[int]:
    """The port of an HTTP server that takes its time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(ANSWER_S)
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made.server_port
        made.shutdown()


def test_a_bootstrap_of_bash_and_curl(function: Function, server: int) -> None:
    for program in ("bash", "curl"):
        require(shutil.which(program), f"{program} is not installed")
    with function.emulator(runtime=(str(HANDLERS / "bootstrap"),)) as emulator:
        answers = [emulator.invoke(b"%d" % server) for _ in range(3)]
        failed = emulator.invoke(b'"fail"')
        ended = emulator.invoke(b'"end"')
        after = emulator.invoke(b"%d" % server)
    for number, invocation in enumerate([*answers, after]):
        body = json.loads(invocation.body)
        assert body == {"id": invocation.request_id, "answer": "hello"}
        execution = function.read(invocation.request_id)
        summary = execution.summary
        assert (summary["status"], summary["edges"], summary["dropped"]) == ("ok", "kernel", {})
        assert summary["cold_start"] == (number in (0, 3))  # the last one in a new environment
        # Its own request, and none of those to Lambda; from edge to edge, as the emulator has it.
        assert execution.ports == {server: 1}
        record = execution.to(server)
        assert record.comm.rstrip(b"\0") == b"curl"
        assert ANSWER_S * 1e9 <= record.waited <= summary["duration_ns"]
        assert summary["duration_ns"] / 1e6 <= invocation.duration_ms
    assert failed.error == "Meant: to fail"
    assert function.read(failed.request_id).summary["status"] == "error"
    assert ended.error is not None
    crashed = function.read(ended.request_id).summary
    assert (crashed["status"], crashed["ending"]) == ("crash", [3, 0, 0])
    assert function.agent_lines == []


def test_a_container_image(function: Function, echo: Echo, tmp_path: Path) -> None:
    """As in one, the platform is process 1 of its own namespace, and the function's entrypoint.

    No image is built here: there is no container engine. What the agent meets is the same.
    """
    entrypoint = tmp_path / "entrypoint"
    inside = "unshare --pid --fork --kill-child=TERM --mount-proc"
    entrypoint.write_text(f'#!/bin/sh\nexec {inside} {find_rie()} "$@"\n')
    entrypoint.chmod(0o755)
    port = echo.port()
    with function.emulator(rie_path=entrypoint) as emulator:
        ids = [
            ok(emulator, {"what": "connect", "port": port}, {"what": "child", "port": port})
            for _ in range(2)
        ]
        executions = [function.read(request_id) for request_id in ids]
    for execution in executions:
        assert execution.ports == {port: 2}
        assert (execution.summary["status"], execution.summary["edges"]) == ("ok", "kernel")
    assert function.agent_lines == []
