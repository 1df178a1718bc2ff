"""A runtime whose own HTTP the probe cannot see: INVOKE events cut the stream."""

from __future__ import annotations

import socket
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

import support_agent as agent
from support_agent import Echo, Function, ok

if TYPE_CHECKING:
    from pathlib import Path

# Started in the emulator's place: the runtime is told another address than the extensions are.
WRAPPER = """#!{python}
import os, pathlib, sys
arguments = sys.argv[1:]
address = arguments[arguments.index("--runtime-api-address") + 1]
pathlib.Path({noted!r}).write_text(address)
script = arguments.index("-c") + 1
arguments[script] = "export AWS_LAMBDA_RUNTIME_API=127.0.0.1:{port}; " + arguments[script]
os.execv({rie!r}, [{rie!r}, *arguments])
"""


class Detour:
    """Forwards connections to the runtime API, whose address is in a file."""

    def __init__(self, noted: Path) -> None:
        self._noted = noted
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            host, _, port = self._noted.read_text().rpartition(":")
            backend = socket.create_connection((host, int(port)))
            for pair in ((client, backend), (backend, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_executions_are_cut_by_invoke_events(function: Function, echo: Echo) -> None:
    noted, rie = function.folder / "address", function.folder / "rie"
    detour = Detour(noted)
    rie.write_text(
        WRAPPER.format(
            python=sys.executable,
            noted=str(noted),
            port=detour.port,
            rie=str(agent.find_rie()),
        )
    )
    rie.chmod(0o755)
    ports = [echo.port() for _ in range(4)]
    with function.emulator(rie_path=rie) as emulator:
        ids = [ok(emulator, {"what": "connect", "port": port}) for port in ports]
    detour.close()
    found = Counter[int]()
    for number, request_id in enumerate(ids):
        execution = function.read(request_id)
        assert execution.summary["edges"] == "extension"
        assert execution.summary["status"] == "ok"
        # The runtime may be told before the agent is, by as long as a busy machine takes: then a
        # connection still counts to the execution before. Never to another.
        assert set(execution.ports) <= {detour.port, *ports[number : number + 2]}
        found += execution.ports
    del found[detour.port]  # an ordinary connection to whoever looks on
    assert found == dict.fromkeys(ports, 1)
    assert len(function.stored()) == len(ids)
    assert function.agent_lines == []
