"""Executions to store: made up, but of the shape that the agent writes."""

from __future__ import annotations

import random
from typing import Any

from lambdatrace import items, wire

START_NS = 1_795_331_000_000_000_000  # 2026-11-22T07:43:20Z
NEVER = 4_000_000_000  # s since the epoch


def records(cls: type[wire.Record], count: int, seed: int = 1) -> bytes:
    """`count` records full of bytes that do not compress."""
    generator = random.Random(seed)
    return generator.randbytes(cls.SIZE * count)


def summary(execution_id: str, started_ns: int = START_NS, **more: object) -> dict[str, Any]:
    return {
        "execution_id": execution_id,
        "started_ns": started_ns,
        "function": "größe-\N{SNOWMAN}",
        "status": "ok",
        **more,
    }


def execution(
    execution_id: str,
    started_ns: int = START_NS,
    *,
    connections: int = 5,
    syscalls: int = 0,
    exchanges: int = 0,
    blocked: int = 0,
    details: dict[str, Any] | None = None,
    expires_at: int = NEVER,
    **more: object,
) -> list[items.Item]:
    """All items of one execution."""
    return items.make_items(
        summary(execution_id, started_ns, **more),
        {
            wire.KIND_CONNECTION: records(wire.ConnectionRecord, connections),
            wire.KIND_EXCHANGE: records(wire.ExchangeRecord, exchanges),
            wire.KIND_BLOCKED: records(wire.BlockedRecord, blocked),
            wire.KIND_SYSCALL: records(wire.SyscallRecord, syscalls),
        },
        expires_at,
        details,
    )
