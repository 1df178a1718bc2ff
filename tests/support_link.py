"""A network cable that takes its time: two TUN devices and a thread that carries packets between
them. It stands in for netem, which many kernels lack, and notes what TCP handshakes it saw.
"""

from __future__ import annotations

import collections
import fcntl
import os
import select
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support import require

if TYPE_CHECKING:
    from support_probe import Network

TUNSETIFF = 0x400454CA
IFF_TUN = 1
IFF_NO_PI = 0x1000
SYN, ACK = 2, 16
NEAR, FAR = "10.77.0.1", "10.77.0.2"


class SlowLink:
    """Joins two networks; each packet takes `delay` seconds. NEAR and FAR are their addresses."""

    def __init__(self, near: Network, far: Network, delay: float) -> None:
        require(Path("/dev/net/tun").exists(), "there is no /dev/net/tun")
        self._delay = delay
        self._ends = [_device(near, NEAR, FAR), _device(far, FAR, NEAR)]
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._asked: dict[int, float] = {}
        # Near port -> seconds between the SYN's arrival here and the SYN-ACK's departure.
        self.handshakes: dict[int, float] = {}

    def __enter__(self) -> SlowLink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        self._thread.join()
        for fd in (*self._ends, self._stop):
            os.close(fd)

    def _carry(self) -> None:
        waiting: collections.deque[tuple[float, int, bytes]] = collections.deque()
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self._ends, self._stop], [], [], left)
            if self._stop in ready:
                return
            for fd in ready:
                packet = os.read(fd, 65536)
                now = time.monotonic()
                target = self._ends[1 - self._ends.index(fd)]
                self._note(packet, now, SYN)
                waiting.append((now + self._delay, target, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, target, packet = waiting.popleft()
                self._note(packet, time.monotonic(), SYN | ACK)
                os.write(target, packet)

    def _note(self, packet: bytes, now: float, flags: int) -> None:
        if packet[0] >> 4 != 4 or packet[9] != 6:
            return
        tcp = packet[(packet[0] & 15) * 4 :]
        source, destination = struct.unpack(">HH", tcp[:4])
        if tcp[13] & (SYN | ACK) != flags:
            return
        if flags == SYN:
            self._asked.setdefault(source, now)
        else:
            self.handshakes.setdefault(destination, now - self._asked[destination])


def _device(network: Network, address: str, peer: str) -> int:
    with network.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"slow", IFF_TUN | IFF_NO_PI))
    network.ip("address", "add", address, "peer", peer, "dev", "slow")
    network.ip("link", "set", "slow", "up")
    return fd
