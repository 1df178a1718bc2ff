"""A function that is refused eBPF and has no wrapper: what can be seen by looking."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from support import in_a_calm_moment, require
from support_agent import HANDLERS, Echo, Gate, invoke, invoking, ok, trace, unanswering

from lambdatrace.analysis.parts import LOOKED_LATE
from lambdatrace.analysis.verdict import judge
from lambdatrace.model import Outcome, Part, Status

if TYPE_CHECKING:
    from support_confined import ConfinedFunction

ANSWER_S = 0.2
SEEN = {Part.CPU, Part.RUNQUEUE, Part.STEAL, Part.OTHER}


class Slow(BaseHTTPRequestHandler):
    """An HTTP server that takes its time."""

    def do_GET(self) -> None:
        time.sleep(ANSWER_S)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


def test_executions_are_traced_with_nothing_but_what_proc_tells(
    bare: ConfinedFunction, echo: Echo
) -> None:
    port = echo.port()
    with bare.emulator() as emulator:
        first = ok(emulator, {"what": "use_kept", "port": port, "send": 1000})
        second = ok(
            emulator,
            {"what": "use_kept", "port": port, "send": 77},
            {"what": "spin", "seconds": 0.1},
            {"what": "sleep", "seconds": 0.1},
        )
    for request_id, sent in ((first, 1000), (second, 77)):
        execution = bare.read(request_id)
        summary = execution.summary
        assert summary["backend"] == "proc"
        assert "EPERM" in summary["backend_why"]
        assert "AWS_LAMBDA_EXEC_WRAPPER" in summary["backend_why"]
        assert (summary["status"], summary["edges"]) == ("ok", "looks")
        assert 0 <= summary["tolerance_ns"] <= summary["duration_ns"]
        assert {"dns", "tls", "exchanges", "blocked"} <= set(summary["unavailable"])
        assert summary["dropped"] == {}
        record = execution.to(port)
        assert (record.bytes_out, record.bytes_in) == (sent, sent)
    assert summary["duration_ns"] >= 0.2e9
    assert summary["cpu"][0] >= 0.1e9
    seen = trace(bare, second)
    (connection,) = seen.connections
    assert (connection.sampled, connection.reused, connection.outcome) == (
        True, True, Outcome.OPEN,
    )  # fmt: skip
    assert (connection.connect_ns, connection.sends, connection.thread_id) == (None, None, None)
    partition = seen.execution.partition
    assert partition is not None
    assert {part for part in Part if partition.of(part) is not None} == SEEN
    assert sum(partition.of(part) or 0 for part in Part) == seen.execution.duration_ns


def test_what_the_runtime_was_at_when_the_platform_ended_it(bare: ConfinedFunction) -> None:
    with unanswering() as port, bare.emulator(timeout_s=2, memory_mb=1769) as emulator:
        late = invoke(emulator, {"what": "connect", "port": port})
        crashed = invoke(emulator, {"what": "exit"})
        after = ok(emulator, {"what": "sleep", "seconds": 0})
    told = trace(bare, late.request_id)
    assert told.execution.status is Status.TIMEOUT
    (connection,) = told.connections
    assert (connection.port, connection.outcome) == (port, Outcome.CONNECTING)
    verdict = judge(told)
    assert "Timed out" in verdict.text
    # A busy machine may have let the agent look too late.
    if told.execution.partition is None:
        assert LOOKED_LATE in verdict.text
    else:
        assert f"127.0.0.1:{port} had not taken the connection for" in verdict.text
    assert trace(bare, crashed.request_id).execution.status is Status.CRASH
    assert trace(bare, after).execution.status is Status.OK


def test_a_bootstrap_of_bash_and_curl_is_not_held_up(bare: ConfinedFunction) -> None:
    """It takes a connection for each request, and another process."""
    for program in ("bash", "curl"):
        require(shutil.which(program), f"{program} is not installed")
    with HTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with bare.emulator(runtime=(str(HANDLERS / "bootstrap"),)) as emulator:
            answers = [emulator.invoke(b"%d" % server.server_port) for _ in range(3)]
        server.shutdown()
    for invocation in answers:
        assert json.loads(invocation.body)["answer"] == "hello"
        # Its deadline is 20 s away.
        assert invocation.duration_ms < 15_000
        summary = bare.read(invocation.request_id).summary
        assert (summary["backend"], summary["status"]) == ("proc", "ok")
        # Whether its first question is still there to be seen is chance.
        assert summary["edges"] in ("extension", "looks")


@in_a_calm_moment  # or the runtime is kept from sending the rest for longer than is waited for
def test_an_answer_in_pieces_is_one(bare: ConfinedFunction) -> None:
    """Seen between its pieces, its rest is not the answer to what follows at once."""
    runtime = (sys.executable, str(HANDLERS / "pieces.py"))
    with bare.emulator(runtime=runtime, memory_mb=1769) as emulator:
        answers = [emulator.invoke(b"{}") for _ in range(10)]
    for invocation in answers:
        summary = bare.read(invocation.request_id).summary
        assert (summary["backend"], summary["edges"]) == ("proc", "looks")
        # It has slept for 30 ms; the agent may have been told of it some time after it had begun.
        assert summary["duration_ns"] >= 15_000_000


def test_without_socket_diagnosis_an_execution_ends_with_the_next_event(
    bare: ConfinedFunction, echo: Echo
) -> None:
    port = echo.port()
    bare.allows_netlink = False
    with bare.emulator() as emulator:
        first = ok(emulator, {"what": "use_kept", "port": port})
        second = ok(emulator, {"what": "use_kept", "port": port})
    for request_id in (first, second):
        execution = trace(bare, request_id).execution
        assert (execution.backend, execution.status) == ("proc", Status.OK)
        assert (execution.edges, execution.tolerance_ns) == ("extension", None)
        assert "NETLINK_SOCK_DIAG is refused (EPERM)" in execution.unavailable["end"]
    # Whether it was used again nobody can tell.
    (connection,) = (*trace(bare, first).connections, *trace(bare, second).connections)
    # The platform's end may be seen halfway: it has a Python runtime close everything.
    assert connection.port == port
    assert connection.outcome in (Outcome.OPEN, Outcome.OK)
    assert not connection.transfers_seen
    assert connection.retransmits is None


def test_a_worker_that_takes_over_finds_the_runtime_anew(bare: ConfinedFunction) -> None:
    with bare.emulator() as emulator, Gate() as gate:
        ok(emulator, {"what": "sleep", "seconds": 0})
        worker = bare.worker()
        with invoking(emulator, {"what": "wait_for", "port": gate.port}) as answers:
            gate.reached()
            os.kill(worker, signal.SIGKILL)
            bare.worker(other_than=worker)
            gate.open()
        after = ok(emulator, {"what": "sleep", "seconds": 0.05})
    (held,) = answers
    assert held.error is None
    summary = bare.read(held.request_id).summary
    assert (summary["backend"], summary["status"]) == ("proc", "ok")
    assert summary["dropped"]["gaps"] == 1
    later = bare.read(after).summary
    assert (later["status"], later["edges"]) == ("ok", "looks")
    assert later["duration_ns"] >= 0.05e9
