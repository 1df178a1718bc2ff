"""New executions as they arrive: `tail`, and `list --follow`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.lookup import recent
from lambdatrace.analysis.verdict import judge_summary
from lambdatrace.cli.options import Output, opened_store
from lambdatrace.errors import StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambdatrace.analysis.usual import Recent
    from lambdatrace.cli.environment import Environment
    from lambdatrace.cli.options import Display, Source
    from lambdatrace.items import Item
    from lambdatrace.model import Execution, Verdict
    from lambdatrace.store.base import Store

_S_NS = 1_000_000_000
EVERY_S = 1.0
# An execution is stored when it has ended, and that may be a while after it began: a function runs
# for 15 minutes at most, and the agent keeps what it has for one more. Most come soon.
_SOON_NS = 120 * _S_NS
_LATE_NS = (15 + 2) * 60 * _S_NS
_LATE_EVERY_S = 30.0
_DAY_NS = 24 * 3_600 * _S_NS
_MAX_PAUSE_S = 60.0


def follow_executions(
    environment: Environment,
    source: Source,
    display: Display,
    latest: int,
    fits: Callable[[Execution], bool],
) -> None:
    """Show the `latest` executions that fit, then new ones as they come, until interrupted.

    Raises UsageError, and StoreError if the store cannot be read at first; later it is waited for.
    """
    if display.output is Output.JSON:
        raise UsageError("what goes on has no end, and a JSON array needs one", "use jsonl or csv")
    with opened_store(environment, source, quiet=True) as opened:
        follower = Follower(opened, fits)
        now = environment.now_ns()
        show = _Printer(environment, display, recent(opened, now - _LATE_NS))
        there = follower.new(now, _LATE_NS)
        earlier = follower.before(now - _LATE_NS, latest - len(there))
        show.rows([*earlier, *there], latest, known=len(earlier))
        pause, since_late = EVERY_S, 0.0
        while True:
            environment.sleep(pause)
            since_late += pause
            is_late = since_late >= _LATE_EVERY_S
            try:
                found = follower.new(environment.now_ns(), _LATE_NS if is_late else _SOON_NS)
            except StoreError as error:
                pause = min(_MAX_PAUSE_S, 2 * pause)
                environment.warn(f"{error}; trying again in {pause:.0f} s")
                continue
            if pause > EVERY_S:
                environment.note("the store can be read again")
                # What has come meanwhile.
                found += follower.new(environment.now_ns(), _LATE_NS)
                pause = EVERY_S
            if is_late:
                since_late = 0.0
            for unreadable in follower.take_unreadable():
                environment.warn(str(unreadable))
            show.rows(found)


class Follower:
    """Knows which index rows it has seen."""

    def __init__(self, store: Store, fits: Callable[[Execution], bool]) -> None:
        self._store = store
        self._fits = fits
        self._seen: set[tuple[str, int, int]] = set()
        self._unreadable: list[StoreError] = []

    def new(self, now_ns: int, back_ns: int) -> list[Execution]:
        """Executions begun at most `back_ns` ago that have not been seen, the oldest first.

        Raises StoreError; what was seen before it is told the next time.
        """
        since = now_ns - back_ns
        found: list[Execution] = []
        fresh = [row for row in self._store.index(since, now_ns) if row.key not in self._seen]
        for row in reversed(fresh):
            self._seen.add(row.key)
            if (execution := self._read(row)) is not None:
                found.append(execution)
        if back_ns >= _LATE_NS:
            self._seen = {key for key in self._seen if key[1] >= since}
        return found

    def before(self, moment_ns: int, count: int) -> list[Execution]:
        """The latest `count` begun in the day before `moment_ns`, the oldest first.

        Raises StoreError.
        """
        found: list[Execution] = []
        for row in self._store.index(moment_ns - _DAY_NS, moment_ns - 1) if count > 0 else ():
            if (execution := self._read(row)) is not None:
                found.append(execution)
                if len(found) == count:
                    break
        return found[::-1]

    def _read(self, row: Item) -> Execution | None:
        from lambdatrace.analysis.summary import read_execution
        from lambdatrace.items import read_summary

        try:
            execution = read_execution(read_summary(row))
        except StoreError as error:
            self._unreadable.append(error)
            return None
        return execution if self._fits(execution) else None

    def take_unreadable(self) -> list[StoreError]:
        """What could not be read since the last time."""
        taken, self._unreadable = self._unreadable, []
        return taken


class _Printer:
    """Writes executions one after the other, in the form that was asked for."""

    def __init__(self, environment: Environment, display: Display, recent: Recent) -> None:
        self._environment = environment
        self._display = display
        self._recent = recent
        self._is_first = True

    def rows(self, found: Sequence[Execution], most: int | None = None, *, known: int = 0) -> None:
        """Write the last `most` of `found`; the first `known` of them are among the recent ones."""
        verdicts = []
        for number, one in enumerate(found):
            verdicts.append(judge_summary(one, self._recent.usual(one)))
            if number >= known:
                self._recent.add_newer(one)
        begin = 0 if most is None else max(0, len(found) - most)
        self._write(found[begin:], verdicts[begin:])

    def _write(self, found: Sequence[Execution], verdicts: Sequence[Verdict]) -> None:
        from lambdatrace.cli.output import write_csv, write_lines
        from lambdatrace.export import documents

        stream = self._environment.stdout
        if self._display.output is Output.TABLE:
            if found:
                from lambdatrace.cli.views.following import ExecutionLines

                lines = ExecutionLines(found, verdicts, is_first=self._is_first)
                self._environment.draw(lines, wide=self._display.wide)
                self._is_first = False
        elif self._display.output is Output.CSV:
            rows = map(documents.list_row, found)
            write_csv(rows, documents.LIST_CSV_FIELDS, stream, head=self._is_first)
            self._is_first = False
        else:
            write_lines(map(documents.list_document, found, verdicts), stream)
        stream.flush()
