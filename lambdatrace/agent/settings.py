"""What the environment tells the agent, read once at the start."""

from __future__ import annotations

from lambdatrace.agent.log import log
from lambdatrace.capture import DEFAULT_THRESHOLD_MS, read_capture, unknown_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FLOWS = "flows"
SYSCALLS = "syscalls"
DEFAULT_TTL_DAYS = 14


class Settings:
    """Configuration of one agent. A value that makes no sense is reported and its default used."""

    __slots__ = (
        "capture",
        "environ",
        "function",
        "level",
        "memory_mb",
        "runtime_api",
        "store",
        "threshold_ns",
        "ttl_days",
        "version",
    )

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.runtime_api = environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self.function = environ.get("AWS_LAMBDA_FUNCTION_NAME", "") or "unknown"
        self.version = environ.get("AWS_LAMBDA_FUNCTION_VERSION") or None
        self.memory_mb = _number(environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", None)
        self.ttl_days = _number(environ, "LAMBDATRACE_TTL_DAYS", DEFAULT_TTL_DAYS)
        self.store = environ.get("LAMBDATRACE_STORE", "")
        self.level = environ.get("LAMBDATRACE_LEVEL", "") or FLOWS
        if self.level not in (FLOWS, SYSCALLS):
            log(f"LAMBDATRACE_LEVEL={self.level!r} is neither flows nor syscalls: taking flows")
            self.level = FLOWS
        self.capture = _capture(environ)
        threshold = _number(environ, "LAMBDATRACE_THRESHOLD_MS", DEFAULT_THRESHOLD_MS)
        self.threshold_ns = (threshold or 0) * 1_000_000


def _number(environ: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = environ.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    log(f"{name}={text!r} is not a number: taking {default}")
    return default


def _capture(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The groups that LAMBDATRACE_CAPTURE names."""
    groups, unknown = read_capture(environ.get("LAMBDATRACE_CAPTURE", ""))
    if unknown:
        log(f"LAMBDATRACE_CAPTURE: {unknown_groups(unknown)}")
    return groups
