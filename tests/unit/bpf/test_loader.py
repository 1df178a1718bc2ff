"""What the loader does before the kernel is asked anything."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lambdatrace import wire
from lambdatrace.bpf import image, loading
from lambdatrace.errors import ProbeError

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = (bytes(16), 0)


@pytest.mark.parametrize(
    ("runtime_api", "address", "port"),
    [
        ("127.0.0.1:9001", "127.0.0.1", 9001),
        ("169.254.100.1:9001", "169.254.100.1", 9001),
        ("[::1]:80", "::1", 80),
        ("::1:80", "::1", 80),
    ],
)
def test_the_runtime_api_s_address_is_taken_apart(
    runtime_api: str, address: str, port: int
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address).ljust(16, b"\0")
    assert wire.runtime_address(runtime_api) == (packed, port)


@pytest.mark.parametrize(
    "runtime_api", ["", "127.0.0.1", "127.0.0.1:", ":9001", "runtime.internal:9001", "1.2.3.4:x"]
)
def test_what_is_no_address_switches_the_edges_off(runtime_api: str) -> None:
    assert wire.runtime_address(runtime_api) == NOTHING


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"no head\n",
        b"\xff\xfe\n",
        f"lambdatrace-probe {image.FORMAT + 1} 0\n\n".encode(),
        f"lambdatrace-probe {image.FORMAT} 0\nmap\n\n".encode(),
        f"lambdatrace-probe {image.FORMAT} 0\nprogram one 1\n\n".encode(),
        f"lambdatrace-probe {image.FORMAT} 0\nprogram one 1 2 3\n\n".encode(),
    ],
)
def test_a_damaged_probe_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "loading.py"))
    if content is not None:
        (tmp_path / "probe.bin").write_bytes(content)
    with pytest.raises(ProbeError, match="the compiled probe cannot be read") as caught:
        loading._read_probe()
    assert caught.value.hint == "reinstall lambdatrace, or rebuild it: make probe"


def test_the_committed_probe_is_read() -> None:
    probe = loading._read_probe()
    assert probe.programs
    assert len(probe.code) % 8 == 0
    assert image.pack(probe) == image.pack(image.unpack(image.pack(probe)))
