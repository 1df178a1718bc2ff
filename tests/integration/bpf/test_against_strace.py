"""Every connection strace sees is there once, with its outcome and its bytes, and no other."""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pytest
import support_probe as kernel
from support import require
from support_everything import RESOLVER, parameters
from support_servers import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRACED = "network,read,write,readv,writev,sendfile,close,close_range,dup,dup2,dup3,fcntl,exit_group"
OUTCOMES = {
    "": "ok",
    "ECONNREFUSED": "refused",
    "ETIMEDOUT": "timeout",
    "ENETUNREACH": "unreachable",
    "EHOSTUNREACH": "unreachable",
    "ECONNRESET": "reset",
    "EPIPE": "reset",
}
_LINE = re.compile(r"^(?P<time>[\d.]+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>.*)$")
_SOCKET = re.compile(r"^(\d+)<socket:\[(\d+)\]>")
_V4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_V6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
_SENDING = {"sendto", "sendmsg", "sendmmsg", "write", "writev", "sendfile"}
_RECEIVING = {"recvfrom", "recvmsg", "recvmmsg", "read", "readv"}
_RESTART = {"ERESTARTSYS": 512, "ERESTARTNOINTR": 513, "ERESTARTNOHAND": 514}
_PENDING = {"EINPROGRESS", "EINTR", "ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND"}


class Call(NamedTuple):
    """One line of strace."""

    time: float
    tid: int
    name: str
    arguments: str
    result: str

    @property
    def value(self) -> int:
        return int(self.result.split()[0].split("<")[0].replace("?", "-1"), 0)

    @property
    def error(self) -> str:
        words = self.result.split()
        return words[1] if words[0] in ("-1", "?") and len(words) > 1 else ""


@dataclass
class Seen:
    """One connection as strace's lines tell of it."""

    tid: int
    protocol: str
    address: str
    port: int
    outcome: str = "connecting"
    bytes_out: int = 0
    bytes_in: int = 0
    sends: int = 0
    receives: int = 0

    def key(self) -> tuple[object, ...]:
        outcome = "abandoned" if self.outcome == "connecting" else self.outcome
        return (
            self.tid, self.protocol, self.address, self.port, outcome,
            self.bytes_out, self.bytes_in, self.sends, self.receives,
        )  # fmt: skip

    def is_unused(self) -> bool:
        """A datagram socket that was connected, and no more: how resolvers ask for a route."""
        return self.protocol == "udp" and self.outcome == "ok" and not self.sends + self.receives

    def fail(self, error: str) -> None:
        if self.outcome in ("connecting", "ok"):
            self.outcome = OUTCOMES.get(error, "failed")


@dataclass
class Socket:
    """One socket, whatever descriptors it has: what its connections are."""

    protocol: str
    connections: list[Seen] = field(default_factory=list)
    current: Seen | None = None
    peers: dict[tuple[str, int], Seen] = field(default_factory=dict)


def destination(text: str) -> tuple[str, int] | None:
    """The first address in some arguments."""
    if found := _V4.search(text):
        return found[2], int(found[1])
    if found := _V6.search(text):
        address = socket.inet_pton(socket.AF_INET6, found[2])
        if address[:12] == bytes(10) + b"\xff\xff":
            return socket.inet_ntop(socket.AF_INET, address[12:]), int(found[1])
        return found[2], int(found[1])
    return None


def calls(folder: Path) -> list[Call]:
    """The lines of `strace -ff -ttt`, of all threads, by time."""
    found = []
    for path in folder.glob("strace.*"):
        for line in path.read_text().splitlines():
            if match := _LINE.match(line):
                tid = int(path.suffix[1:])
                found.append(Call(float(match["time"]), tid, *match.group(2, 3, 4)))
    return sorted(found)


class Model:
    """What a reader of strace's output concludes."""

    def __init__(self) -> None:
        self.sockets: dict[str, Socket] = {}
        # (thread, call, descriptor, result) of every call that connects, sends or receives.
        self.calls: Counter[tuple[object, ...]] = Counter()

    def feed(self, call: Call) -> None:
        if call.name == "socket":
            made = _SOCKET.match(call.result)
            if made and call.arguments.startswith(("AF_INET,", "AF_INET6,")):
                self.sockets[made[2]] = Socket("udp" if "SOCK_DGRAM" in call.arguments else "tcp")
            return
        on = _SOCKET.match(call.arguments)
        known = self.sockets.get(on[2]) if on else None
        if known is None or on is None:
            return
        if call.name in {"connect"} | _SENDING | _RECEIVING:
            number = _RESTART.get(call.error) or getattr(errno, call.error or "none", 0)
            self.calls[call.tid, call.name, int(on[1]), -number or call.value] += 1
        if call.name == "connect":
            (self._connect if known.protocol == "tcp" else self._connect_datagrams)(known, call)
        elif call.name == "getsockopt" and "SO_ERROR" in call.arguments:
            value = re.search(r"SO_ERROR, \[(\w+)\]", call.arguments)
            assert value, call
            if known.current and value[1] != "0":
                known.current.fail(value[1])
            elif known.current and known.current.outcome == "connecting":
                known.current.outcome = "ok"
        elif call.name in _SENDING or call.name in _RECEIVING:
            self._transfer(known, call)

    def _connect(self, known: Socket, call: Call) -> None:
        if "AF_UNSPEC" in call.arguments:
            known.current = None
            return
        waiting = known.current and known.current.outcome == "connecting"
        # The last of these only tells of the attempt before.
        if call.error in ("EALREADY", "EISCONN", "ECONNABORTED"):
            if waiting and call.error == "EISCONN":
                known.current.outcome = "ok"  # type: ignore[union-attr]
            return
        if not waiting:
            self._begin(known, call)
        assert known.current
        if call.value == 0:
            known.current.outcome = "ok"
        elif call.error not in _PENDING:
            known.current.fail(call.error)

    def _connect_datagrams(self, known: Socket, call: Call) -> None:
        target = destination(call.arguments)
        if call.error:
            self._begin(known, call).fail(call.error)
            known.current = None
            return
        if known.current and target != (known.current.address, known.current.port):
            # Another destination, or AF_UNSPEC: the one before is over.
            known.peers.pop((known.current.address, known.current.port), None)
            known.current = None
        if target and target[1] and known.current is None:
            self._begin(known, call).outcome = "ok"

    def _transfer(self, known: Socket, call: Call) -> None:
        if "MSG_PEEK" in call.arguments or "MSG_ERRQUEUE" in call.arguments:
            return
        if known.protocol == "udp":
            self._choose_peer(known, call)
        elif "MSG_FASTOPEN" in call.arguments:
            self._connect(known, call._replace(result="0"))
        seen = known.current
        if seen is None:
            return
        if call.error and call.error != "EAGAIN" and call.error not in _PENDING:
            seen.fail(call.error)
        size = call.value
        if call.name in ("sendmmsg", "recvmmsg") and size > 0:
            lengths = re.findall(r"msg_len=(\d+)", call.arguments)
            assert len(lengths) >= size, call
            size = sum(int(length) for length in lengths[:size])
        if size <= 0:
            return
        if call.name in _SENDING:
            seen.bytes_out += size
            seen.sends += 1
        else:
            seen.bytes_in += size
            seen.receives += 1

    def _choose_peer(self, known: Socket, call: Call) -> None:
        target = destination(call.arguments)
        if target is None or (call.error and call.name in _RECEIVING):
            return
        if target not in known.peers:
            self._begin(known, call).outcome = "ok"
        known.current = known.peers[target]

    def _begin(self, known: Socket, call: Call) -> Seen:
        target = destination(call.arguments)
        assert target, call
        seen = Seen(call.tid, known.protocol, *target)
        known.connections.append(seen)
        known.current = known.peers[target] = seen
        return seen

    def connections(self) -> Iterator[Seen]:
        for known in self.sockets.values():
            yield from (seen for seen in known.connections if not seen.is_unused())


def described(keys: Counter[tuple[object, ...]]) -> str:
    return "\n".join(f"  {count} x {key}" for key, count in sorted(keys.items(), key=str))


@pytest.mark.parametrize("level", ["flows", "syscalls"])
def test_every_connection_strace_sees_is_there_once_and_no_other(
    tmp_path: Path, level: str
) -> None:
    require(shutil.which("strace"), "strace is not installed")
    (tmp_path / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    with kernel.Network() as network, Servers() as servers:
        network.ip("route", "add", "unreachable", "198.51.100.1")
        network.ip("route", "add", "prohibit", "198.51.100.2")
        with network.entered():
            argument = json.dumps(parameters(servers))
        private = (
            f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && "
            f"mount --bind {tmp_path}/nsswitch.conf /etc/nsswitch.conf && "
            'exec "$@"'
        )
        document = kernel.trace(
            tmp_path,
            network.command(
                "unshare", "-m", "sh", "-c", private, "sh",
                "strace", "-ff", "-ttt", "-y", "-v", "-s", "0", "-e", f"trace={TRACED}",
                "-o", tmp_path / "strace",
                sys.executable, "-S", kernel.PROGRAMS / "everything.py", argument,
            ),
            level,
        )  # fmt: skip
    model = Model()
    for call in calls(tmp_path):
        model.feed(call)
    expected = Counter(seen.key() for seen in model.connections())
    found = Counter(
        (
            row["thread_id"], row["protocol"], row["address"], row["port"], row["outcome"],
            row["bytes_out"], row["bytes_in"], row["sends"], row["receives"],
        )
        for row in document["connections"]
    )  # fmt: skip
    assert expected.total() > 100  # the program did run
    assert {key[4] for key in expected} >= {
        "ok", "abandoned", "refused", "reset", "timeout", "unreachable", "failed",
    }  # fmt: skip
    assert document["execution"]["dropped"] == 0
    assert found == expected, (
        f"strace alone:\n{described(expected - found)}\nprobe alone:\n{described(found - expected)}"
    )

    if level == "syscalls":
        recorded = Counter(
            (call["thread_id"], call["op"], call["fd"], call["result"])
            for call in document["syscalls"]
        )
        assert recorded == model.calls, (
            f"strace alone:\n{described(model.calls - recorded)}\n"
            f"probe alone:\n{described(recorded - model.calls)}"
        )
