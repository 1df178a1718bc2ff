"""A stand-in for the partner's API: usually fast, now and then slow, and one path that hangs.

/orders    40 orders; every third answer takes SLOW_S
/stuck     takes the request and never answers
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_S = 1.5
SLOW_EVERY = 3
ORDERS = 40


class Partner(ThreadingHTTPServer):
    """The API at an address of its own, served by threads until `shutdown`."""

    daemon_threads = True
    block_on_close = False  # the hanging path would never let go

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.answers = itertools.count(1)
        self.ended = threading.Event()

    def start(self) -> None:
        """Serve in the background."""
        threading.Thread(target=self.serve_forever, name="partner", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Partner

    def do_GET(self) -> None:
        """Answer one request, as its path says."""
        if self.path == "/stuck":
            self.server.ended.wait()
            return
        if self.path != "/orders":
            self.send_error(404)
            return
        if next(self.server.answers) % SLOW_EVERY == 0:
            time.sleep(SLOW_S)
        orders = [
            {"id": number, "total": 9.99 + number, "street": f"High Street {number}", "city": "Ulm"}
            for number in range(ORDERS)
        ]
        body = json.dumps(orders).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: the terminal belongs to the traces."""
