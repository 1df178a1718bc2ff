"""What the records of an execution are called in exports."""

from __future__ import annotations

# What rows are called, in the order they come in.
EXECUTION, CONNECTION, NAMELOOKUP, EXCHANGE = "execution", "connection", "namelookup", "exchange"
BLOCKED, PAUSE, PROCESS, EXTENSION = "blocked", "pause", "process", "extension"
SYSCALL = "syscall"
RECORDS = (
    EXECUTION, CONNECTION, NAMELOOKUP, EXCHANGE, BLOCKED, PAUSE, PROCESS, EXTENSION, SYSCALL,
)  # fmt: skip
