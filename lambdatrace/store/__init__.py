"""Where executions are kept: one item schema, several engines."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.store.base import Store


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
    from lambdatrace.errors import UsageError
    from lambdatrace.store import url as store_url

    target = store_url.parse(url or store_url.resolve(environ), environ)
    if table:
        if url and target.engine == store_url.SQLITE:
            raise UsageError(
                f"--table {table} is a DynamoDB table, --store {url} is not DynamoDB",
                "leave one of them out",
            )
        target = store_url.with_table(target, table)
    if target.engine == store_url.SQLITE:
        from lambdatrace.store.sqlite import SqliteStore

        return SqliteStore(target.path)
    from lambdatrace.store.dynamodb import open_table

    return open_table(target)
