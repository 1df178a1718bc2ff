"""httpx, blocking: PLAIN-URL SECURE-URL CERTIFICATE."""

import ssl
import sys

import httpx

plain, secure, certificate = sys.argv[1:]
with httpx.Client(verify=ssl.create_default_context(cafile=certificate)) as client:
    for answer in (
        client.get(f"{plain}/one"),
        client.post(f"{plain}/two", content=b"x" * 100_000),
        client.get(f"{plain}/three"),
        client.get(f"{secure}/four"),
        client.post(f"{secure}/five", content=b"x" * 100_000),
    ):
        answer.raise_for_status()
