"""Connecting to a host 50 ms away takes 50 ms, also where the syscall returns at once."""

from __future__ import annotations

import errno
import sys

import pytest
import support_probe as kernel
from support import in_a_calm_moment
from support_link import FAR, SlowLink
from support_servers import Servers

from lambdatrace import wire

MS = 1_000_000
ONE_WAY_S = 0.025


@in_a_calm_moment
def test_the_connect_time_is_the_handshake_s_and_not_the_syscall_s() -> None:
    with (
        kernel.Network() as near,
        kernel.Network() as far,
        SlowLink(near, far, ONE_WAY_S) as link,
        Servers() as servers,
    ):
        with far.entered():
            port = servers.echo(FAR)
        with kernel.watching(record_syscalls=True) as watch:
            program = kernel.PROGRAMS / "connect_slowly.py"
            kernel.run(near.command(sys.executable, program, FAR, str(port)))
            found = watch.connections()
        measured = dict(link.handshakes)

    assert [(record.port, record.error) for record in found] == [(port, 0)] * 3
    calls = {call.connection: call for call in watch.syscalls if wire.OPS[call.op] == "connect"}
    for record in found:
        took = record.established - record.started
        by_the_link = measured[record.local_port] * 1e9
        assert took >= 50 * MS
        # The link notes the SYN when its thread gets to it, so it may only see less than there was.
        assert took == pytest.approx(by_the_link, rel=0.1, abs=3 * MS)

    blocking, with_timeout, with_asyncio = (calls[record.id] for record in found)
    assert blocking.result == 0
    assert blocking.duration >= 50 * MS
    for call in (with_timeout, with_asyncio):
        assert call.result == -errno.EINPROGRESS
        assert call.duration < 25 * MS  # "in progress" is said before even one way is done
