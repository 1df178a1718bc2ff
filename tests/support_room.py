"""A network with a DNS server and web servers, and programs traced in it by `lambdatrace run`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import support_cli
from support import require
from support_agent import eventually
from support_probe import CLI, ROOT, Network
from support_web import WebServer

if TYPE_CHECKING:
    from support_web import Accepted

PLAIN, SECURE = "api.partner.example", "secure.partner.example"
ADDRESSES = {PLAIN: ["192.0.2.10"], SECURE: ["192.0.2.11", "2001:db8::11"]}
RESOLVER, DNS_PORT = "192.0.2.53", 53
PORTS = {PLAIN: 8080, SECURE: 8443}
# Nothing of this machine's proxies, certificates and AWS set-up.
_INHERITED = {
    name: value
    for name, value in os.environ.items()
    if name in ("PATH", "HOME") or name.startswith("LAMBDATRACE_")
}
_ENTER = (
    'for each in resolv.conf nsswitch.conf; do mount --bind "$0/$each" "/etc/$each" || exit; done;'
    ' exec "$@"'
)


@dataclass(frozen=True)
class Visit:
    """What one program did: as traced, and as the servers saw it."""

    trace: dict[str, Any]
    accepted: list[Accepted]

    @property
    def connections(self) -> dict[int, dict[str, Any]]:
        """The traced connections over TCP to anything but the DNS server, by local port."""
        found = [each for each in self.trace["connections"] if each["protocol"] == "tcp"]
        by_port = {each["local_port"]: each for each in found if each["port"] != DNS_PORT}
        assert len(by_port) == sum(each["port"] != DNS_PORT for each in found)
        return by_port


class Room:
    """The network and its servers, for as long as the context lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network = Network()
        self._stack = contextlib.ExitStack()
        self._listening: list[tuple[str, int]] = []
        self.certificate = folder / "certificate.pem"

    def __enter__(self) -> Self:
        for program in ("dnsmasq", "openssl", "nsenter", "unshare"):
            require(shutil.which(program), f"{program} is not installed")
        require(Path("/proc/sys/net/ipv6").exists(), "this kernel has no IPv6")
        self._stack.enter_context(self._network)
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def visit(self, *command: str | Path, **environ: str) -> Visit:
        """Run a program under `lambdatrace run`; it must succeed."""
        store = f"sqlite://{self._folder}/store.db"
        traced = [*CLI, "run", "--store", store, "--", *map(str, command)]
        ran = subprocess.run(
            self._network.command(
                "unshare", "--mount", "--propagation", "private",
                "sh", "-c", _ENTER, self._folder, *traced,
            ),
            env={**_INHERITED, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr}{ran.stdout}"
        told = re.search(r"lambdatrace show (\S+)", ran.stderr)
        assert told, ran.stderr
        with self._network.entered():
            accepted = self._web.take(self._listening)
        shown = support_cli.run("show", told[1], "--store", store, "--output", "json")
        assert shown.code == 0, shown.stderr
        visit = Visit(json.loads(shown.stdout), accepted)
        assert visit.trace["execution"]["dropped"] == 0
        return visit

    def _set_up(self) -> None:
        for address in itertools.chain([RESOLVER], *ADDRESSES.values()):
            more = ["nodad"] if ":" in address else []
            self._network.ip("address", "add", address, "dev", "lo", *more)
        (self._folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
        (self._folder / "nsswitch.conf").write_text("hosts: dns\n")
        self._start_dns()
        make_certificate(self.certificate, SECURE)
        self._web = self._stack.enter_context(WebServer())
        with self._network.entered():
            for name, addresses in ADDRESSES.items():
                for address in addresses:
                    port, certificate = PORTS[name], self.certificate if name == SECURE else None
                    self._web.listen(address, port, certificate)
                    self._listening.append((address, port))

    def _start_dns(self) -> None:
        records = [
            f"--host-record={','.join([name, *addresses])}" for name, addresses in ADDRESSES.items()
        ]
        log = self._folder / "dnsmasq.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                self._network.command(
                    "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root",
                    "--conf-file=/dev/null", "--pid-file", "--bind-interfaces", "--log-facility=-",
                    f"--listen-address={RESOLVER}", "--local=/example/", *records,
                ),
                stderr=file,
            )  # fmt: skip

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        eventually(lambda: "started" in log.read_text(), "dnsmasq")


def make_certificate(file: Path, name: str) -> None:
    """A key and a certificate that vouches for itself, in one file."""
    key = file.with_suffix(".key")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", key, "-out", file, "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with file.open("a") as both:
        both.write(key.read_text())
