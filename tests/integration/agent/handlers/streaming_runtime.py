"""A runtime that answers at once and is not done with that: what the event says comes meanwhile.

It streams its answer (`streams`), or answers whole, or with an error (`fails`), and goes on before
it asks for the next event.
"""

from __future__ import annotations

import http.client
import json
import os

import app

PATH = "/2018-06-01/runtime/invocation"
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", f"{PATH}/next")
    reply = api.getresponse()
    event = json.loads(reply.read())
    request_id = reply.headers["Lambda-Runtime-Aws-Request-Id"]
    answer = json.dumps({"id": request_id}).encode()
    path = f"{PATH}/{request_id}/response"
    if event.get("streams"):
        api.putrequest("POST", path)
        api.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        api.putheader("Transfer-Encoding", "chunked")
        api.endheaders()
        api.send(b"%x\r\n%s\r\n" % (len(answer), answer))
    elif event.get("fails"):
        error = {"errorMessage": "boom", "errorType": "ValueError"}
        api.request("POST", f"{PATH}/{request_id}/error", json.dumps(error))
        api.getresponse().read()
    else:
        api.request("POST", path, answer)
        api.getresponse().read()
    for step in event["steps"]:
        app.do(**step)
    if event.get("streams"):
        api.send(b"0\r\n\r\n")
        api.getresponse().read()
