"""A group that is switched off leaves its records out, and nothing else."""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import support_probe as kernel
from support_servers import Servers, dns_answer

from lambdatrace import wire
from lambdatrace.capture import CAPTURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Set
    from pathlib import Path

RESOLVER = "127.0.53.1"
EVERYTHING = frozenset(CAPTURE)


class Place:
    """A network with the servers that programs/groups.py asks."""

    def __init__(self, network: kernel.Network, servers: Servers) -> None:
        answers = {1: socket.inet_aton("192.0.2.10")}
        with network.entered():
            servers.answering(lambda query: dns_answer(query, answers), RESOLVER, 53)
            self.plain, self.tls = servers.echo(), servers.echo()
        self.command = network.command(
            sys.executable, "-S", kernel.PROGRAMS / "groups.py", str(self.plain), str(self.tls),
            RESOLVER,
        )  # fmt: skip


@pytest.fixture
def place() -> Iterator[Place]:
    with kernel.Network() as network, Servers() as servers:
        yield Place(network, servers)


def groups_seen(place: Place, watch: kernel.Watch) -> set[str]:
    """The groups of which anything was recorded."""
    ports = {record.port: record for record in watch.connections()}
    assert {53, place.plain, place.tls} == set(ports)
    assert ports[place.plain].bytes_in == 15
    main = [edge for edge in watch.ends() if not edge.parent]
    others = [edge for edge in watch.ends() if edge.parent]
    assert (len(main), len(others)) == (1, 1)
    told = [each for each in watch.exchanges() if each.connection == ports[place.plain].id]
    found = {
        "dns": any(text.kind == wire.KIND_DNS for text in watch.texts),
        "tls": any(text.kind == wire.KIND_TLS for text in watch.texts),
        # Without it a connection is one long exchange, which the agent leaves out.
        "exchanges": [each.bytes_in for each in told] == [5, 5, 5],
        "cpu": bool(main[0].cpu),
        "blocked": bool(watch.blocked),
        "processes": others[0].flags & wire.ENDING_SIGNAL == signal.SIGTERM,
    }
    assert bool(ports[place.tls].tls_started) == found["tls"]
    return {group for group, seen in found.items() if seen}


def with_what_it_needs(groups: Set[str]) -> set[str]:
    # The scheduler's events are looked at for both; whose figures are asked for is the agent's.
    return {*groups, *(("cpu",) if "blocked" in groups else ())}


@pytest.mark.parametrize(
    "groups",
    [
        EVERYTHING,
        *(EVERYTHING - {group} for group in CAPTURE),
        *(frozenset({group}) for group in CAPTURE),
        frozenset(),
    ],
    ids=lambda groups: "+".join(sorted(groups)) or "none",
)
def test_what_is_recorded_is_what_was_asked_for(place: Place, groups: frozenset[str]) -> None:
    with kernel.watching(capture=groups) as watch:
        kernel.run(place.command)
        assert groups_seen(place, watch) == with_what_it_needs(groups)
        assert watch.probe.unavailable == {}
        assert not any(watch.probe.lost())


def test_with_the_syscall_level_it_is_the_same(place: Place) -> None:
    with kernel.watching(capture=frozenset(), record_syscalls=True) as watch:
        kernel.run(place.command)
        assert groups_seen(place, watch) == set()
        ops = {wire.OPS[call.op] for call in watch.syscalls}
        assert {"connect", "sendto", "recvfrom"} <= ops
        assert {call.kind for call in watch.syscalls} == {wire.KIND_SYSCALL}


def traced(folder: Path, place: Place, capture: str) -> dict[str, Any]:
    store = f"sqlite://{folder / 'store.db'}"
    ran = kernel.lambdatrace("run", "--capture", capture, "--store", store, "--", *place.command)
    assert ran.returncode == 0, ran.stderr
    shown = kernel.lambdatrace("show", "@latest", "--store", store, "--output", "json")
    assert shown.returncode == 0, shown.stderr
    document: dict[str, Any] = json.loads(shown.stdout)
    return document


def groups_shown(place: Place, document: dict[str, Any]) -> set[str]:
    """The same of a document."""
    ports = {row["port"]: row for row in document["connections"]}
    assert {53, place.plain, place.tls} == set(ports)
    execution = document["execution"]
    found = {
        "dns": bool(document["namelookups"]),
        "tls": ports[place.tls]["tls_started_ms"] is not None,
        "exchanges": bool(document["exchanges"]),
        "cpu": execution["cpu_ms"] is not None,
        "blocked": bool(document["blocked"]),
        "processes": bool(document["processes"]),
    }
    return {group for group, seen in found.items() if seen}


@pytest.mark.parametrize("group", CAPTURE)
def test_what_is_shown_is_what_was_asked_for(tmp_path: Path, place: Place, group: str) -> None:
    others = EVERYTHING - {group}
    for groups in (frozenset({group}), others):
        document = traced(tmp_path, place, ",".join(sorted(groups)))
        assert groups_shown(place, document) == groups
        assert document["execution"]["capture"] == [each for each in CAPTURE if each in groups]
        assert document["execution"]["unavailable"] == {}


def test_without_any_group_there_are_connections(tmp_path: Path, place: Place) -> None:
    document = traced(tmp_path, place, "none")
    assert groups_shown(place, document) == set()
    assert document["execution"]["capture"] == []
    [plain] = [row for row in document["connections"] if row["port"] == place.plain]
    assert (plain["bytes_out"], plain["bytes_in"], plain["sends"]) == (15, 15, 3)
