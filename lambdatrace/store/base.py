"""What a store is to those who read it and to those who write it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from lambdatrace.glance import StoredGlance
    from lambdatrace.items import Item, Row

    class Store(Protocol):
        """The reading side. Items whose time to live has passed are never returned."""

        def get(self, execution_id: str) -> list[Item]:
            """Every item of one execution by key; empty if there is none. Raises StoreError."""

        def index(self, since_ns: int, until_ns: int) -> Iterator[Item]:
            """Index rows of executions begun in [since, until] (ns since the epoch), newest first.

            Raises StoreError.
            """

        def batches(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
            """The rows of `index` (items.Row), quickly: those of one hour and shard one by one.

            The newest hour comes first. What is in a row has not been looked at. Raises StoreError.
            """

        def glances(self, since_ns: int, until_ns: int) -> Iterator[list[StoredGlance]]:
            """What is counted of the rows of `batches` (glance.py), as far as it has been noted.

            Raises StoreError.
            """

        def unglanced(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
            """The rows of `batches` of which `glances` has nothing. Raises StoreError."""

        def close(self) -> None:
            """Release what the store holds."""

    class Destination(Protocol):
        """What executions are imported into."""

        last_error: str  # what went wrong in the latest `write`; "" if nothing did

        def write(self, items: Iterable[Item], deadline: float) -> int:
            """Write items until `deadline` (s, time.monotonic); how many were not written."""

        def close(self) -> None:
            """Release what it holds."""

    class Writer(Protocol):
        """The writing side, used by the agent. Nothing is opened before the first call."""

        last_error: str  # what went wrong in the latest `write`, one short line; "" if nothing did
        last_kind: str  # of what kind that was, a word or a name: equal for equal troubles
        left: list[Item]  # what the latest `write` did not write and might be written later
        retries: int  # attempts after the first
        write_units: float  # what DynamoDB says it consumed; 0 where nothing is metered

        @property
        def bytes_sent(self) -> int:
            """Bytes handed to the store so far, those of retries included."""

        def prepare(self, deadline: float) -> None:
            """Open what can be opened until `deadline` (s, time.monotonic), before it matters.

            Raises StoreError when nothing can be written here, in words for the user.
            """

        def write(self, items: Iterable[Item], deadline: float, along: Iterable[Item] = ()) -> int:
            """Write items until `deadline` (s, time.monotonic).

            Those `along` go with them: once the others are done, nobody waits for another attempt.
            Returns how many were not written; `left` are those worth another attempt, the others
            are refused for good. Never raises for a store that does not answer.
            """

        def close(self) -> None:
            """Release what the writer holds."""


class WithoutGlances:
    """A store that notes nothing beside its items: what is counted has to be read."""

    if TYPE_CHECKING:

        def batches(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
            """The rows that there are."""
            raise NotImplementedError

    def glances(self, since_ns: int, until_ns: int) -> Iterator[list[StoredGlance]]:
        """None: there are none."""
        del since_ns, until_ns
        return iter(())

    def unglanced(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """All rows of `batches`. Raises StoreError."""
        return self.batches(since_ns, until_ns)
