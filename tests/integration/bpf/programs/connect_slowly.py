"""Connects to a host (arguments: address and port) in the ways runtimes do, one after the other."""

from __future__ import annotations

import asyncio
import socket
import sys

ADDRESS, PORT = sys.argv[1], int(sys.argv[2])


async def with_asyncio() -> None:
    _, writer = await asyncio.open_connection(ADDRESS, PORT)
    writer.close()
    await writer.wait_closed()


socket.create_connection((ADDRESS, PORT)).close()
socket.create_connection((ADDRESS, PORT), timeout=10).close()
asyncio.run(with_asyncio())
