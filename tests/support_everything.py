"""Servers for programs/everything.py: one of each kind of connection that a function can make."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from support_servers import dns_answer

if TYPE_CHECKING:
    from support_servers import Servers

RESOLVER = "127.0.53.1"


def parameters(servers: Servers) -> dict[str, Any]:
    """Servers for programs/everything.py, and its argument."""
    addresses = {1: socket.inet_aton("127.0.0.1"), 28: socket.inet_pton(socket.AF_INET6, "::1")}
    servers.answering(lambda query: dns_answer(query, addresses), RESOLVER, 53)
    return {
        "echo": servers.echo(),
        "echo6": servers.echo("::1"),
        "sink": servers.sink(),
        "late": servers.late(),
        "reset": servers.reset(),
        "refused": servers.refused(),
        "full": servers.full(),
        "udp": [servers.datagrams() for _ in range(3)],
        "udp6": servers.datagrams("::1"),
        "no_host": "198.51.100.1",
        "prohibited": "198.51.100.2",
    }
