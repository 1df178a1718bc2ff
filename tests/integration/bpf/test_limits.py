"""What does not fit into the probe's tables and rings is counted: none too many, none too few."""

from __future__ import annotations

import socket
import sys

import support_probe as kernel
from support_servers import Servers

from lambdatrace import wire
from lambdatrace.bpf import image
from lambdatrace.bpf.compile import OUTPUT


def entries(name: str) -> int:
    """How many a table holds."""
    maps = image.unpack(OUTPUT.read_bytes()).maps
    [found] = [row[4] for row in maps if row[0] == name]
    return int(found)


def too_much(what: str, count: int, port: int = 0) -> None:
    kernel.run([sys.executable, "-S", kernel.PROGRAMS / "too_much.py", what, str(count), str(port)])


def test_connections_beyond_the_table_are_counted() -> None:
    count = entries("connections") + 300
    with (
        socket.socket(type=socket.SOCK_DGRAM) as target,
        kernel.watching() as watch,
    ):
        target.bind(("0.0.0.0", 0))
        port = target.getsockname()[1]
        too_much("destinations", count, port)
        found, lost = watch.connections(), watch.lost()
    assert lost == {**dict.fromkeys(wire.COUNTERS, 0), "connections": 300}
    assert len(found) == len({record.address for record in found}) == count - 300
    assert {(record.port, record.bytes_out, record.sends) for record in found} == {(port, 1, 1)}


def test_twice_the_tables_hold_twice_as_many() -> None:
    count = entries("connections") + 300
    with kernel.watching(scale=2) as watch:
        too_much("destinations", count, 9)
        assert len(watch.connections()) == count
        assert not any(watch.lost().values())


def test_connections_that_end_while_the_ring_is_full_are_counted() -> None:
    count = 100
    # Without the groups of records that others would be, now and then.
    nothing_else = {"events_ring": 4096, "capture": frozenset()}
    with Servers() as servers, kernel.watching(**nothing_else) as watch:
        too_much("ended", count, servers.sink())
        found, lost = watch.connections(), watch.lost()
        # One edge for the process, which also found no room.
        assert len(found) == 4095 // watch.probe.events.stride  # the kernel leaves a byte free
        assert lost.pop("events") == count + 1 - len(found)
        assert not any(lost.values())
        # Once it is empty again it goes on.
        too_much("ended", 1, servers.sink())
        assert len(watch.connections()) == len(found) + 1
        assert watch.lost()["events"] == count + 1 - len(found)


def test_threads_beyond_the_table_are_counted_and_the_program_is_not_harmed() -> None:
    count = entries("threads") + 50
    with kernel.watching() as watch:
        too_much("threads", count)
        lost = watch.lost()
        assert lost == {**dict.fromkeys(wire.COUNTERS, 0), "threads": 51}  # and its main thread
        too_much("threads", 10)  # they have all left
        assert watch.lost() == lost


QUERIES = """
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
for number in range(20):
    s.sendto(b"%02d" % number + bytes(300), ("127.0.53.1", 53))
"""


def test_texts_beyond_their_number_are_counted() -> None:
    with kernel.watching(most_texts=5, capture=frozenset({"dns"})) as watch:
        kernel.run([sys.executable, "-S", "-c", QUERIES])
        [end] = watch.ends()
        [record] = watch.connections()
        assert not any(watch.lost().values())
    # Of two pieces each.
    assert [(text.text[:2], text.fragment) for text in watch.texts] == [
        (b"00", 0), (bytes(2), 1), (b"01", 0), (bytes(2), 1), (b"02", 0),
    ]  # fmt: skip
    assert [text.length for text in watch.texts] == [302] * 5
    # Those that were not begun count as one.
    assert 20 - 3 <= end.folded_texts <= 2 * 20 - 5
    assert record.sends == 20
