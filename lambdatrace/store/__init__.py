"""Where executions are kept: one item schema, several engines."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.store.base import Destination, Store
    from lambdatrace.store.url import StoreUrl


def open_store(
    url: str | None = None, table: str | None = None, environ: Mapping[str, str] = os.environ
) -> Store:
    """The store to read from; only the engine that is used is imported.

    Parameters
    ----------
    url
        `sqlite:///path`, `sqlite://` (the default file) or `dynamodb://Table?region=&endpoint=`;
        None or "": what the environment names, else the default file.
    table
        A DynamoDB table, in the region and at the endpoint of the store, if it names them.

    Raises UsageError for a malformed or contradictory choice, StoreError when the store cannot be
    opened. Whether it is there shows when it is read.
    """
    from lambdatrace.store.url import choose

    return open_target(choose(url, table, environ))


def open_target(target: StoreUrl, profile: str | None = None) -> Store:
    """The store at `target`; `profile` is one of AWS's (None: what boto3 finds).

    Raises StoreError when it cannot be opened.
    """
    from lambdatrace.store.url import SQLITE

    if target.engine == SQLITE:
        from lambdatrace.store.sqlite import SqliteStore

        return SqliteStore(target.path)
    from lambdatrace.store.dynamodb import open_table

    return open_table(target, profile)


def open_for_import(target: StoreUrl, profile: str | None = None) -> Destination:
    """The store at `target`, to write to. Raises StoreError when it cannot be opened."""
    from lambdatrace.store.url import SQLITE

    if target.engine == SQLITE:
        from lambdatrace.store.sqlite import SqliteStore

        return SqliteStore(target.path)
    from lambdatrace.store.import_dynamodb import open_table_writer

    return open_table_writer(target, profile)
