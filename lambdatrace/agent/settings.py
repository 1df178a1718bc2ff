"""What the environment tells the agent, read once at the start."""

from __future__ import annotations

from lambdatrace.agent.log import log
from lambdatrace.capture import DEFAULT_THRESHOLD_MS, read_capture, unknown_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FLOWS = "flows"
SYSCALLS = "syscalls"
# Values of AWS_LAMBDA_INITIALIZATION_TYPE that change what the agent does.
SNAP_START = "snap-start"
MANAGED_INSTANCES = "lambda-managed-instances"
# What LAMBDATRACE_BACKEND chooses among.
AUTO = "auto"
BACKENDS = (AUTO, "ebpf", "preload", "proc")
DEFAULT_TTL_DAYS = 14
DEFAULT_SPOOL_MB = 16  # of the 512 that /tmp has at least
DEFAULT_SPOOL = "/tmp/lambdatrace-spool"  # noqa: S108  # made for this user alone, see spool.py


class Settings:
    """Configuration of one agent. A value that makes no sense is reported and its default used."""

    __slots__ = (
        "backend",
        "capture",
        "environ",
        "extensions",
        "flush",
        "function",
        "is_managed",
        "is_snapshot",
        "keep",
        "level",
        "memory_mb",
        "runtime_api",
        "spool",
        "spool_bytes",
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
        self.backend = environ.get("LAMBDATRACE_BACKEND", "") or AUTO
        if self.backend not in BACKENDS:
            known = ", ".join(BACKENDS)
            log(f"LAMBDATRACE_BACKEND={self.backend!r} is none of {known}: taking auto")
            self.backend = AUTO
        self.capture = _capture(environ)
        threshold = _number(environ, "LAMBDATRACE_THRESHOLD_MS", DEFAULT_THRESHOLD_MS)
        self.threshold_ns = (threshold or 0) * 1_000_000
        initialization = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "")
        # Several executions at once, nothing is frozen, and no INVOKE event tells of any.
        self.is_managed = initialization == MANAGED_INSTANCES
        # What is known before the first invocation is what every other environment knows as well.
        self.is_snapshot = initialization == SNAP_START
        self.extensions = read_switch(environ, "LAMBDATRACE_EXTENSIONS")
        # Read where they are used (flush.py, keep.py), after the function has been let go on.
        self.flush = environ.get("LAMBDATRACE_FLUSH", "")
        self.keep = environ.get("LAMBDATRACE_KEEP", "")
        self.spool = _spool(environ)
        spool_mb = _number(environ, "LAMBDATRACE_SPOOL_MB", DEFAULT_SPOOL_MB)
        self.spool_bytes = (spool_mb or 0) * 1_000_000

    @property
    def store_name(self) -> str:
        """What tells the store these settings lead to from others; nothing of it is secret."""
        names = ("DYNAMO_TABLE_NAME", "AWS_REGION", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL")
        return " ".join([self.store, *(self.environ.get(name, "") for name in names)])


def _number(environ: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = environ.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    log(f"{name}={text!r} is not a number: taking {default}")
    return default


def read_switch(environ: Mapping[str, str], name: str) -> bool:
    """Whether the variable `name` is 1. What is neither 0 nor 1 is reported."""
    text = environ.get(name, "")
    if text not in ("", "0", "1"):
        log(f"{name}={text!r} is neither 0 nor 1: taking 0")
    return text == "1"


def _spool(environ: Mapping[str, str]) -> str:
    """The folder that LAMBDATRACE_SPOOL names; empty: none."""
    path = environ.get("LAMBDATRACE_SPOOL", DEFAULT_SPOOL)
    if path and not path.startswith("/"):
        log(f"LAMBDATRACE_SPOOL={path!r} is not an absolute path: taking {DEFAULT_SPOOL}")
        return DEFAULT_SPOOL
    return path


def _capture(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The groups that LAMBDATRACE_CAPTURE names."""
    groups, unknown = read_capture(environ.get("LAMBDATRACE_CAPTURE", ""))
    if unknown:
        log(f"LAMBDATRACE_CAPTURE: {unknown_groups(unknown)}")
    return groups
