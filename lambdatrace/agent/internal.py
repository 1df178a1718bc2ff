"""The agent where a custom runtime starts it (LAMBDATRACE_INTERNAL): an internal extension.

Lambda tells such ones of no SHUTDOWN. Whoever starts the agent may wait for its line on descriptor
3: it is registered then, and traces.
"""

from __future__ import annotations

import os

from lambdatrace.agent.extensions_api import ExtensionsApi

READY_FD = 3


class InternalApi(ExtensionsApi):
    """An extension that is told of invocations only, and says when it is there."""

    events = ("INVOKE",)

    def register(self, *, invocations: bool = True) -> None:
        """Register for INVOKE, then write a line to READY_FD. Raises HttpError."""
        super().register(invocations=invocations)
        try:
            os.write(READY_FD, b"ready\n")
        except OSError:
            return  # nobody waits
