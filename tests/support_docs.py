"""The store that the examples of docs/commands.md are run on, and how they are run."""

from __future__ import annotations

import random
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import support_traces as traces
from support_cli import NOW_NS, Result, run

from lambdatrace.model import Part

if TYPE_CHECKING:
    from lambdatrace.items import Item

PAGE = Path(__file__).parents[1] / "docs/commands.md"
WIDTH = 100
MS = traces.MS
_EXAMPLE = re.compile(r"(?<=```console\n)\$ (lambdatrace .*)\n((?:.*\n)*?)(?=```)")


def store(path: Path) -> str:
    """A store with a hundred executions of the 75 minutes before NOW_NS; its URL."""
    generator = random.Random(4)
    executions = [_execution(generator, number) for number in range(100)]
    executions[3] = traces.execution(
        traces.pipeline(),
        exchanges=[
            traces.exchange(2, first_out=80, last_out=82, first_in=1_240, last_in=1_310),
            traces.exchange(4, first_out=1_330, first_in=1_338, last_in=1_339),
        ],
        execution_id="c0ffee00-1d5c-4d3e-9a54-9d0c4a1f7e21",
        started_ns=NOW_NS - 130 * 1_000 * MS,
        status="timeout",
        errors=1,
        partition=_partition(dns=22, connect=700, wait=1_158, transfer=70, cpu=50),
        shares=[["wait", "api.partner.example:443", 1_158 * MS]],
        details={"hosts": {"2": "api.partner.example", "4": "orders.internal"}},
        destinations=[
            traces.destination(host="api.partner.example", time=1_280, connect=[51], wait=[1_158],
                               tls=[28], dns=[22]),
            traces.destination("192.0.2.1", 5432, errors=1, time=650, connect=[]),
            traces.destination("2001:db8::17", 8443, errors=1, time=1, connect=[]),
            traces.destination("10.0.0.9", 8000, host="orders.internal", time=9, connect=[],
                               reused=1, wait=[8]),
        ],
    )  # fmt: skip
    return traces.write(path, *executions)


def _partition(**parts: float) -> list[int | None]:
    return [None if part == "steal" else round(parts.get(part, 0) * MS) for part in Part]


def _execution(generator: random.Random, number: int) -> list[Item]:
    """One of `checkout` or `thumbnails`, every 45 seconds."""
    is_checkout = number % 4 != 3
    partner = generator.lognormvariate(0, 0.35) * 140 * (3 if number in (17, 60) else 1)
    stored = generator.lognormvariate(0, 0.2) * 9
    cpu = generator.uniform(20, 32)
    failed = number in (9, 44)
    rows: list[list[Any]] = [
        traces.destination(
            "10.0.3.7", host="dynamodb.eu-west-1.amazonaws.com", time=stored, connect=[], reused=1,
            wait=[stored / 2, stored / 2], bytes_out=2_100, bytes_in=5_300,
        ),
    ]  # fmt: skip
    if is_checkout:
        rows.insert(
            0,
            traces.destination(
                host="api.partner.example", time=partner + 4, connect=[4], wait=[partner],
                tls=[19 + partner / 50], dns=[1.4], bytes_out=1_800, bytes_in=48_000,
                errors=int(failed),
            ),
        )  # fmt: skip
    spent = {"wait": stored + (partner if is_checkout else 0), "cpu": cpu}
    if is_checkout:
        spent |= {"dns": 1.4, "connect": 4, "tls": 19 + partner / 50}
    subject = "api.partner.example:443" if is_checkout else "dynamodb.eu-west-1.amazonaws.com:443"
    connections = [traces.connection(number, closed=9) for number in range(len(rows))]
    return traces.execution(
        connections,
        execution_id=f"{generator.getrandbits(32):08x}-7b1e-4c55-8f02-{number:012d}",
        function="checkout" if is_checkout else "thumbnails",
        started_ns=NOW_NS - (number * 45 + 5) * 1_000 * MS,
        duration_ns=round(sum(spent.values()) * MS),
        status="error" if failed else "ok",
        errors=int(failed),
        cold_start=number % 25 == 24,
        partition=_partition(**spent),
        shares=[["wait", subject, round(max(partner, stored) * MS)]],
        destinations=rows,
    )


def examples(text: str) -> list[tuple[str, str]]:
    """(command line, what it prints) of each example of a page."""
    return [(match[1], match[2]) for match in _EXAMPLE.finditer(text)]


def printed(line: str, url: str) -> Result:
    """What an example does; one that goes on is interrupted at its first pause."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    return run(
        *shlex.split(line)[1:], environ={"LAMBDATRACE_STORE": url}, width=WIDTH, sleep=interrupt
    )


def rewritten(text: str, url: str) -> str:
    """The page with what its examples print now."""

    def again(match: re.Match[str]) -> str:
        return f"$ {match[1]}\n{_stripped(printed(match[1], url).stdout)}"

    return _EXAMPLE.sub(again, text)


def _stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
