"""The local store: the same items in one SQLite file, read and written by this one class.

Several processes may write at once (the emulator's agent and a `run`): WAL mode, short
transactions, and a busy database is tried again until the deadline.

The agent imports this module at cold start: standard library only.
"""

from __future__ import annotations

import os
import sqlite3
import time

from lambdatrace.errors import StoreError
from lambdatrace.glance import glance_of
from lambdatrace.items import INDEX, INDEX_SHARDS, index_bucket, item_of, item_or_refused, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from lambdatrace.glance import StoredGlance
    from lambdatrace.items import Item, Row

_CREATE = (
    """CREATE TABLE IF NOT EXISTS items(
        execution_id TEXT, timestamp_nano INTEGER, tie INTEGER, kind TEXT, schema INTEGER,
        expires_at INTEGER, body BLOB, PRIMARY KEY(execution_id, timestamp_nano, tie)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS items_expiry ON items(expires_at)",
)
_INSERT = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?)"
# Beside each index row what is counted of it (glance.py), by time. What other versions write, which
# know nothing of this, has a row as well, without a function: the index row is to be read.
_CREATE_GLANCES = (
    """CREATE TABLE glances(
        timestamp_nano INTEGER, execution_id TEXT, tie INTEGER, expires_at INTEGER,
        function TEXT, status TEXT, cold_start INTEGER, taken BLOB, left_out INTEGER,
        shapes TEXT, figures BLOB, PRIMARY KEY(timestamp_nano, execution_id, tie)
    ) WITHOUT ROWID""",
    """CREATE TRIGGER items_written AFTER INSERT ON items WHEN new.kind = 'index' BEGIN
        INSERT OR REPLACE INTO glances(timestamp_nano, execution_id, tie, expires_at)
        VALUES (new.timestamp_nano, new.execution_id, new.tie, new.expires_at); END""",
    """CREATE TRIGGER items_deleted AFTER DELETE ON items WHEN old.kind = 'index' BEGIN
        DELETE FROM glances WHERE timestamp_nano = old.timestamp_nano
        AND execution_id = old.execution_id AND tie = old.tie; END""",
    # All index rows are in buckets: the others need not be gone through.
    """INSERT INTO glances(timestamp_nano, execution_id, tie, expires_at)
        SELECT timestamp_nano, execution_id, tie, expires_at FROM items
        WHERE execution_id BETWEEN 'idx#' AND 'idx$' AND kind = 'index'""",
)
_INSERT_GLANCE = "INSERT OR REPLACE INTO glances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# What DynamoDB does by TTL; a little with each write, so that no write takes long.
_FORGET = """DELETE FROM items WHERE (execution_id, timestamp_nano, tie) IN (
    SELECT execution_id, timestamp_nano, tie FROM items
    WHERE expires_at BETWEEN 1 AND ? LIMIT 100)"""
_ALIVE = "(expires_at = 0 OR expires_at > :now)"
SELECT_EXECUTION = f"""SELECT * FROM items WHERE execution_id = :id AND {_ALIVE}
    ORDER BY timestamp_nano, tie"""  # noqa: S608
SELECT_NEWEST_BUCKET = """SELECT execution_id FROM items WHERE execution_id BETWEEN :first AND :last
    ORDER BY execution_id DESC LIMIT 1"""
SELECT_BUCKET = f"""SELECT * FROM items WHERE execution_id = :id
    AND timestamp_nano BETWEEN :since AND :until AND {_ALIVE}
    ORDER BY timestamp_nano DESC, tie DESC"""  # noqa: S608
# SQLite keeps whatever type it is given: a glance is one with the right ones only.
_GLANCED = """(typeof(function) = 'text' AND typeof(status) = 'text'
    AND typeof(cold_start) = 'integer' AND typeof(taken) = 'blob'
    AND typeof(left_out) = 'integer' AND typeof(shapes) = 'text' AND typeof(figures) = 'blob')"""
SELECT_INDEX = """SELECT items.*, function, status, taken
    FROM glances JOIN items USING (execution_id, timestamp_nano, tie)
    WHERE glances.timestamp_nano BETWEEN :since AND :until
    AND (items.expires_at = 0 OR items.expires_at > :now)
    ORDER BY glances.timestamp_nano DESC, glances.tie DESC"""
SELECT_GLANCES = f"""SELECT timestamp_nano, function, status, cold_start, taken, left_out, shapes,
    figures FROM glances WHERE timestamp_nano BETWEEN :since AND :until AND {_ALIVE}
    AND {_GLANCED} ORDER BY timestamp_nano DESC"""  # noqa: S608
SELECT_UNGLANCED = f"""SELECT * FROM items WHERE (execution_id, timestamp_nano, tie) IN (
    SELECT execution_id, timestamp_nano, tie FROM glances
    WHERE timestamp_nano BETWEEN :since AND :until AND NOT {_GLANCED}) AND {_ALIVE}"""  # noqa: S608

# SQLite's primary result codes (sqlite.org/rescode.html); extended ones are them plus n * 256.
_SQLITE_BUSY = 5
_SQLITE_LOCKED = 6
_SQLITE_READONLY = 8
_SQLITE_CORRUPT = 11
_SQLITE_FULL = 13
_SQLITE_CANTOPEN = 14
_SQLITE_NOTADB = 26

_READ_BUSY_TIMEOUT = 5.0  # s
_BUSY_PAUSE = 0.01  # s
# Rows that are handed out at a time: some 100 kB.
_ROWS = 250
_MAX_INTEGER = 2**63 - 1


class SqliteStore:
    """Items in one file. Opened on first use; reading never creates it, writing does.

    Attributes
    ----------
    retries : int
        Transactions tried again because another process was writing.
    bytes_sent : int
        Bytes of all bodies written.
    write_units : float
        0: nothing is metered here.
    last_error : str
        Why the latest `write` failed, in one line; "" if it did not.
    last_kind : str
        `unwritable`, or `inexpressible` where it was for what was to be written.
    left : list[Item]
        What the latest `write` did not write and might be written later.
    """

    def __init__(self, path: str, now: Callable[[], float] = time.time) -> None:
        self.retries = 0
        self.bytes_sent = 0
        self.write_units = 0.0
        self.last_error = ""
        self.last_kind = ""
        self.left: list[Item] = []
        self._path = path
        self._now = now
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def get(self, execution_id: str) -> list[Item]:
        """Every item of one execution by key; empty if there is none. Raises StoreError."""
        return list(map(item_of, self._rows(SELECT_EXECUTION, id=execution_id)))

    def index(self, since_ns: int, until_ns: int) -> Iterator[Item]:
        """Index rows of executions begun in [since, until] (ns since the epoch), newest first.

        Raises StoreError.
        """
        since, until = max(0, since_ns), min(until_ns, _MAX_INTEGER)
        if not self._keeps_glances():
            yield from self._merged_index(since, until)
            return
        for row in self._rows(SELECT_INDEX, since=since, until=until):
            item = item_or_refused(row[:-3])
            function, status, taken = row[-3:]
            if type(function) is type(status) is str and type(taken) is bytes:
                item.glance = function, status, taken
            yield item

    def _merged_index(self, since: int, until: int) -> Iterator[Item]:
        """The same from the index itself, which is kept by hours and shards.

        Goes from one bucket that exists to the next, so empty hours cost nothing.
        """
        import heapq  # the agent never reads

        for hour in self._hours(since, until):
            shards = [
                self._items(SELECT_BUCKET, id=f"{hour}#{shard}", since=since, until=until)
                for shard in range(INDEX_SHARDS)
            ]
            yield from heapq.merge(
                *shards, key=lambda item: (item.timestamp_nano, item.tie), reverse=True
            )

    def batches(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """The rows of `index` (items.Row), quickly: those of one hour and shard one by one.

        The newest hour comes first. What is in a row has not been looked at. Raises StoreError.
        """
        since, until = max(0, since_ns), min(until_ns, _MAX_INTEGER)
        for hour in self._hours(since, until):
            for shard in range(INDEX_SHARDS):
                name = f"{hour}#{shard}"
                yield from self._batches(SELECT_BUCKET, id=name, since=since, until=until)

    def glances(self, since_ns: int, until_ns: int) -> Iterator[list[StoredGlance]]:
        """What is counted of the rows of `batches`, as far as it has been noted, newest first.

        Raises StoreError.
        """
        since, until = max(0, since_ns), min(until_ns, _MAX_INTEGER)
        if self._keeps_glances():
            yield from self._batches(SELECT_GLANCES, since=since, until=until)

    def unglanced(self, since_ns: int, until_ns: int) -> Iterator[list[Row]]:
        """The rows of `batches` of which `glances` has nothing. Raises StoreError."""
        since, until = max(0, since_ns), min(until_ns, _MAX_INTEGER)
        if self._keeps_glances():
            yield from self._batches(SELECT_UNGLANCED, since=since, until=until)
        else:
            yield from self.batches(since_ns, until_ns)

    def _keeps_glances(self) -> bool:
        """Whether there are any; without, the file was last written by an older version."""
        try:
            return "glances" in _tables(self._reading())
        except sqlite3.Error as error:
            raise _explained(error, self._path, "read") from error

    def _hours(self, since: int, until: int) -> Iterator[str]:
        """The hours with index rows, as these are named, the newest first."""
        first = index_bucket(since, 0)
        last = index_bucket(until, INDEX_SHARDS - 1)
        while since <= until and (
            rows := list(self._rows(SELECT_NEWEST_BUCKET, first=first, last=last))
        ):
            # Sorts before every shard of that hour.
            last = str(rows[0][0]).rpartition("#")[0]
            yield last
            if last < first:
                return

    def prepare(self, deadline: float) -> None:
        """Create the file if need be. Raises StoreError if nothing can be written to it.

        `deadline` is in s on `time.monotonic`.
        """
        self._transact([], [], deadline)

    def write(self, items: Iterable[Item], deadline: float, along: Iterable[Item] = ()) -> int:
        """Write all items, and those `along`, or none until `deadline` (s, time.monotonic).

        Returns how many were not written; `last_error` then says why.
        """
        items = [*items, *along]
        self.left = []
        self.last_error = self.last_kind = ""
        rows = [row_of(item) for item in items]
        glances = [
            (item.timestamp_nano, item.execution_id, item.tie, item.expires_at, *glance)
            for item in items
            if item.kind == INDEX and (glance := glance_of(item)) is not None
        ]
        try:
            self._transact(rows, glances, deadline)
        except StoreError as error:
            self.last_error = error.message
            self.last_kind = "unwritable"
            if isinstance(error.__cause__, (OverflowError, UnicodeEncodeError)):
                self.last_kind = "inexpressible"
            else:
                self.left = items
            return len(rows)
        self.bytes_sent += sum(len(row[-1]) for row in rows)
        return 0

    def close(self) -> None:
        """Close the file."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    def _transact(
        self, rows: list[tuple[Any, ...]], glances: list[tuple[Any, ...]], deadline: float
    ) -> None:
        while True:
            try:
                connection = self._writing(deadline)
                _limit_waiting(connection, deadline - time.monotonic())
                connection.execute("BEGIN IMMEDIATE")
                try:
                    connection.execute(_FORGET, (int(self._now()),))
                    connection.executemany(_INSERT, rows)
                    connection.executemany(_INSERT_GLANCE, glances)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                if _is_busy(error) and time.monotonic() < deadline:
                    self.retries += 1
                    time.sleep(_BUSY_PAUSE)
                    continue
                self.close()
                raise _explained(error, self._path, "written") from error
            except (OverflowError, UnicodeEncodeError) as error:
                raise StoreError(f"an item cannot be written: {error}") from error
            return

    def _writing(self, deadline: float) -> sqlite3.Connection:
        if self._writer is not None:
            return self._writer
        folder = os.path.dirname(self._path)  # pathlib is not free
        try:
            if folder:
                os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot create the folder of the store {self._path}: {error.strerror}",
                "name another file: --store sqlite:///path/to/file.db",
            ) from error
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            _limit_waiting(connection, deadline - time.monotonic())
            connection.execute("PRAGMA journal_mode=WAL")
            # Survives the end of any process; only a power cut may cost the latest executions.
            connection.execute("PRAGMA synchronous=NORMAL")
            for statement in _CREATE:
                connection.execute(statement)
            if "glances" not in _tables(connection):
                connection.execute("BEGIN IMMEDIATE")
                # Unless another process was first.
                for statement in () if "glances" in _tables(connection) else _CREATE_GLANCES:
                    connection.execute(statement)
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        return connection

    def _reading(self) -> sqlite3.Connection:
        if self._writer is not None:
            return self._writer
        if self._reader is not None:
            return self._reader
        if not os.path.exists(self._path):
            raise _missing(self._path)
        folder = os.path.dirname(self._path) or "."
        if os.access(self._path, os.W_OK) and os.access(folder, os.W_OK):
            mode = "mode=rw"
        elif os.path.exists(f"{self._path}-wal"):
            mode = "mode=ro"
        else:  # somebody else's: without a log beside it the file is complete as it is
            mode = "mode=ro&immutable=1"
        escaped = self._path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        connection = sqlite3.connect(
            f"file:{escaped}?{mode}", uri=True, timeout=_READ_BUSY_TIMEOUT, isolation_level=None
        )
        try:
            tables = _tables(connection)
        except BaseException:
            connection.close()
            raise
        if "items" not in tables:
            connection.close()
            if tables:
                raise StoreError(
                    f"{self._path} is a database, but not one of lambdatrace",
                    "name another file: --store sqlite:///path/to/file.db",
                )
            raise _missing(self._path)
        self._reader = connection
        return connection

    def _rows(self, sql: str, **values: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._reading().execute(sql, {"now": int(self._now()), **values})
        except sqlite3.Error as error:
            raise _explained(error, self._path, "read") from error

    def _batches(self, sql: str, **values: object) -> Iterator[list[Any]]:
        try:
            cursor = self._reading().execute(sql, {"now": int(self._now()), **values})
            while rows := cursor.fetchmany(_ROWS):
                yield rows
        except sqlite3.Error as error:
            raise _explained(error, self._path, "read") from error

    def _items(self, sql: str, **values: object) -> Iterator[Item]:
        for row in self._rows(sql, **values):
            # SQLite keeps whatever type it is given, so a column's type says nothing.
            yield item_or_refused(row)


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]


def _limit_waiting(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout={int(min(max(0.0, seconds), 60.0) * 1000)}")


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (_SQLITE_BUSY, _SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _missing(path: str) -> StoreError:
    return StoreError(
        f"there is no store at {path} yet", "record something first: lambdatrace run -- CMD"
    )


def _explained(error: sqlite3.Error, path: str, done: str) -> StoreError:
    code = _code(error)
    another = "name another file: --store sqlite:///path/to/file.db"
    if code == _SQLITE_NOTADB:
        return StoreError(f"{path} is not an SQLite database", another)
    if code == _SQLITE_CORRUPT:
        return StoreError(
            f"the store {path} is damaged: {error}",
            f"move it away, or save what can be read: sqlite3 {path} .recover",
        )
    if code in (_SQLITE_CANTOPEN, _SQLITE_READONLY):
        return StoreError(
            f"the store {path} cannot be {done}: {error}",
            f"check the permissions of the file and its folder, or {another}",
        )
    if code == _SQLITE_FULL:
        return StoreError(f"the store {path} cannot be {done}: no space left", "free some space")
    if _is_busy(error):
        return StoreError(
            f"the store {path} cannot be {done}: another process keeps it locked",
            "try again when it has finished",
        )
    return StoreError(f"the store {path} cannot be {done}: {error}", another)
