"""What a shell offers at TAB: ids, functions and tables. Quick or nothing, and never a word of it.

The store is asked in a process of its own, which is ended when it takes too long.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer  # which looks at what functions take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Longer than this nobody waits for a TAB.
LIMIT_S = 1.0
_MOST = 50
_MAX_BYTES = 65_536
_SAFE = r"[\w.@:/+-]+"
_SELECTORS = ("@latest", "@slowest")


def complete_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the latest day, and the selectors."""
    found = _quickly(lambda: (one["execution_id"] for one in _summaries(context)), incomplete)
    return _fitting([*_SELECTORS, *found], incomplete)


def complete_functions(context: typer.Context, incomplete: str) -> list[str]:
    """Functions of the latest day."""
    found = _quickly(lambda: (one["function"] for one in _summaries(context)), incomplete)
    return _fitting(found, incomplete)


def complete_tables(context: typer.Context, incomplete: str) -> list[str]:
    """DynamoDB's tables in the region that is meant."""
    return _fitting(_quickly(lambda: _tables(context), incomplete), incomplete)


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    # A shell would take what else there is for a word's end, or worse: zsh evaluates it.
    safe = (name for name in dict.fromkeys(names) if re.fullmatch(_SAFE, name))
    return [name for name in safe if name.startswith(incomplete)][:_MOST]


def _summaries(context: typer.Context) -> Iterable[dict[str, Any]]:
    """Summaries of the latest day, the newest first."""
    import os
    import time

    from lambdatrace.analysis.times import parse_window
    from lambdatrace.cli.options import DEFAULT_SINCE, chosen_store
    from lambdatrace.errors import StoreError
    from lambdatrace.items import read_summary
    from lambdatrace.store import open_target

    window = parse_window(DEFAULT_SINCE, None, time.time_ns())
    store = open_target(*chosen_store(os.environ, _source(context)))
    for row in store.index(window.since_ns, window.until_ns):
        try:
            summary = read_summary(row)
        except StoreError:
            continue  # `list` tells of rows that cannot be read
        if {"execution_id", "function"} <= summary.keys():
            yield summary


def _tables(context: typer.Context) -> Iterable[str]:
    import os

    from lambdatrace.cli.options import chosen_store
    from lambdatrace.store.dynamodb import connect
    from lambdatrace.store.url import DYNAMODB, StoreUrl

    source = _source(context)
    url, profile = chosen_store(os.environ, source)
    if url.engine != DYNAMODB:
        url = StoreUrl(DYNAMODB, table="any", region=source.region)
    return connect(url, profile=profile).list_tables()["TableNames"]


def _source(context: typer.Context) -> Any:
    """What has been typed so far of the store."""
    from lambdatrace.cli.options import Source

    names = ("store", "table", "profile", "region")
    return Source(**{name: context.params.get(name) for name in names})


def _quickly(names: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    """What `names` gives within LIMIT_S that begins with `incomplete`; nothing where it fails."""
    import os
    import select
    import signal
    import time

    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        _write_names(names, incomplete, write_end)
    os.close(write_end)
    deadline = time.monotonic() + LIMIT_S
    data = b""
    while len(data) < _MAX_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([read_end], [], [], left)[0]:
            break
        piece = os.read(read_end, _MAX_BYTES)
        if not piece:
            break
        data += piece
    os.close(read_end)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return data.decode("utf-8", "replace").split("\n")[:-1]


def _write_names(names: Callable[[], Iterable[str]], incomplete: str, write_end: int) -> None:
    """In the child: a line for each, as they come; then it is gone."""
    import os

    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        seen: set[str] = set()
        for name in names():
            if name not in seen and name.isprintable() and name.startswith(incomplete):
                seen.add(name)
                os.write(write_end, f"{name}\n".encode("utf-8", "replace"))
    finally:
        os._exit(0)
