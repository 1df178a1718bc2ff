"""aiohttp, as many requests at once as there are workers."""

from __future__ import annotations

import asyncio

import aiohttp
from common import Step, answered, context, failed, steps, workers


async def ask(session: aiohttp.ClientSession, turn: asyncio.Semaphore, step: Step) -> str:
    timeout = aiohttp.ClientTimeout(step.timeout)
    more = {"data": step.body, "headers": step.headers, "timeout": timeout}
    async with turn:
        try:
            async with session.request(step.method, step.url, **more) as reply:
                return answered(reply.status, await reply.read())
        except Exception as error:  # noqa: BLE001  # whatever it is, it is to be the same
            return failed(error)


async def main() -> None:
    connector = aiohttp.TCPConnector(ssl=context())
    turn = asyncio.Semaphore(workers())
    async with aiohttp.ClientSession(connector=connector) as session:
        for line in await asyncio.gather(*(ask(session, turn, step) for step in steps())):
            print(line)


asyncio.run(main())
