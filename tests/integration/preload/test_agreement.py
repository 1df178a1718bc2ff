"""The same program under the kernel's probe and the preloaded library at once: the same answers."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import support_probe as kernel
from support_everything import RESOLVER, parameters
from support_preload import LIBRARY, PreloadWatch, preloading
from support_servers import Servers

from lambdatrace import wire
from lambdatrace.agent.ledger import is_unused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Of programs/everything.py. Not among them, because a library cannot see it: what a program writes
# to a socket through stdio (bash's /dev/tcp: programs, handed_over), and what a child does on its
# parent's connection after the parent has closed it (fork).
SCENARIOS = (
    "blocking", "with_timeout", "non_blocking_by_hand", "with_asyncio", "threads", "ipv6", "udp",
    "refused", "unreachable", "half_close", "duplicates", "reset", "same_descriptor",
    "again_on_the_same_socket", "other_calls", "dissolved", "descendants", "shared", "interrupted",
    "abrupt", "fast_open", "unconnected", "left_open",
)  # fmt: skip
DNS_PORT = 53
SHARE, SLACK_NS = 0.05, 300_000


class Both:
    """What each of the two has recorded of one program."""

    def __init__(self, probe: kernel.Watch, library: PreloadWatch) -> None:
        self.dropped = probe.lost(), library.lost()
        self.connections = tuple(
            [
                record
                for record in watch.connections()
                if not is_unused(record) and record.port != DNS_PORT
            ]
            for watch in (probe, library)
        )
        self.exchanges = tuple(watch.exchanges() for watch in (probe, library))

    def pairs(self) -> Iterator[tuple[wire.ConnectionRecord, wire.ConnectionRecord]]:
        """TCP connections as the one and as the other tells of them."""
        known = {self._key(record): record for record in self.connections[1]}
        for record in self.connections[0]:
            if record.local_port and record.protocol == wire.PROTOCOL_TCP:
                other = known.get(self._key(record))
                if other is not None:
                    yield record, other

    def _key(self, record: wire.ConnectionRecord) -> tuple[int, int, int]:
        return record.tgid, record.port, record.local_port


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    kernel.require_probe()
    folder: Path = tmp_path_factory.mktemp("agreement")
    (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
    with kernel.Network() as network, Servers() as servers:
        network.ip("route", "add", "unreachable", "198.51.100.1")
        network.ip("route", "add", "prohibit", "198.51.100.2")
        with network.entered():
            argument = json.dumps(parameters(servers))
        with kernel.watching(scale=4) as probe, preloading(scale=4) as library:
            kernel.run(
                network.command(
                    "env", f"LD_PRELOAD={LIBRARY}", f"LAMBDATRACE_PRELOAD_MAP={library.path}",
                    sys.executable, "-S", kernel.PROGRAMS / "everything.py", argument, *SCENARIOS,
                )
            )  # fmt: skip
            return Both(probe, library)


def test_nothing_is_dropped(both: Both) -> None:
    for lost in both.dropped:
        assert not any(lost.values())


def test_connections_and_bytes_are_the_same(both: Both) -> None:
    by_probe, by_library = (
        Counter(
            (
                r.tgid, r.tid, r.protocol, r.family, r.address, r.port, r.bytes_out, r.bytes_in,
                r.sends, r.receives, r.exchanges, r.error, r.flags,
            )
            for r in records
        )
        for records in both.connections
    )  # fmt: skip
    assert by_probe.total() > 60
    assert by_library == by_probe, (
        f"probe alone: {by_probe - by_library}\nlibrary alone: {by_library - by_probe}"
    )


def test_exchanges_are_the_same(both: Both) -> None:
    by_probe, by_library = (
        Counter((r.tgid, r.bytes_out, r.bytes_in, r.sends, r.receives) for r in records)
        for records in both.exchanges
    )
    assert by_probe.total() > 40
    assert by_library == by_probe, (
        f"probe alone: {by_probe - by_library}\nlibrary alone: {by_library - by_probe}"
    )


@pytest.mark.parametrize("what", ["established", "first_out", "first_in", "last_in", "waited"])
def test_times_agree(both: Both, what: str) -> None:
    wrong, compared = [], 0
    for one, other in both.pairs():
        times = [
            getattr(record, what) - (record.started if what != "waited" else 0)
            for record in (one, other)
        ]
        if getattr(one, what):
            compared += 1
            if abs(times[0] - times[1]) > max(SHARE * times[0], SLACK_NS):
                wrong.append((one.port, *times))
    assert compared > 30
    # This machine may have kept the program waiting between the kernel and the library: that is not
    # wrong of either, and seldom.
    assert len(wrong) <= compared // 20, wrong
