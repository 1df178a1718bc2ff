"""A runtime of its own that serves in two threads at once, each with its own `next`."""

from __future__ import annotations

import http.client
import json
import os
import threading

from app import do

RUNTIME = "/2018-06-01/runtime/invocation"


def serve() -> None:
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        api.request("GET", f"{RUNTIME}/next")
        reply = api.getresponse()
        request_id = reply.headers["Lambda-Runtime-Aws-Request-Id"]
        for step in json.loads(reply.read())["steps"]:
            do(**step)
        api.request("POST", f"{RUNTIME}/{request_id}/response", json.dumps({"id": request_id}))
        api.getresponse().read()


threads = [threading.Thread(target=serve) for _ in range(2)]
for thread in threads:
    thread.start()
