"""httpx: one client for all threads, and its asynchronous one for every second request."""

from __future__ import annotations

import asyncio
import threading

import httpx
from common import Step, answered, context, in_threads

CONTEXT = context()
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
client = httpx.Client(verify=CONTEXT, trust_env=False)
asynchronous = httpx.AsyncClient(verify=CONTEXT, trust_env=False)


def ask(step: Step) -> str:
    more = {"content": step.body, "headers": step.headers, "timeout": step.timeout}
    if step.size % 2:
        reply = client.request(step.method, step.url, **more)
    else:
        coming = asynchronous.request(step.method, step.url, **more)
        reply = asyncio.run_coroutine_threadsafe(coming, loop).result()
    return answered(reply.status_code, reply.content)


in_threads(ask)
client.close()
asyncio.run_coroutine_threadsafe(asynchronous.aclose(), loop).result()
