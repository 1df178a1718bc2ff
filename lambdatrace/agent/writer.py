"""Opens the store the agent writes to; only the engine that is used is imported."""

from __future__ import annotations

from lambdatrace.store import url as store_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.store.base import Writer


def open_writer(url: str | None, environ: Mapping[str, str]) -> Writer:
    """The writer for `url`; None or "": for the store the environment names.

    Nothing is opened or connected to before the first write, so that a process may fork in
    between. Raises UsageError for a URL that is none, StoreError without an AWS region.
    """
    target = store_url.parse(url or store_url.resolve(environ), environ)
    if target.engine == store_url.SQLITE:
        from lambdatrace.store.sqlite import SqliteStore

        return SqliteStore(target.path)
    from lambdatrace.agent.dynamodb import open_table

    return open_table(target, environ)
