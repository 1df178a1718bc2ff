"""Another extension of the same function: connects to a port all the time."""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading

from traffic import keep_connecting

threading.Thread(target=keep_connecting, args=(int(sys.argv[1]),), daemon=True).start()
headers = {"Lambda-Extension-Name": "other"}
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def call(method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
    api.request(method, f"/2020-01-01/extension/{path}", body, headers)
    reply = api.getresponse()
    reply.body = reply.read()
    return reply


reply = call("POST", "register", json.dumps({"events": ["INVOKE", "SHUTDOWN"]}))
headers["Lambda-Extension-Identifier"] = reply.headers["Lambda-Extension-Identifier"]
while json.loads(call("GET", "event/next").body)["eventType"] != "SHUTDOWN":
    pass
