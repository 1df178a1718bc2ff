"""Credentials as AWS's containers get them, for the tests that need some."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

NOON = 1_795_348_800  # 2026-11-22T12:00:00Z
GOOD = {
    "AccessKeyId": "AKID",
    "SecretAccessKey": "secret",
    "Token": "token",
    "Expiration": "2026-11-22T12:00:00.123Z",
}


class Endpoint:
    """A container's credential endpoint, as ECS and Lambda have one; a context manager."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = [(200, json.dumps(GOOD).encode())]
        self.seen: list[tuple[str, str | None]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                endpoint.seen.append((self.path, self.headers["Authorization"]))
                status, body = endpoint.answers[0]
                if len(endpoint.answers) > 1:
                    del endpoint.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/creds?id=1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
