"""Other extensions: found in /proc, and told as rows of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from support_records import make

from lambdatrace import wire
from lambdatrace.agent.attribution import Records
from lambdatrace.agent.neighbours import MAX_ROWS, Neighbours, siblings

if TYPE_CHECKING:
    from pathlib import Path


def connection(number: int = 1, started: int = 10, **fields: Any) -> wire.ConnectionRecord:
    values = {
        "kind": wire.KIND_CONNECTION, "family": 4, "protocol": wire.PROTOCOL_TCP, "tgid": 77,
        "comm": b"telegraf".ljust(16, b"\0"), "address": bytes((192, 0, 2, 7)) + bytes(12),
        "port": 443, "state": wire.TCP_ESTABLISHED, "established": started + 1, **fields,
    }  # fmt: skip
    return make(wire.ConnectionRecord, id=number, started=started, **values)


def records(*connections: wire.ConnectionRecord) -> Records:
    made = Records()
    made.connections += connections
    return made


def test_siblings(tmp_path: Path) -> None:
    lines = {
        1: "1 (init) S 0 1 1",
        8: "8 (lambdatrace) S 1 8 8",
        9: "9 (a) b) R 17 (x) S 1 9 9",
        10: "10 (of another) S 8 10 10",
        11: "11 (cut short)",
    }
    for number, line in lines.items():
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "stat").write_text(line)
    (tmp_path / "12").mkdir()  # has ended
    (tmp_path / "self").mkdir()
    assert siblings(1, 8, str(tmp_path)) == [9]


def test_siblings_of_this_very_process() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        assert child in siblings(os.getpid(), 0)
        assert child not in siblings(os.getpid(), child)
    finally:
        os.waitpid(child, 0)


def test_rows() -> None:
    neighbours = Neighbours()
    ended = connection(1, 10, closed=20, bytes_out=5, bytes_in=6, error=104)
    found = neighbours.details(records(ended), [connection(2, 30, bytes_out=7)], 15, 40)
    row = ["telegraf", 77, None, "192.0.2.7", 443, wire.PROTOCOL_TCP]
    assert found == {
        "extensions": [[*row, 10, 11, 20, 5, 6, 104], [*row, 30, 31, 0, 7, 0, 0]],
        "extensions_left_out": 0,
    }
    # What stays as it was is not told again; what goes on is, by what was new.
    still = connection(2, 30, bytes_out=7)
    assert neighbours.details(Records(), [still], 50, 60)["extensions"] == []
    more = connection(2, 30, bytes_out=9, bytes_in=1)
    found = neighbours.details(Records(), [more], 70, 80)
    assert found["extensions"] == [[*row, 30, 31, 0, 2, 1, 0]]


def test_so_many_rows_and_no_more() -> None:
    many = [connection(number, 10 + number, closed=500) for number in range(1, MAX_ROWS + 4)]
    found = Neighbours().details(records(*many), [], 5, 600)
    assert len(found["extensions"]) == MAX_ROWS
    assert found["extensions_left_out"] == 3
