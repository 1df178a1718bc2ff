"""What the machine tells of itself: time stolen from it, and pages that had to be read."""

from __future__ import annotations

import os

# The unit of /proc/stat, USER_HZ.
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_STEAL = 8  # of the words of the line "cpu", proc(5)
_MAJOR_FAULTS = b"pgmajfault "


class Machine:
    """Both since the look before; a hypervisor's tick is 10 ms long, and so is steal's."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._before = self._read()

    def since(self, *, peek: bool = False) -> tuple[int | None, int | None]:
        """(steal in ns, major faults) since the last call; None where this machine does not tell.

        With `peek` the next call begins where this one did.
        """
        before, now = self._before, self._read()
        if not peek:
            self._before = now
        steal, faults = (
            None if then is None or later is None else max(0, later - then)
            for then, later in zip(before, now, strict=True)
        )
        return steal, faults

    def _read(self) -> tuple[int | None, int | None]:
        words = content(f"{self._proc}/stat").split(b"\n", 1)[0].split()
        steal = int(words[_STEAL]) * _TICK_NS if len(words) > _STEAL else None
        _, found, rest = content(f"{self._proc}/vmstat").partition(_MAJOR_FAULTS)
        return steal, int(rest.split(None, 1)[0]) if found else None


def content(path: str) -> bytes:
    """What stands in a file of /proc; empty where it is not there, or not for this user."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
