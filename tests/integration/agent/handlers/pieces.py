"""A runtime that sends its answers in two pieces, and computes between them."""

from __future__ import annotations

import http.client
import os
import time

HANDLER_S, BETWEEN_S = 0.03, 0.004
API = "/2018-06-01/runtime/invocation"


def main() -> None:
    """Answer for ever, on one connection."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", f"{API}/next")
        reply = connection.getresponse()
        reply.read()
        time.sleep(HANDLER_S)
        request_id = reply.headers["Lambda-Runtime-Aws-Request-Id"]
        connection.putrequest("POST", f"{API}/{request_id}/response")
        connection.putheader("Content-Length", "4")
        connection.endheaders()
        until = time.thread_time() + BETWEEN_S
        while time.thread_time() < until:
            pass
        connection.send(b"true")
        connection.getresponse().read()


main()
