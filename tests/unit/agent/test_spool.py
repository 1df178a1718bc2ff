"""The spool on a real file system, with whatever else may lie there."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NEVER, START_NS
from support import require

from lambdatrace.agent import spool as spools
from lambdatrace.agent.outbox import Parcel
from lambdatrace.agent.spool import Spool, SpoolError, decode, encode
from lambdatrace.items import CHUNK, INDEX, SUMMARY, Item

if TYPE_CHECKING:
    from collections.abc import Callable


def parcel(name: str, size: int = 100, started: int = START_NS, count: int = 2) -> Parcel:
    items = [Item(name, started, n, CHUNK, os.urandom(size), NEVER) for n in range(count)]
    return Parcel((name, started), items)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def names(spool: Spool) -> list[str]:
    """Executions that can be read, the oldest first; "" for those that cannot."""
    return [items[0].execution_id if items else "" for _, items in spool.oldest(1_000)]


def test_what_is_put_in_comes_out_oldest_first_also_for_another_process(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    parcels = [parcel(name) for name in "cab"]
    for each in parcels:
        assert spool.put(each) == []
    assert len(spool) == 3
    for reader in (spool, Spool(str(folder), "store")):
        found = list(reader.oldest(10))
        assert [items for _, items in found] == [each.items for each in parcels]
        assert [file.items for file, _ in found] == [2, 2, 2]
    assert names(Spool(str(folder), "store"))[:1] == ["c"]


def test_nobody_else_may_look(folder: Path) -> None:
    before = os.umask(0)
    try:
        Spool(str(folder), "store").put(parcel("a"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_later_state_replaces_an_earlier_one(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    for each in (parcel("a", 10), parcel("b"), parcel("a", 20, count=3)):
        assert spool.put(each) == []
    assert [(file.items, items[0].execution_id) for file, items in spool.oldest(9)] == [
        (2, "b"), (3, "a"),
    ]  # fmt: skip
    # And what the store has got is not there any more; another attempt under this id is.
    spool.put(parcel("a", started=START_NS + 1))
    Spool(str(folder), "store").forget(parcel("a"))
    found = list(Spool(str(folder), "store").oldest(9))
    assert [items[0].timestamp_nano for _, items in found] == [START_NS, START_NS + 1]


def test_what_the_bound_pushes_out_is_told(folder: Path) -> None:
    spool = Spool(str(folder), "store", max_bytes=1_000)
    gone = [file.items for name in "abcdef" for file in spool.put(parcel(name, 100))]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 1_000
    assert names(spool) == ["d", "e", "f"]
    assert gone == [2, 2, 2]
    with pytest.raises(SpoolError, match="more than it may hold"):
        spool.put(parcel("g", 2_000))
    assert names(spool) == ["d", "e", "f"]


def test_what_another_process_left_counts(folder: Path) -> None:
    Spool(str(folder), "store", max_bytes=1_000).put(parcel("a", 300))
    assert len(Spool(str(folder), "store", max_bytes=1_000).put(parcel("b", 300))) == 1


def test_executions_of_another_store_are_left_alone(folder: Path) -> None:
    Spool(str(folder), "one").put(parcel("a"))
    other = Spool(str(folder), "other", max_bytes=1)
    assert names(other) == []
    with pytest.raises(SpoolError):
        other.put(parcel("b"))
    assert names(Spool(str(folder), "one")) == ["a"]


def test_a_clock_that_is_set_back_changes_no_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(str(folder), "store")
    for name, moment in (("a", 500), ("b", 400), ("c", 400)):
        monkeypatch.setattr(spools.time, "time_ns", lambda moment=moment: moment)
        spool.put(parcel(name))
    assert names(spool) == ["a", "b", "c"]


def test_removed_is_removed(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    spool.put(parcel("a"))
    ((file, _),) = spool.oldest(5)
    for _ in range(2):
        spool.remove(file)
        assert list(folder.iterdir()) == []
        assert len(spool) == 0


def test_a_folder_that_is_gone(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    for name in "abc":
        spool.put(parcel(name))
    shutil.rmtree(folder)
    # Superseded, and nobody's loss.
    spool.forget(parcel("b"))
    assert names(spool) == ["", ""]
    for file, _ in list(spool.oldest(10)):
        spool.remove(file)
    assert (len(spool), list(spool.oldest(10))) == (0, [])
    spool.put(parcel("d"))
    assert names(spool) == ["d"]


def test_reading_makes_no_folder(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    assert list(spool.oldest(5)) == []
    spool.forget(parcel("a"))
    assert not folder.exists()


def as_symlink(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def as_other_name(path: Path) -> None:
    os.link(path.parent / "elsewhere", path)


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)
        server.bind(path.name)


@pytest.mark.parametrize(
    "put",
    [
        as_symlink,
        as_other_name,
        os.mkfifo,
        Path.mkdir,
        as_socket,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(500)),
        lambda path: path.write_bytes(b"LTq1" + bytes(4)),
    ],
)
def test_whatever_has_the_name_of_a_file_is_not_followed_waited_for_or_believed(
    folder: Path, put: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    spool = Spool(str(folder), "store")
    spool.put(parcel("a"))
    (good,) = folder.iterdir()
    elsewhere = folder / "elsewhere"
    elsewhere.write_bytes(good.read_bytes())
    put(folder / good.name.replace("-2.ltr", "-3.ltr"))
    fresh = Spool(str(folder), "store")
    assert names(fresh) in (["a"], ["a", ""])
    for file, _ in list(fresh.oldest(9)):
        fresh.remove(file)
    assert elsewhere.read_bytes()
    assert names(fresh) == []


def test_foreign_files_stay_as_they_are(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    spool.put(parcel("a"))
    (own,) = folder.iterdir()
    mark = own.name[:8]
    foreign = ["notes.txt", f"{mark}-x-y-2.ltr", f"{mark}-1-2.ltr", "-.ltr", ".ltr.part",
               f"{mark}-{'0' * 16}-{'0' * 8}-٣.ltr", own.name + ".bak"]  # fmt: skip
    for name in foreign:
        (folder / name).write_bytes(b"mine")
    fresh = Spool(str(folder), "store", max_bytes=600)
    assert names(fresh) == ["a"]
    for _ in range(5):
        fresh.put(parcel("b", 200))
    assert all((folder / name).read_bytes() == b"mine" for name in foreign)


def test_half_a_file_of_a_process_that_was_killed_is_cleared_away(folder: Path) -> None:
    spool = Spool(str(folder), "store")
    spool.put(parcel("a"))
    (own,) = folder.iterdir()
    fresh, old = (folder / f"{own.name[:-5]}{n}.ltr.part" for n in (3, 4))
    for each in (fresh, old):
        each.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert names(Spool(str(folder), "store")) == ["a"]
    assert fresh.exists()  # it may still be written
    assert not old.exists()


def folder_is_a_file(folder: Path) -> None:
    folder.write_text("x")


def folder_is_a_symlink(folder: Path) -> None:
    (folder.parent / "real").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "real")


def folder_is_open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def folder_is_somebody_elses(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (folder_is_a_file, "not a folder"),
        (folder_is_a_symlink, "not a folder"),
        (folder_is_open_to_all, "not this user's alone"),
        (folder_is_somebody_elses, "not this user's alone"),
    ],
)
def test_a_folder_that_is_not_ours_alone_is_not_used(
    folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    may_give_away = make is not folder_is_somebody_elses or os.geteuid() == 0
    require(may_give_away, "giving a folder away needs root")
    make(folder)
    spool = Spool(str(folder), "store")
    with pytest.raises(SpoolError, match=reason):
        spool.put(parcel("a"))
    assert list(spool.oldest(5)) == []
    spool.forget(parcel("a"))
    if folder.is_dir():
        assert list(folder.iterdir()) == []


def test_no_space_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(str(folder), "store")
    spool.put(parcel("a"))
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) <= 100:
            raise OSError(28, "No space left on device")
        return real(fd, data[:100])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpoolError, match="No space left"):
        spool.put(parcel("b"))
    monkeypatch.undo()
    assert names(Spool(str(folder), "store")) == ["a"]
    assert len(list(folder.iterdir())) == 1
    assert spool.put(parcel("c")) == []


stored = st.builds(
    Item,
    execution_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    timestamp_nano=st.integers(0, 2**63 - 1),
    tie=st.integers(0, 10**9 - 1),
    kind=st.sampled_from([SUMMARY, CHUNK, INDEX]),
    body=st.binary(max_size=200),
    expires_at=st.integers(0, 2**40),
    schema=st.integers(1, 2),
)


@given(st.lists(stored, max_size=5))
def test_items_survive_a_file(items: list[Item]) -> None:
    assert decode(encode(items)) == items


@given(st.binary(max_size=200))
def test_any_bytes_are_items_or_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(data)


@given(st.lists(stored, min_size=1, max_size=3), st.data())
def test_a_damaged_file_is_refused(items: list[Item], data: st.DataObject) -> None:
    packed = bytearray(encode(items))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError):  # noqa: PT011
        decode(bytes(packed))
    with pytest.raises(ValueError):  # noqa: PT011
        decode(encode(items)[: data.draw(st.integers(0, len(packed) - 1))])


@given(st.binary(max_size=120))
def test_any_bytes_with_a_good_checksum_are_items_or_refused(rest: bytes) -> None:
    import contextlib
    import struct
    import zlib

    data = struct.pack("<4sI", b"LTq1", zlib.crc32(rest)) + rest
    with contextlib.suppress(ValueError):
        assert encode(decode(data)) == data
