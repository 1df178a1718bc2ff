"""Executions on disk that the store did not take: a folder on /tmp, bounded, the oldest first.

One file an execution, its name being all that has to be known of it:
    MARK-TIME-EXECUTION-ITEMS.ltr
the CRC-32 of the store's name, when it was written (ns since the epoch, hexadecimal), the CRC-32
of the execution's id and start, how many items. Inside, after a mark and the CRC-32 of what
follows: the items, each with its lengths in front.

/tmp belongs to whoever runs there. The folder has to be a real one and this user's alone; a file
has to be regular, this user's, with one name, of a sane size, and what it says. Anything else is
left alone, and never followed, waited for or written into.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
import zlib

from lambdatrace.items import (
    CHUNK,
    INDEX,
    MAX_BODY_BYTES,
    REPORT,
    SCHEMA_VERSION,
    SUMMARY,
    Item,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.agent.outbox import Parcel

MAX_BYTES = 16_000_000
# Lists of more files than this are not even made: somebody else's folder, or a loop.
MAX_FILES = 20_000

_MAGIC = b"LTq1"
_HEAD = struct.Struct("<4sI")  # mark, CRC-32 of the rest
# Lengths of id and body, kind, schema, expiry, tie, start.
_ITEM = struct.Struct("<HIBBQQQ")
_KINDS = (SUMMARY, CHUNK, INDEX, REPORT)
_SUFFIX = ".ltr"
_TEMPORARY = ".part"
_ABANDONED_S = 60.0
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO with a file's name must not be waited for.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SpoolError(Exception):
    """The folder cannot be used; the message is one short line."""


class TooLargeError(SpoolError):
    """One execution is more than the folder may hold; others may still fit."""


class GoneError(SpoolError):
    """There is no such folder: it was never made, or somebody has cleared /tmp."""


class Spooled:
    """One file of the spool."""

    __slots__ = ("execution", "items", "name", "size")

    def __init__(self, name: str, size: int) -> None:
        _, _, self.execution, count = name[: -len(_SUFFIX)].split("-")
        self.name = name
        self.items = int(count)
        self.size = size


class Spool:
    """The files of one store. Nothing is opened or made before the first use.

    Parameters
    ----------
    path
        The folder; it is made if need be. Its parent has to be there.
    store
        What names the store: files of another one are left alone.
    max_bytes
        Of all files of this store together.
    """

    def __init__(self, path: str, store: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._mark = f"{zlib.crc32(store.encode('utf-8', 'replace')):08x}"
        self._max_bytes = max_bytes
        self._files: dict[str, Spooled] | None = None  # by name, which sorts by time
        self._size = 0
        self._latest = 0

    def __len__(self) -> int:
        """How many executions are known to wait here."""
        return len(self._files or ())

    def put(self, parcel: Parcel) -> list[Spooled]:
        """Write a parcel, in place of an earlier state of its execution.

        Returns what had to go for it. Raises SpoolError.
        """
        folder = self._open()
        try:
            files = self._listed(folder)
            self._forget(folder, files, parcel)
            data = encode(parcel.items)
            # Two in one nanosecond, or a clock that was set back, do not change the order.
            self._latest = max(self._latest + 1, time.time_ns())
            name = (
                f"{self._mark}-{self._latest:016x}-{_execution(parcel)}-{len(parcel.items)}"
                f"{_SUFFIX}"
            )
            added = Spooled(name, len(data))
            if len(data) > self._max_bytes:
                raise TooLargeError(f"an execution of {len(data)} bytes is more than it may hold")
            gone = []
            while self._size + len(data) > self._max_bytes:
                oldest = files[next(iter(files))]
                self._delete(folder, files, oldest)
                gone.append(oldest)
            self._write(folder, name, data)
            files[name] = added
            self._size += len(data)
            return gone
        except OSError as error:
            raise SpoolError(f"{self._path}: {error.strerror}") from error
        finally:
            os.close(folder)

    def forget(self, parcel: Parcel) -> None:
        """The store has the execution's latest state: an earlier one must not replace it."""
        if self._files is not None and not self._files:
            return  # the usual case
        try:
            folder = self._open(make=False)
        except GoneError:
            for file in self._of(self._known(), parcel):
                self._strike(self._known(), file)
            return
        except SpoolError:
            return
        try:
            self._forget(folder, self._listed(folder), parcel)
        except OSError:
            return
        finally:
            os.close(folder)

    def oldest(self, most: int) -> Iterator[tuple[Spooled, list[Item]]]:
        """At most so many files and what is in them, the oldest first.

        A file of ours that is gone, cannot be read, or does not hold what it says, comes without
        items.
        """
        if self._files is not None and not self._files:
            return
        try:
            folder = self._open(make=False)
        except GoneError:
            for file in list(self._known().values())[:most]:
                yield file, []
            return
        except SpoolError:
            return
        try:
            files = list(self._listed(folder).values())[:most]
            for file in files:
                yield file, self._read(folder, file)
        except OSError:
            return
        finally:
            os.close(folder)

    def remove(self, file: Spooled) -> None:
        """Delete a file: the store has what is in it, or it is of no use."""
        try:
            folder = self._open(make=False)
        except GoneError:
            self._strike(self._known(), file)
            return
        except SpoolError:
            return
        try:
            self._delete(folder, self._listed(folder), file)
        except OSError:
            return
        finally:
            os.close(folder)

    def _open(self, make: bool = True) -> int:
        """The folder's descriptor. Raises SpoolError if it is not a folder of this user alone."""
        try:
            try:
                folder = os.open(self._path, _FOLDER_FLAGS)
            except FileNotFoundError:
                if not make:
                    raise GoneError(f"{self._path}: it is not there") from None
                os.mkdir(self._path, 0o700)
                folder = os.open(self._path, _FOLDER_FLAGS)
        except OSError as error:
            what = error.strerror
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                what = "it is not a folder"
            raise SpoolError(f"{self._path}: {what}") from error
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            os.close(folder)
            raise SpoolError(f"{self._path}: it is not this user's alone")
        return folder

    def _known(self) -> dict[str, Spooled]:
        return {} if self._files is None else self._files

    def _listed(self, folder: int) -> dict[str, Spooled]:
        """What is there, looked up once: an agent before this one may have left something."""
        if self._files is not None:
            return self._files
        files = {}
        for number, name in enumerate(sorted(os.listdir(folder))):
            if number >= MAX_FILES:
                break
            if not _is_ours(name.removesuffix(_TEMPORARY), self._mark):
                continue
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                continue
            if not name.endswith(_TEMPORARY):
                files[name] = Spooled(name, status.st_size)
            elif abs(time.time() - status.st_mtime) > _ABANDONED_S:
                os.unlink(name, dir_fd=folder)  # who wrote it was killed
        self._files = files
        self._size = sum(file.size for file in files.values())
        return files

    def _forget(self, folder: int, files: dict[str, Spooled], parcel: Parcel) -> None:
        for file in self._of(files, parcel):
            self._delete(folder, files, file)

    @staticmethod
    def _of(files: dict[str, Spooled], parcel: Parcel) -> list[Spooled]:
        execution = _execution(parcel)
        return [each for each in files.values() if each.execution == execution]

    def _delete(self, folder: int, files: dict[str, Spooled], file: Spooled) -> None:
        self._strike(files, file)
        self._unlink(folder, file.name)

    def _strike(self, files: dict[str, Spooled], file: Spooled) -> None:
        if files.pop(file.name, None) is not None:
            self._size -= file.size

    @staticmethod
    def _unlink(folder: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:
            return

    def _write(self, folder: int, name: str, data: bytes) -> None:
        """All of the file or nothing: whoever is killed in between leaves no half of one."""
        temporary = f"{name}{_TEMPORARY}"
        try:
            fd = os.open(temporary, _WRITE_FLAGS, 0o600, dir_fd=folder)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            self._unlink(folder, temporary)
            raise

    def _read(self, folder: int, file: Spooled) -> list[Item]:
        try:
            fd = os.open(file.name, _READ_FLAGS, dir_fd=folder)
        except OSError:
            return []
        try:
            status = os.fstat(fd)
            proper = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
            if not proper or status.st_nlink != 1 or status.st_size > self._max_bytes:
                return []
            data = bytearray()
            while piece := os.read(fd, status.st_size + 1 - len(data)):
                data += piece
            return decode(bytes(data))
        except (OSError, ValueError):
            return []
        finally:
            os.close(fd)


def encode(items: list[Item]) -> bytes:
    """Items as the content of a file."""
    parts = []
    for item in items:
        name = item.execution_id.encode()
        parts += [
            _ITEM.pack(
                len(name), len(item.body), _KINDS.index(item.kind), item.schema, item.expires_at,
                item.tie, item.timestamp_nano,
            ),
            name,
            item.body,
        ]  # fmt: skip
    rest = b"".join(parts)
    return _HEAD.pack(_MAGIC, zlib.crc32(rest)) + rest


def decode(data: bytes) -> list[Item]:
    """The items in the content of a file. Raises ValueError on anything `encode` did not write."""
    if len(data) < _HEAD.size:
        raise ValueError("cut short")
    magic, checksum = _HEAD.unpack_from(data)
    if magic != _MAGIC or zlib.crc32(data[_HEAD.size :]) != checksum:
        raise ValueError("not one of ours, or damaged")
    items, at = [], _HEAD.size
    while at < len(data):
        if at + _ITEM.size > len(data):
            raise ValueError("cut short")
        names, body, kind, schema, expires_at, tie, timestamp = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if at + names + body > len(data) or body > 2 * MAX_BODY_BYTES:
            raise ValueError("cut short")
        if kind >= len(_KINDS) or not 1 <= schema <= SCHEMA_VERSION:
            raise ValueError("an item of a kind that is not known")
        execution_id = data[at : at + names].decode()
        at += names
        items.append(
            Item(
                execution_id, timestamp, tie, _KINDS[kind], data[at : at + body], expires_at, schema
            )
        )
        at += body
    return items


def _execution(parcel: Parcel) -> str:
    execution_id, started = parcel.execution
    return f"{zlib.crc32(f'{execution_id} {started}'.encode('utf-8', 'replace')):08x}"


def _is_ours(name: str, mark: str) -> bool:
    if not name.endswith(_SUFFIX):
        return False
    parts = name[: -len(_SUFFIX)].split("-")
    if len(parts) != 4 or parts[0] != mark:
        return False
    time_, execution, items = parts[1:]
    hexadecimal = all(character in "0123456789abcdef" for character in time_ + execution)
    return (
        hexadecimal
        and (len(time_), len(execution)) == (16, 8)
        and items.isascii()
        and items.isdigit()
        and len(items) <= 9
    )
