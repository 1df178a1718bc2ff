"""`lambdatrace import`: exported executions into a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from lambdatrace.analysis.words import counted
from lambdatrace.cli.grouping import grouped
from lambdatrace.cli.options import Source, chosen_store
from lambdatrace.cli.reporting import raise_unreadable
from lambdatrace.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.cli.environment import Environment
    from lambdatrace.items import Item
    from lambdatrace.store.base import Destination

EXAMPLES = """
\b
Examples:
  lambdatrace import traces.jsonl
  lambdatrace import traces.jsonl --store sqlite:///tmp/incident.db
"""

# One write; the items of an execution, a few MB at most.
_WRITE_S = 60.0


@grouped
def import_(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Exports, jsonl or parquet.", show_default=False),
    ],
    *,
    source: Source,
) -> None:
    """Put exported executions into a store, as they were.

    What is there of them already is replaced. They do not expire. Executions that cannot be read
    are left out, and told.
    """
    from lambdatrace.export.stored import StoredExecution
    from lambdatrace.store import open_for_import
    from lambdatrace.store.file import execution_batches, open_items

    environment: Environment = context.obj
    target, profile = chosen_store(environment.environ, source)
    unreadable: list[StoreError] = []
    count = 0
    store = open_for_import(target, profile)
    try:
        for name in files:
            file = open_items(name)
            try:
                for items in execution_batches(file):
                    try:
                        stored = StoredExecution(items)
                    except StoreError as error:
                        unreadable.append(error)
                        continue
                    _write(store, stored.items)
                    count += 1
            finally:
                file.close()
    finally:
        store.close()
        environment.note(f"{counted(count, 'execution')} put into {target}")
    raise_unreadable(unreadable)


def _write(store: Destination, items: Sequence[Item]) -> None:
    if store.write(items, time.monotonic() + _WRITE_S):
        raise StoreError(f"not everything could be written: {store.last_error}", "try again")
