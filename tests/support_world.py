"""A small internet of network namespaces: one for the function, one for everybody else.

Three links join them: a fast one, a slow one (every packet takes its time), and a narrow one (tbf).
Beyond them are HTTP and HTTPS servers that are as slow as they are asked to be, dnsmasq with a slow
name server behind it, and a firewall that loses packets. Losses happen on the far side only: what
the near side sends has passed a capture there, what it never gets has not.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support import require
from support_link import FAR, SlowLink
from support_probe import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = Path(__file__).parent / "integration" / "truth"
ONE_WAY_S = 0.008

FAST, FAST6, NARROW, SLOW = "10.77.1.2", "fd77:1::2", "10.77.2.2", FAR
# The ports of the far side. Those that lose are said to lose what the near side sends (requests,
# SYNs) or gets (answers, SYN-ACKs).
PLAIN = {
    "http": 8000,
    "loses_requests": 8001,
    "loses_answers": 8002,
    "loses_syns": 8003,
    "loses_syn_acks": 8004,
    "loses_first": 8005,  # each packet that carries something, when it is sent first
}
# With the version of TLS, and how many session tickets a server of TLS 1.3 sends.
SECURE = {
    "https_1.2": (8442, "1.2", 0),
    "https_1.3": (8443, "1.3", 1),
    "loses_requests_1.2": (8444, "1.2", 0),
    "loses_answers_1.3": (8445, "1.3", 1),
    "two_tickets": (8446, "1.3", 2),
    "no_tickets": (8447, "1.3", 0),
}
LATE_TLS = "late_tls"  # begins its handshakes LATE_TLS_MS late
LATE_TLS_MS = 600
GREETS = "greets"  # speaks first, GREETS_MS late
GREETS_MS = 600
PORTS = {
    **PLAIN,
    **{name: port for name, (port, _, _) in SECURE.items()},
    LATE_TLS: 8448,
    GREETS: 8449,
}
# From here on everything is dropped; nobody listens. One port for each connection.
SILENT_FROM, REFUSED_FROM = 10_000, 20_000
_BEHIND_PORT = 5353
# A packet of more than 120 bytes carries something: those without payload have 72 at most. Behind
# 64 bits of UDP header, 96 of DNS and 8 of length stand the first four letters of a DNS name.
_LOSSES = f"""
table inet losses {{
    chain arriving {{
        type filter hook prerouting priority 0;
        tcp dport {SILENT_FROM}-{REFUSED_FROM - 1} drop
        tcp dport {PORTS["loses_syns"]} tcp flags & (syn | ack) == syn numgen inc mod 2 0 drop
        tcp dport {{ {PORTS["loses_requests"]}, {PORTS["loses_requests_1.2"]} }} \\
            meta length > 120 numgen inc mod 5 3 drop
        tcp dport {PORTS["loses_first"]} meta length > 120 numgen inc mod 2 0 drop
        udp dport 53 @th,168,32 0x6c6f7374 numgen inc mod 2 0 drop comment "lost"
        udp dport 53 @th,168,32 0x676f6e65 drop comment "gone"
    }}
    chain leaving {{
        type filter hook output priority 0;
        tcp sport {PORTS["loses_syn_acks"]} tcp flags & (syn | ack) == syn | ack \\
            numgen inc mod 2 0 drop
        tcp sport {{ {PORTS["loses_answers"]}, {PORTS["loses_answers_1.3"]} }} \\
            meta length > 120 numgen inc mod 5 3 drop
    }}
}}
"""


class World:
    """The near network, and files for who lives there."""

    def __init__(self, near: Network, folder: Path) -> None:
        self.near = near
        self.folder = folder
        self.certificate = folder / "certificate.pem"

    def command(self, *command: str | Path) -> list[str]:
        """A command line that runs `command` on the near side, with the world's name server."""
        private = (
            f"mount --bind {self.folder}/resolv.conf /etc/resolv.conf && "
            f"mount --bind {self.folder}/nsswitch.conf /etc/nsswitch.conf && "
            'exec "$@"'
        )
        return self.near.command("unshare", "--mount", "sh", "-c", private, "sh", *command)


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """The world, all of it up and answering."""
    for program in ("tc", "nft", "dnsmasq", "openssl", "unshare", "nsenter", "chrt"):
        require(shutil.which(program), f"{program} is not installed")
    _try(["chrt", "--fifo", "1", "true"])  # as the traced program does
    with contextlib.ExitStack() as stack:
        near, far = (stack.enter_context(Network()) for _ in range(2))
        made = World(near, folder)
        (folder / "resolv.conf").write_text(f"nameserver {FAST}\noptions timeout:1 attempts:2\n")
        (folder / "nsswitch.conf").write_text("hosts: dns\n")
        many = [f"192.0.2.{number} many.test\n" for number in range(1, 61)]
        (folder / "hosts").write_text("".join(many))
        _join(near, far)
        stack.enter_context(SlowLink(near, far, ONE_WAY_S))
        _try(far.command("nft", "-f", "-"), _LOSSES)
        _make_certificate(made.certificate)
        for command in _servers(made):
            stack.enter_context(_server(far, command))
        _wait_until_reachable(near)
        yield made


def _join(near: Network, far: Network) -> None:
    for number, name in ((1, "fast"), (2, "narrow")):
        near.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", str(far.path))
        for network, host in ((near, 1), (far, 2)):
            network.ip("address", "add", f"10.77.{number}.{host}/24", "dev", name)
            network.ip("address", "add", f"fd77:{number}::{host}/64", "dev", name, "nodad")
            network.ip("link", "set", name, "up")
    for network in (near, far):
        # BBR spreads over time what others send at once; this one every kernel has.
        with network.entered():
            Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("reno")
    queue = "qdisc add dev narrow root tbf rate 30mbit burst 16kb latency 300ms"
    _try(far.command("tc", *queue.split()))


def _try(command: list[str], text: str = "") -> None:
    """Run a command that asks for what not every kernel has, or allows."""
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    require(ran.returncode == 0, f"refused: {' '.join(command)}: {ran.stderr}")


def _wait_until_reachable(near: Network) -> None:
    """A link that has just been made loses packets before any capture sees them."""
    deadline = time.monotonic() + 20
    for address in (FAST, FAST6, NARROW, SLOW):
        while True:
            with near.entered(), contextlib.suppress(OSError):
                socket.create_connection((address, PORTS["http"]), 0.2).close()
                break
            assert time.monotonic() < deadline, f"{address} cannot be reached"


def _make_certificate(file: Path) -> None:
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {file}.key -out {file}.crt -days 2"
        " -subj /CN=far.test"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    parts = (Path(f"{file}.{kind}").read_bytes() for kind in ("key", "crt"))
    file.write_bytes(b"".join(parts))


def _servers(made: World) -> Iterator[list[str]]:
    secure = [f"{port}/{version}/{tickets}" for port, version, tickets in SECURE.values()]
    late = f"{PORTS[LATE_TLS]}/1.3/1/{LATE_TLS_MS}"
    greets = f"{PORTS[GREETS]}/-/0/{GREETS_MS}"
    ports = [*map(str, PLAIN.values()), *secure, late, greets]
    yield [sys.executable, str(PROGRAMS / "server.py"), str(made.certificate), *ports]
    yield [sys.executable, str(PROGRAMS / "names.py"), str(_BEHIND_PORT), FAST, FAST6]
    here = {"fast": (FAST, FAST6), "narrow": (NARROW,), "slow": (SLOW,)}
    known = [f"--address=/{zone}.test/{a}" for zone, them in here.items() for a in them]
    yield [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file"),
        *("--no-resolv", "--no-hosts", f"--addn-hosts={made.folder}/hosts", "--bind-interfaces"),
        *(f"--listen-address={FAST}", "--log-facility=-", "--cache-size=0", "--local=/test/"),
        *(f"--server=/late.test/127.0.0.1#{_BEHIND_PORT}", *known),
    ]


@contextlib.contextmanager
def _server(network: Network, command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(
        network.command(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert "ready" in line or "started" in line, line
        yield
    finally:
        process.kill()
        process.communicate()
