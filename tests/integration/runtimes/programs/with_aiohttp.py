"""aiohttp, both servers at once: PLAIN-URL SECURE-URL CERTIFICATE."""

import asyncio
import ssl
import sys

import aiohttp


async def main(plain: str, secure: str, certificate: str) -> None:
    context = ssl.create_default_context(cafile=certificate)
    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def ask(method: str, url: str, data: bytes | None = None) -> None:
            async with session.request(method, url, data=data, ssl=context) as answer:
                await answer.read()

        async def visit_plain() -> None:
            await ask("GET", f"{plain}/one")
            await ask("POST", f"{plain}/two", b"x" * 100_000)
            await ask("GET", f"{plain}/three")

        async def visit_secure() -> None:
            await ask("GET", f"{secure}/four")
            await ask("POST", f"{secure}/five", b"x" * 100_000)

        await asyncio.gather(visit_plain(), visit_secure())


asyncio.run(main(*sys.argv[1:]))
