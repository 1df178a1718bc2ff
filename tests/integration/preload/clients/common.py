"""What the Python clients share.

`with_X.py PLAN CERTIFICATE WORKERS` prints what became of each request.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Step(NamedTuple):
    """A line of the plan."""

    kind: str
    method: str
    url: str
    size: int
    timeout: float  # s

    @property
    def body(self) -> bytes | None:
        return (b"0123456789abcdef" * (self.size // 16 + 1))[: self.size] if self.size else None

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"} if self.kind == "close" else {}


def steps() -> list[Step]:
    with open(sys.argv[1], encoding="ascii") as file:  # noqa: PTH123  # without what it needs not
        rows = [line.rstrip("\n").split("\t") for line in file]
    return [
        Step(kind, method, url, int(size), int(timeout) / 1000)
        for kind, method, url, size, timeout in rows
    ]


def context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=sys.argv[2])


def workers() -> int:
    return int(sys.argv[3])


def answered(status: int, body: bytes) -> str:
    return f"{status} {len(body)} {hashlib.sha256(body).hexdigest()[:16]}"


def failed(error: BaseException) -> str:
    return f"error {type(error).__name__}"


def in_threads(ask: object) -> None:
    """Have each step done by `ask(step)`, several at once, and print what it returns or raises."""

    def one(step: Step) -> str:
        try:
            return ask(step)  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001  # whatever it is, it is to be the same
            return failed(error)

    with ThreadPoolExecutor(workers()) as pool:
        for line in pool.map(one, steps()):
            print(line)
