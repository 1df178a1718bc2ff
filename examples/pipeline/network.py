"""The demo's own network: no machine but this one, no name but its own.

Everything happens in a network and mount namespace that has a loopback device and nothing else, so
nothing can leave it. Addresses are those set aside for documentation (RFC 5737), names likewise
(RFC 2606). Both end with the last process inside.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DNS_ADDRESS = "192.0.2.53"
HOSTS = {
    "api.partner.example": "192.0.2.10",
    "legacy.partner.example": "192.0.2.11",
    "orders.example": "192.0.2.20",
}
_INSIDE = "LAMBDATRACE_DEMO_INSIDE"
_READY_S = 20.0
_STOP_S = 3.0


def enter(module: str) -> None:
    """Return inside the namespaces; outside, replace this process by `python -m module` in them."""
    if os.environ.pop(_INSIDE, ""):
        return
    if os.geteuid() != 0:
        sys.exit("error: the demo needs root: it loads a probe and makes a network of its own")
    unshare, dnsmasq = shutil.which("unshare"), shutil.which("dnsmasq")
    if unshare is None or dnsmasq is None:
        sys.exit("error: unshare or dnsmasq cannot be found\nhint: make setup installs them")
    namespaces = ("--net", "--mount", "--propagation", "private")
    os.execve(  # noqa: S606  # this very program
        unshare,
        [unshare, *namespaces, sys.executable, "-m", module, *sys.argv[1:]],
        {**os.environ, _INSIDE: "1"},
    )


def set_up(folder: Path) -> None:
    """Give the namespace its addresses, and its processes a resolver of their own."""
    _run("ip", "link", "set", "lo", "up")
    for address in (DNS_ADDRESS, *HOSTS.values()):
        _run("ip", "address", "add", f"{address}/32", "dev", "lo")
    files = {
        "resolv.conf": f"nameserver {DNS_ADDRESS}\n",
        # Without it, systemd-resolved or mDNS would be asked first where they are set up.
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    for name, text in files.items():
        ours, theirs = folder / name, Path("/etc") / name
        ours.write_text(text)
        if theirs.exists():
            _run("mount", "--bind", str(ours), str(theirs))


@contextmanager
def name_server() -> Iterator[None]:
    """A DNS server that knows HOSTS and has nobody to ask about the rest."""
    names = [f"--address=/{host}/{address}" for host, address in HOSTS.items()]
    command = [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="),
        *("--no-resolv", "--no-hosts", "--bind-interfaces", f"--listen-address={DNS_ADDRESS}"),
        *("--log-facility=-", "--local=/example/", *names),
    ]
    with server(command, DNS_ADDRESS, 53):
        yield


@contextmanager
def server(
    command: Sequence[str], host: str, port: int, folder: Path | None = None
) -> Iterator[None]:
    """A server that listens on a TCP port and works in `folder`, while the block lasts."""
    process = subprocess.Popen(  # noqa: S603  # commands of this folder
        ["setpriv", "--pdeathsig", "KILL", *command],  # noqa: S607
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the demo, which then ends its servers
    )
    try:
        _wait_until_ready(process, host, port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    deadline = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"error: {process.args!r} did not come up on {host} port {port}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603
