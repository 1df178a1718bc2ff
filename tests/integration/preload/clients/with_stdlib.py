"""http.client with kept connections, and urllib."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from common import Step, answered, context, in_threads

CONTEXT = context()
OPENER = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=CONTEXT)
)
mine = threading.local()


def with_urllib(step: Step) -> str:
    request = urllib.request.Request(step.url, step.body, step.headers)
    try:
        with OPENER.open(request, timeout=step.timeout) as reply:
            return answered(reply.status, reply.read())
    except urllib.error.HTTPError as reply:
        return answered(reply.code, reply.read())


def with_kept_connection(step: Step) -> str:
    where = urlsplit(step.url)
    kept = mine.__dict__.setdefault("kept", {})
    key = where.scheme, where.netloc
    connection = kept.pop(key, None)
    if connection is None and where.scheme == "https":
        connection = http.client.HTTPSConnection(where.netloc, context=CONTEXT)
    elif connection is None:
        connection = http.client.HTTPConnection(where.netloc)
    connection.timeout = step.timeout
    if connection.sock is not None:
        connection.sock.settimeout(step.timeout)
    try:
        connection.request(step.method, where.path, step.body, step.headers)
        reply = connection.getresponse()
        body = reply.read()
    except Exception:
        connection.close()
        raise
    kept[key] = connection
    return answered(reply.status, body)


def ask(step: Step) -> str:
    return with_urllib(step) if step.kind in ("post", "status") else with_kept_connection(step)


in_threads(ask)
