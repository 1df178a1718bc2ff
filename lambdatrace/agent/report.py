"""What an environment allows: written once, with its first execution, for `doctor --function`.

Nothing in it is the function's: neither its variables nor what it was given.
"""

from __future__ import annotations

import time

from lambdatrace import items
from lambdatrace.agent import confinement
from lambdatrace.agent import summary as summaries
from lambdatrace.agent.log import log
from lambdatrace.agent.settings import DEFAULT_TTL_DAYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from lambdatrace.agent.sensor import Sensor
    from lambdatrace.agent.settings import Settings
    from lambdatrace.items import Item


def report_items(
    settings: Settings, sensor: Sensor, refused: Sequence[dict[str, Any]]
) -> list[Item]:
    """The item to write; none, after a line in the log, where it cannot be made.

    `refused` are the backends that were tried in vain, as choice.py has them.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            status = file.read()
        works = {"name": sensor.backend, "works": True, "unavailable": sensor.unavailable}
        report = {
            "version": settings.version,
            "memory_mb": settings.memory_mb,
            "machine": confinement.machine(status),
            "calls": confinement.calls(),
            "backends": [*({**each, "works": False} for each in refused), works],
        }
    except Exception as error:  # noqa: BLE001  # no execution is to be lost for it
        log(f"no report of this environment can be made: {type(error).__name__}: {error}")
        return []
    ttl_days = DEFAULT_TTL_DAYS if settings.ttl_days is None else settings.ttl_days
    expires = summaries.expires_at(ttl_days)
    return [items.make_report(settings.function, time.time_ns(), report, expires)]
