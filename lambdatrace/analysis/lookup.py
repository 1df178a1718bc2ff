"""Finding executions: one by what was typed, or all of a window."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from lambdatrace import items as stored
from lambdatrace.analysis.skim import begins_with, duration_ns_of, function_of
from lambdatrace.analysis.summary import read_execution, summary_fields
from lambdatrace.analysis.usual import LOOKED_AT, MOST, Recent, is_telling
from lambdatrace.errors import CorruptItemError, NotFoundError, StoreError, UsageError
from lambdatrace.values import Value, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lambdatrace.analysis.times import Window
    from lambdatrace.items import Item
    from lambdatrace.model import Execution
    from lambdatrace.store.base import Store

T = TypeVar("T")
LATEST = "@latest"
SLOWEST = "@slowest"
_SHOWN_CANDIDATES = 5
# How far back is looked for what is usual.
_COMPARED_NS = 24 * 3_600_000_000_000
_LONGEST_ID = 500  # characters; DynamoDB takes 2048 bytes
_LIST_HINT = "see what there is: lambdatrace list --since 2d"


class WindowContents:
    """What the index has for a window."""

    __slots__ = ("destinations_left_out", "executions", "more", "recent", "unreadable")

    def __init__(self) -> None:
        self.executions: list[Execution] = []  # the newest first
        self.unreadable: list[StoreError] = []  # one for each row left out
        self.destinations_left_out = 0  # destinations for which the summaries had no room
        self.more = 0  # rows that were counted only
        self.recent = Recent()  # what is usual, as the newest LOOKED_AT rows have it

    def read(self, row: Item) -> None:
        """Take in one row of the index."""
        try:
            summary = stored.read_summary(row)
            execution = read_execution(summary)
            left_out = summary_fields(summary).integer("destinations_left_out")
        except StoreError as error:
            self.unreadable.append(error)
            return
        self.executions.append(execution)
        self.destinations_left_out += left_out


class Found(Value):
    """One execution's items."""

    items: list[Item]
    attempts: int  # executions with this id: Lambda retries asynchronous ones under the same
    # One for each row that could not be read and might be the @latest or the @slowest.
    left_out: Sequence[StoreError] = ()


def read_window(
    store: Store, window: Window, function: str | None = None, most: int | None = None
) -> WindowContents:
    """Every execution begun in `window`, of one function if it is given. Raises StoreError.

    Rows that cannot be read do not hide the others: they are kept apart. With `most` only so many
    are read, the newest; the others are counted.
    """
    contents = WindowContents()
    for row in _rows_of(store, window, function, contents):
        if most is not None and len(contents.executions) >= most:
            contents.more += 1
            continue
        contents.read(row)
    return contents


def read_slowest(store: Store, window: Window, function: str | None, most: int) -> WindowContents:
    """As `read_window`, of the `most` that took longest, the slowest first; the others are counted.

    Raises StoreError.
    """
    from heapq import heappush, heappushpop  # others need it not

    contents = WindowContents()
    slowest: list[tuple[int, int, Item]] = []
    for number, row in enumerate(_rows_of(store, window, function, contents)):
        try:
            # Of several that took as long the newest is first.
            entry = (duration_ns_of(row), -number, row)
        except StoreError as error:
            contents.unreadable.append(error)
            continue
        if len(slowest) < most:
            heappush(slowest, entry)
        else:
            heappushpop(slowest, entry)
            contents.more += 1
    for _, _, row in sorted(slowest, key=lambda entry: entry[:2], reverse=True):
        contents.read(row)
    return contents


def read_usual_and_slow(
    store: Store, window: Window, function: str | None
) -> tuple[list[Execution], list[Execution], WindowContents]:
    """(the usual ones, the slow ones, all that was read) of a window; as compare.py has them.

    The others are skimmed only. Raises NotFoundError where there are too few, StoreError.
    """
    contents = WindowContents()
    skimmed: list[tuple[int, Item]] = []
    for row in _rows_of(store, window, function, contents):
        try:
            skimmed.append((duration_ns_of(row), row))
        except StoreError as error:
            contents.unreadable.append(error)
    sides = told_apart(skimmed, lambda entry: entry[0], contents.unreadable)
    counts = [len(side) for side in sides]
    for _, row in (entry for side in sides for entry in side):
        contents.read(row)
    if len(contents.executions) == sum(counts):
        found = contents.executions
        return found[: counts[0]], found[counts[0] :], contents
    # Not all that could be skimmed could be read: who is in the middle is known when all are.
    contents = read_window(store, window, function)
    usual, slow = told_apart(contents.executions, lambda one: one.duration_ns, contents.unreadable)
    return usual, slow, contents


def told_apart(
    executions: Sequence[T], duration_ns: Callable[[T], int], unreadable: Sequence[StoreError]
) -> tuple[list[T], list[T]]:
    """As `compare.usual_and_slow`, of what could be read of a window.

    Raises NotFoundError where those are too few; the first error instead if there were others.
    """
    from lambdatrace.analysis.compare import usual_and_slow  # others need it not

    try:
        return usual_and_slow(executions, duration_ns)
    except NotFoundError:
        if unreadable:
            raise unreadable[0] from None
        raise


def _rows_of(
    store: Store, window: Window, function: str | None, contents: WindowContents
) -> Iterator[Item]:
    """The index rows of `window`, of one function if it is given, newest first.

    `contents` gets what is usual, and those of which the function cannot be told.
    """
    for number, row in enumerate(store.index(window.since_ns, window.until_ns)):
        if number < LOOKED_AT:
            contents.recent.add_older(row)
        else:
            contents.recent.is_cut = True
        try:
            if function is not None and function_of(row) != function:
                continue
        except StoreError as error:
            contents.unreadable.append(error)
            continue
        yield row


def recent(store: Store, until_ns: int, function: str | None = None) -> Recent:
    """What says what is usual at `until_ns`: the executions begun in the day before.

    Of a function that is called among many others, or seldom, there may be none: only so many rows
    of the index are looked at. Raises StoreError.
    """
    found = Recent(function)
    for number, row in enumerate(_rows_before(store, until_ns), 1):
        found.add_older(row)
        found.is_cut = number == LOOKED_AT
        if function is not None and found.has_enough(function):
            break
    return found


def compared_with(store: Store, execution: Execution) -> list[Execution]:
    """The executions that `recent` finds for `execution`, newest first. Raises StoreError."""
    found: list[Execution] = []
    for row in _rows_before(store, execution.started_at_ns):
        try:
            other = read_execution(stored.read_summary(row))
        except StoreError:
            continue
        if other.function == execution.function and is_telling(other):
            found.append(other)
        if len(found) == MOST:
            break
    return found


def _rows_before(store: Store, until_ns: int) -> Iterator[Item]:
    """The index rows that are looked at for what is usual at `until_ns`, newest first."""
    return islice(store.index(max(0, until_ns - _COMPARED_NS), until_ns - 1), LOOKED_AT)


def everything(_: Execution) -> bool:
    """The filter that every execution passes."""
    return True


def find(
    store: Store,
    wanted: str,
    window: Window,
    function: str | None = None,
    fits: Callable[[Execution], bool] = everything,
) -> Found:
    """The execution with the id `wanted`; else the one whose id begins so; else a special one.

    `@latest` and `@slowest`, and a prefix, are looked for among the executions begun in `window`
    (of `function`, if given) that `fits` takes; an exact id is found wherever it is. Of several
    executions with one id, the latest is taken. Raises UsageError (ambiguous), NotFoundError,
    StoreError.
    """
    if items := _exactly(store, wanted):
        return _attempt(items, wanted)
    chosen, left_out = _choose(store, wanted, window, function, fits)
    items = store.get(chosen.execution_id)
    if not items:
        raise CorruptItemError(
            f"the index names execution {chosen.execution_id!r}, but the store does not have it",
            "its time to live may have just passed; look at another one: lambdatrace list",
        )
    found = _attempt(items, chosen.execution_id, chosen.started_at_ns)
    return replaced(found, left_out=left_out)


def find_execution(
    store: Store,
    wanted: str,
    window: Window,
    function: str | None = None,
    fits: Callable[[Execution], bool] = everything,
) -> Execution:
    """As `find`, but only what its row in the index says: with destinations, without records."""
    items = _exactly(store, wanted)
    if not items:
        return _choose(store, wanted, window, function, fits)[0]
    started = _attempt(items, wanted).items[0].timestamp_nano
    for row in store.index(started, started):
        try:
            execution = read_execution(stored.read_summary(row))
        except StoreError:
            continue  # it may be another one's
        if execution.execution_id == wanted:
            return execution
    raise CorruptItemError(
        f"execution {wanted!r} is not in the index", f"look at it alone: lambdatrace show {wanted}"
    )


def _exactly(store: Store, wanted: str) -> list[Item]:
    """The items of the execution with this very id, if there is one.

    Raises UsageError and NotFoundError for what cannot be one.
    """
    if not wanted.strip():
        raise UsageError("an execution's id is empty", _LIST_HINT)
    if not wanted.isprintable() or len(wanted) > _LONGEST_ID:
        raise NotFoundError(f"{wanted!r} cannot be the id of an execution", _LIST_HINT)
    # A name or a row of the index would be found in the store, but is no execution.
    return [] if wanted.startswith(("@", stored.INDEX_PREFIX)) else store.get(wanted)


def _attempt(items: list[Item], execution_id: str, started_ns: int | None = None) -> Found:
    """The items of the execution begun at `started_ns`, or of the latest."""
    starts = sorted(item.timestamp_nano for item in items if item.kind == stored.SUMMARY)
    if not starts:
        raise CorruptItemError(
            f"execution {execution_id!r} has no summary",
            "it may still be running, or its agent was stopped before it could write one",
        )
    start = started_ns if started_ns in starts else starts[-1]
    return Found([item for item in items if item.timestamp_nano == start], len(starts))


def _choose(
    store: Store,
    wanted: str,
    window: Window,
    function: str | None,
    fits: Callable[[Execution], bool],
) -> tuple[Execution, Sequence[StoreError]]:
    """The execution, and what may be another one that would have been chosen."""
    if wanted == LATEST:
        return _latest(store, window, function, fits)
    if wanted.startswith("@") and wanted != SLOWEST:
        raise UsageError(
            f"{wanted!r} is not known", f"use an id, the beginning of one, {LATEST} or {SLOWEST}"
        )
    if wanted == SLOWEST:
        return _slowest(store, window, function, fits)
    found: list[Execution] = []
    unreadable: list[StoreError] = []
    for row in _rows(store, window):
        try:
            if not begins_with(row, wanted):
                continue
            one = read_execution(stored.read_summary(row))
        except StoreError as error:
            unreadable.append(error)
            continue
        if (function is None or one.function == function) and fits(one):
            found.append(one)
    ids = list(dict.fromkeys(one.execution_id for one in found))
    if not ids:
        if unreadable:
            raise unreadable[0]
        raise NotFoundError(
            f"no execution has the id {wanted!r}, and none in the window searched begins with it",
            f"widen the window with --since, or {_LIST_HINT}",
        )
    if len(ids) > 1:
        shown = ", ".join(ids[:_SHOWN_CANDIDATES])
        more = f" and {len(ids) - _SHOWN_CANDIDATES} more" if len(ids) > _SHOWN_CANDIDATES else ""
        raise UsageError(
            f"{len(ids)} executions begin with {wanted!r}: {shown}{more}", "type more of the id"
        )
    return found[0], ()


def _latest(
    store: Store,
    window: Window,
    function: str | None,
    fits: Callable[[Execution], bool],
) -> tuple[Execution, Sequence[StoreError]]:
    """The newest execution, and newer ones that cannot be read; reads no further than it has to."""
    unreadable: list[StoreError] = []
    for row in _rows(store, window):
        try:
            execution = read_execution(stored.read_summary(row))
        except StoreError as error:
            unreadable.append(error)
            continue
        if (function is None or execution.function == function) and fits(execution):
            return execution, unreadable
    raise _nothing(LATEST, function, unreadable)


def _slowest(
    store: Store,
    window: Window,
    function: str | None,
    fits: Callable[[Execution], bool],
) -> tuple[Execution, Sequence[StoreError]]:
    """The one that took longest, of several the newest; reads no other than it has to.

    And those that cannot be read.
    """
    found: Execution | None = None
    unreadable: list[StoreError] = []
    for row in _rows(store, window):
        try:
            if found is not None and duration_ns_of(row) <= found.duration_ns:
                continue
            if function is not None and function_of(row) != function:
                continue
            one = read_execution(stored.read_summary(row))
        except StoreError as error:
            unreadable.append(error)
            continue
        if fits(one):
            found = one
    if found is None:
        raise _nothing(SLOWEST, function, unreadable)
    return found, unreadable


def _rows(store: Store, window: Window) -> Iterator[Item]:
    return iter(store.index(window.since_ns, window.until_ns))


def _nothing(
    wanted: str, function: str | None, unreadable: list[StoreError]
) -> StoreError | NotFoundError:
    if unreadable:
        return unreadable[0]
    of = f" of function {function!r}" if function else ""
    return NotFoundError(
        f"{wanted}: no execution{of} in the window searched",
        "widen the window with --since, as in --since 7d",
    )
