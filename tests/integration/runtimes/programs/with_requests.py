"""requests (urllib3): PLAIN-URL SECURE-URL CERTIFICATE."""

import sys

import requests

plain, secure, certificate = sys.argv[1:]
with requests.Session() as session:
    session.verify = certificate
    for answer in (
        session.get(f"{plain}/one"),
        session.post(f"{plain}/two", data=b"x" * 100_000),
        session.get(f"{plain}/three"),
        session.get(f"{secure}/four"),
        session.post(f"{secure}/five", data=b"x" * 100_000),
    ):
        answer.raise_for_status()
