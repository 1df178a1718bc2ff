"""Finished executions that wait to be written, in memory and within bounds."""

from __future__ import annotations

from lambdatrace.agent.flush import MAX_BYTES, MAX_EXECUTIONS, Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.items import Item


class Parcel:
    """One execution's items, in the order they must be written.

    Attributes
    ----------
    execution : tuple[str, int]
        Its id and its start (ns since the epoch): a retry has the same id.
    told : Mapping[str, int]
        The losses its summary tells of: they are told again if it gets lost itself.
    is_urgent : bool
        It failed, and is what somebody will look for.
    is_state : bool
        The execution goes on, and its end will be a parcel that says more.
    at : float
        When it came, s since the epoch.
    """

    __slots__ = ("at", "execution", "is_state", "is_urgent", "items", "size", "told")

    def __init__(
        self,
        execution: tuple[str, int],
        items: list[Item],
        told: Mapping[str, int] | None = None,
        *,
        is_urgent: bool = False,
        is_state: bool = False,
    ) -> None:
        self.execution = execution
        self.items = items
        self.told = told or {}
        self.is_urgent = is_urgent
        self.is_state = is_state
        self.at = 0.0
        self.size = sum(len(item.body) for item in items)


class Outbox:
    """Parcels by age, the oldest first."""

    def __init__(
        self, max_executions: int = 2 * MAX_EXECUTIONS, max_bytes: int = 2 * MAX_BYTES
    ) -> None:
        # Twice of what is written in the usual case: what could not be, may wait here.
        self._max_executions = max_executions
        self._max_bytes = max_bytes
        self._parcels: dict[tuple[str, int], Parcel] = {}
        self._size = 0
        self._items = 0

    def __len__(self) -> int:
        return len(self._parcels)

    def __contains__(self, parcel: Parcel) -> bool:
        return self._parcels.get(parcel.execution) is parcel

    def put(self, parcel: Parcel) -> None:
        """Take a parcel; an earlier state of the same execution is replaced."""
        self.remove(parcel)
        self._parcels[parcel.execution] = parcel
        self._size += parcel.size
        self._items += len(parcel.items)

    def remove(self, parcel: Parcel) -> None:
        """Forget what waits of the execution of `parcel`, if anything does."""
        known = self._parcels.pop(parcel.execution, None)
        if known is not None:
            self._size -= known.size
            self._items -= len(known.items)

    def parcels(self) -> list[Parcel]:
        """All of them, the oldest first."""
        return list(self._parcels.values())

    def waiting(self) -> Waiting:
        """What waits, for the decision whether to write."""
        oldest = next(iter(self._parcels.values())).at if self._parcels else 0.0
        return Waiting(len(self._parcels), self._items, self._size, oldest)

    def push_out(self) -> list[Parcel]:
        """Give up the oldest ones until the rest is within the bounds; returns them."""
        gone = []
        while len(self._parcels) > self._max_executions or self._size > self._max_bytes:
            parcel = next(iter(self._parcels.values()))
            self.remove(parcel)
            gone.append(parcel)
        return gone
