"""What the agent knows of a sensor: the probe in the kernel, or whatever stands in for it.

For types only: the agent never imports it at run time, and there would be nothing in it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    from lambdatrace import wire

    class Records(Protocol):
        """A ring of records."""

        @property
        def position(self) -> int:
            """Bytes consumed since it was made."""

        @property
        def stride(self) -> int:
            """Bytes that a record takes in it."""

        def drain(self, until: int | None = None) -> bytes:
            """Every finished record that waits; with `until`, a position, none behind it."""

    class Handover(Protocol):
        """What another process needs in order to adopt a sensor."""

        @property
        def descriptors(self) -> list[int]:
            """They keep it alive."""

        @property
        def layout(self) -> dict[str, Any]:
            """What there is to know of them; JSON."""

    class Sensor(Protocol):
        """Fills rings with the records of wire.py. Times are ns on the records' clock."""

        @property
        def backend(self) -> str:
            """How it senses, as a summary has it."""

        @property
        def why(self) -> str:
            """Why not by another backend, in words; empty: it is the first choice."""

        @property
        def blind(self) -> tuple[int, ...]:
            """Parts of the partition that may have been more than what was seen of them."""

        @property
        def unavailable(self) -> dict[str, str]:
            """Group of the capture that cannot be seen -> why."""

        @property
        def follows(self) -> bool:
            """Whether it is going to tell when the execution that was `invoked` last has ended."""

        @property
        def events(self) -> Records:
            """Records of EVENT_BYTES."""

        @property
        def syscalls(self) -> Records:
            """SyscallRecords."""

        @property
        def events_fd(self) -> int:
            """Readable (epoll) when `events` is to be drained."""

        @property
        def syscalls_fd(self) -> int:
            """Readable (epoll) when `syscalls` is half full."""

        def invoked(self, request_id: str, at_ns: int) -> None:
            """The platform has told of an execution (ns, the records' clock)."""

        def due_in(self) -> float | None:
            """How soon it wants to `look` though nothing wakes for it (s); None: never."""

        def look(self) -> bool:
            """Look, if it is due; whether `events` is to be drained though nothing wakes for it."""

        def handover(self) -> Handover:
            """For whoever takes over."""

        def leave(self) -> None:
            """The environment ends: leave nothing behind in it."""

        def lost(self) -> tuple[int, ...]:
            """What could not be kept so far, in the order of wire.COUNTERS."""

        def followed_connections(
            self,
        ) -> Iterable[tuple[wire.ConnectionRecord, wire.Exchange, bool]]:
            """Every connection without an end: as it is, its latest exchange, whether it is open.

            One that is not open any more is told of once.
            """

        def followed_branches(self) -> set[int]:
            """Branches that are no runtime's, but other extensions'."""

        def runtime_waits(self) -> bool:
            """Whether a runtime has asked for the next invocation and not got one."""

        def figures(self, branch: int, now: int) -> wire.EdgeRecord | None:
            """A branch's figures until `now`, as an edge has them; None: not known."""

        def pause(self, branch: int, now: int) -> wire.PauseRecord | None:
            """The pause that a branch is in at `now`; None: it is in none."""

        def asleep(self, branch: int, now: int) -> list[wire.BlockedRecord]:
            """Calls that still wait at `now`; branch 0: of all."""
