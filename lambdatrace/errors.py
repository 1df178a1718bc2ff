"""Errors a user sees: what happened, what to do about it, and the exit code of the command."""

from __future__ import annotations


class LambdatraceError(Exception):
    """Base of every error shown to a user. `message` says what happened, `hint` what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LambdatraceError):
    """What was typed cannot be carried out as it stands."""

    exit_code = 2


class NotFoundError(LambdatraceError):
    """What was asked for is not in the store."""

    exit_code = 3


class BrokenSloError(LambdatraceError):
    """Something took longer than --slo allows."""

    exit_code = 4


class StoreError(LambdatraceError):
    """The store cannot be opened, read or written."""


class CorruptItemError(StoreError):
    """An item in the store is not what its schema says."""

    def __init__(
        self, message: str, hint: str = "the other executions are still readable: lambdatrace list"
    ) -> None:
        super().__init__(message, hint)


class NewerSchemaError(StoreError):
    """An item was written by a newer lambdatrace than this one."""


class ProbeError(LambdatraceError):
    """The kernel refused the probe, or cannot run it."""


class EmulatorError(LambdatraceError):
    """AWS's Lambda emulator cannot be found, started or spoken to."""


class LayerError(LambdatraceError):
    """The layer cannot be built, or it cannot be brought to a function."""
