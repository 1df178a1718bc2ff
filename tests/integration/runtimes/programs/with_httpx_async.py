"""httpx under asyncio, both servers at once: PLAIN-URL SECURE-URL CERTIFICATE."""

import asyncio
import ssl
import sys

import httpx


async def main(plain: str, secure: str, certificate: str) -> None:
    context = ssl.create_default_context(cafile=certificate)
    async with httpx.AsyncClient(verify=context) as client:

        async def visit_plain() -> None:
            (await client.get(f"{plain}/one")).raise_for_status()
            (await client.post(f"{plain}/two", content=b"x" * 100_000)).raise_for_status()
            (await client.get(f"{plain}/three")).raise_for_status()

        async def visit_secure() -> None:
            (await client.get(f"{secure}/four")).raise_for_status()
            (await client.post(f"{secure}/five", content=b"x" * 100_000)).raise_for_status()

        await asyncio.gather(visit_plain(), visit_secure())


asyncio.run(main(*sys.argv[1:]))
