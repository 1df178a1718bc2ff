"""Messages between the registered process and its worker: one dict a packet.

Written with marshal, which is part of the interpreter: both ends are one program, forked, and
importing json would be a tenth of the agent's start.
"""

from __future__ import annotations

import _socket
import marshal
import select
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_MAX_BYTES = 64 * 1024
_MAX_DESCRIPTORS = 250  # SCM_MAX_FD is 253
_INT = struct.calcsize("i")


class Closed(Exception):  # noqa: N818  # an end, not an error
    """The other side has gone."""


class Channel:
    """One end. Packets keep their borders, so no message is ever half there."""

    def __init__(self, socket: _socket.socket) -> None:
        self._socket = socket

    def fileno(self) -> int:
        """For select and epoll."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message and, with it, descriptors. Raises Closed."""
        ancillary = []
        if descriptors:
            packed = struct.pack(f"{len(descriptors)}i", *descriptors)
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)]
        try:
            self._socket.sendmsg([marshal.dumps(message)], ancillary)
        except OSError as error:
            raise Closed from error

    def receive(self, deadline: float | None = None) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and its descriptors; None when `deadline` (s, time.monotonic) passes.

        Raises Closed.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(timeout):
            return None
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _MAX_BYTES, _socket.CMSG_SPACE(_MAX_DESCRIPTORS * _INT)
            )
        except OSError as error:
            raise Closed from error
        if not data:
            raise Closed
        descriptors: list[int] = []
        for level, kind, content in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                count = len(content) // _INT
                descriptors += struct.unpack(f"{count}i", content[: count * _INT])
        return marshal.loads(data), descriptors  # noqa: S302  # from our own fork

    def close(self) -> None:
        """Let go of this end."""
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return Channel(first), Channel(second)
