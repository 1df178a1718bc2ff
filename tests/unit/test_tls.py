"""TLS handshakes: made here by Python's ssl between two memories, read by lambdatrace."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import require

import lambdatrace
from lambdatrace import tls

PACKAGE = Path(lambdatrace.__file__).parents[1]
NAME = "api.partner.example"
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = {V12: "1.2", V13: "1.3"}
SEEN = 200  # bytes of each call, see tls.server_version
# RFC 8446, 4.1.3.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


class Talk(NamedTuple):
    """A handshake's bytes: what each side sent, flight by flight."""

    client: list[bytes]
    server: list[bytes]


def talk(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = None) -> Talk:
    """One handshake, to its end or its failure."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks, answers = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, asks, server_hostname=name),
        server.wrap_bio(to_server, answers, server_side=True),
    )
    said = Talk([], [])
    for _ in range(4):
        for side, out, into, kept in zip(
            sides, (asks, answers), (to_server, to_client), said, strict=True
        ):
            with contextlib.suppress(ssl.SSLError):  # also: it wants more
                side.do_handshake()
            if data := out.read():
                kept.append(data)
                into.write(data)
    return said


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(shutil.which("openssl"), "no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {file} -out - -days 2 -subj /CN=x"
    made = subprocess.run(command.split(), check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + made.stdout)
    return file


def client(version: ssl.TLSVersion, verify: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    return context


def server(version: ssl.TLSVersion, certificate: Path, refuse: int | None = None) -> ssl.SSLContext:
    """`refuse`: the alert with which any name is answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(certificate)
    if refuse is not None:
        context.set_servername_callback(lambda *_: refuse)
    return context


@pytest.fixture(scope="module", params=[V12, V13], ids=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return ssl.TLSVersion(request.param)


@pytest.fixture(scope="module")
def real(version: ssl.TLSVersion, certificate: Path) -> Talk:
    """A handshake with a server name that came to its end."""
    said = talk(client(version), server(version, certificate), NAME)
    assert len(said.client) == 2
    return said


def record(body: bytes, kind: int = 0x16) -> bytes:
    return bytes((kind, 3, 3)) + struct.pack(">H", len(body)) + body


def message(kind: int, body: bytes) -> bytes:
    return struct.pack(">I", kind << 24 | len(body)) + body


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def server_hello(
    extensions: bytes = b"", suite: int = 0xC02F, version: int = 0x0303, random: bytes = bytes(32)
) -> bytes:
    body = struct.pack(">H", version) + random + b"\x20" + bytes(32) + struct.pack(">HB", suite, 0)
    return message(2, body + struct.pack(">H", len(extensions)) + extensions)


def client_hello(name: bytes, before: bytes = b"") -> bytes:
    """`before`: extensions that stand before the name's."""
    names = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name
    extensions = before + extension(0, names)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0"
    return message(1, body + struct.pack(">H", len(extensions)) + extensions)


def server_name(data: bytes) -> str:
    hello = tls.client_hello(data)
    assert hello is not None
    return hello.server_name


# ClientHello


def test_the_name_in_a_real_client_hello(real: Talk) -> None:
    hello = real.client[0]

    assert server_name(hello) == NAME
    assert server_name(hello[5:]) == NAME  # written apart from its record's header
    assert tls.client_hello(real.server[0]) is None
    assert tls.client_hello(b"GET / HTTP/1.1\r\n") is None
    assert tls.client_hello(b"") is None


def test_a_real_client_hello_without_a_name(version: ssl.TLSVersion, certificate: Path) -> None:
    said = talk(client(version), server(version, certificate))

    assert server_name(said.client[0]) == ""


def test_a_client_hello_cut_at_every_length(real: Talk) -> None:
    hello = real.client[0]
    end = hello.index(NAME.encode()) + len(NAME)

    for whole, skipped in ((hello, 0), (hello[5:], 5)):
        for length in range(len(whole) + 1):
            read = tls.client_hello(whole[:length])
            # Until the message's version there is no telling what it is.
            assert (read is None) == (length + skipped < 5 + 4 + 2), length
            if read is not None:
                # Never a part of a name: that would be another name.
                assert read.server_name == (NAME if length + skipped >= end else ""), length


def test_a_client_hello_in_two_records(real: Talk) -> None:
    body = real.client[0][5:]

    for middle in range(1, len(body)):
        assert server_name(record(body[:middle]) + record(body[middle:])) == NAME, middle


def test_the_name_behind_a_post_quantum_key_share() -> None:
    share = extension(51, struct.pack(">HHH", 1220, 0x11EC, 1216) + bytes(1216))

    assert server_name(record(client_hello(NAME.encode(), share))) == NAME


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"API.Partner.example.", NAME),
        (b"\x1b[31m.exa mple\xff", r"\027[31m.exa\032mple\255"),
        (b"[bold]x[/]", "[bold]x[/]"),
        (b"", ""),
        (b"a" * 255, "a" * 255),
        (b"a" * 256, ""),
        (b"\0" * 64, ""),
    ],
)
def test_names_are_printable_and_short(sent: bytes, read: str) -> None:
    assert server_name(record(client_hello(sent))) == read


def test_lengths_that_lie() -> None:
    hello = client_hello(NAME.encode())
    longer = hello.replace(struct.pack(">H", len(NAME)), b"\xff\xff")

    assert server_name(hello) == NAME
    assert server_name(longer) == ""
    assert tls.client_hello(b"\1\0\0\0\3\3") is None  # too short for its version
    assert server_name(hello[:38] + b"\x21" + hello[39:]) == ""  # a session id has 32 at most


# The server's version


def pieces(data: bytes, sizes: list[int]) -> bytes:
    """`data` as received by calls of those sizes (the last one takes the rest), as it is kept."""
    kept = b""
    for size in sizes:
        kept += data[:size][:SEEN]
        data = data[size:]
    return kept + data[:SEEN]


@pytest.mark.parametrize("sizes", [[], [5], [5, 4], [1] * 20, [5, 122, 5], [100], [199], [4096]])
def test_the_version_a_real_server_chose(
    real: Talk, version: ssl.TLSVersion, sizes: list[int]
) -> None:
    assert tls.server_version(pieces(real.server[0], sizes)) == VERSIONS[version]
    assert tls.server_version(pieces(real.server[0][5:], sizes)) == VERSIONS[version]


def test_a_server_hello_cut_at_every_length(real: Talk, version: ssl.TLSVersion) -> None:
    hello = real.server[0]
    suite = 5 + 4 + 2 + 32 + 1 + hello[5 + 4 + 2 + 32] + 2

    for length in range(len(hello) + 1):
        expected = VERSIONS[version] if length >= suite else ""
        assert tls.server_version(hello[:length]) == expected, length


def test_a_real_request_to_try_again(certificate: Path) -> None:
    answering = server(V13, certificate)
    answering.set_ecdh_curve("secp384r1")  # the client expects another one
    said = talk(client(V13), answering)

    assert said.server[0][11:43] == RETRY
    assert tls.server_version(said.server[0]) == "1.3"
    # Its random tells by itself.
    assert tls.server_version(said.server[0][:43]) == "1.3"
    assert tls.server_version(said.server[0][:42]) == ""


def test_the_suite_tells_where_the_extension_is_out_of_sight() -> None:
    share = extension(51, struct.pack(">HH", 0x11EC, 1120) + bytes(1120))
    chosen = extension(43, b"\3\4")
    hello = server_hello(share + chosen, 0x1302)

    assert tls.server_version(pieces(record(hello), [5])) == "1.3"
    assert tls.server_version(pieces(record(hello), [])) == "1.3"


@pytest.mark.parametrize(
    ("hello", "read"),
    [
        (server_hello(), "1.2"),
        (server_hello(version=0x0302), "1.1"),
        (server_hello(version=0x0301), "1.0"),
        (server_hello(version=0x0300), ""),  # SSL 3
        (server_hello(version=0x0304), ""),  # never said there
        (server_hello(extension(43, b"\3\4"), 0x00FF), "1.3"),  # a suite unknown here
        (server_hello(extension(0, b"") + extension(43, b"\3\4"), 0x00FF), "1.3"),
        (server_hello(extension(43, b"\3\5"), 0x00FF), ""),  # a version unknown here
        (server_hello(extension(43, b"\3") + extension(16, b""), 0xC02F), "1.2"),
        (server_hello(suite=0x1305), "1.3"),
        (server_hello(suite=0x00C6), "1.3"),
        (server_hello(suite=0xC0B5), "1.3"),
    ],
)
def test_versions_and_what_tells_them(hello: bytes, read: str) -> None:
    assert tls.server_version(record(hello)) == read
    assert tls.server_version(hello) == read


def test_a_warning_before_the_server_hello() -> None:
    warning = record(b"\1\x70", 0x15)

    assert tls.server_version(warning + record(server_hello())) == "1.2"
    assert tls.server_version(warning) == ""
    assert tls.server_version(warning * 10_000) == ""


def test_what_is_no_server_hello() -> None:
    for data in (b"", b"\x16", b"\x16\3\3\0\0" * 50, b"HTTP/1.1 200 OK\r\n", record(b"\2\2", 0x15)):
        assert tls.server_version(data) == ""


# Alerts


def test_the_alert_of_a_real_client(version: ssl.TLSVersion, certificate: Path) -> None:
    said = talk(client(version, verify=True), server(version, certificate))

    # In the clear with either version: OpenSSL turns to the keys of 1.3 later.
    assert tls.alert(said.client[-1]) == "unknown_ca"
    assert tls.alert(said.client[-1][5:]) == "unknown_ca"


@pytest.mark.parametrize("number", ssl.AlertDescription)
def test_alerts_of_a_real_server(
    version: ssl.TLSVersion, certificate: Path, number: ssl.AlertDescription
) -> None:
    said = talk(client(version), server(version, certificate, refuse=number), NAME)
    name = number.name.removeprefix("ALERT_DESCRIPTION_").lower()
    # The RFC's spelling; and the alert that is no failure.
    failure = {"user_cancelled": "user_canceled", "close_notify": ""}.get(name, name)

    assert said.server == [b"\x15\3\3\0\2\2" + bytes((number,))]
    assert tls.alert(said.server[0]) == failure
    assert tls.alert(said.server[0][5:]) == failure
    assert tls.server_version(said.server[0]) == ""


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (109, "missing_extension"),
        (116, "certificate_required"),
        (120, "no_application_protocol"),
        (123, "alert 123"),
    ],
)
def test_alerts_that_python_has_no_names_for(number: int, name: str) -> None:
    assert tls.alert(b"\2" + bytes((number,))) == name


def test_sides_without_a_version_in_common(certificate: Path) -> None:
    said = talk(client(V13), server(V12, certificate), NAME)

    assert tls.alert(said.server[0]) == "protocol_version"


def test_an_alert_cut_at_every_length() -> None:
    whole = record(b"\2\x28", 0x15)

    assert [tls.alert(whole[:length]) for length in range(len(whole))] == [""] * 7
    assert tls.alert(whole) == "handshake_failure"
    assert tls.alert(whole + b"and what comes after it") == "handshake_failure"


@pytest.mark.parametrize(
    "data",
    [
        record(b"\1\0", 0x15),  # close_notify
        b"\1\0",
        b"\2\0",
        b"\3\x28",  # there is no such level
        record(b"\3\x28", 0x15),
        record(b"\2\x28" * 13, 0x15),  # encrypted
        b"\2\x28\0",
        record(b"\2\x28"),
        b"\x15\2\3\0\2\2\x28",
    ],
)
def test_what_is_no_alert(data: bytes) -> None:
    assert tls.alert(data) == ""


# Anything


def check(data: bytes) -> None:
    """Whatever it is, what comes out is short and can be printed."""
    hello = tls.client_hello(data)
    if hello is not None:
        assert len(hello.server_name) <= 255
        assert hello.server_name.isascii()
        assert hello.server_name.isprintable()
        assert " " not in hello.server_name
    assert tls.server_version(data) in ("", "1.0", "1.1", "1.2", "1.3")
    assert len(tls.alert(data)) <= 40


@given(st.binary(max_size=3000), st.sampled_from([b"", b"\x16\3", b"\x16\3\1\2\0\1\0\1\xfc\3\3"]))
def test_any_bytes_are_survived(data: bytes, start: bytes) -> None:
    check(data)
    check(start + data)


@pytest.fixture(scope="module")
def samples(certificate: Path) -> list[bytes]:
    """Real bytes of both sides and versions."""
    found = []
    for version in (V12, V13):
        for name in (NAME, None):
            for flights in talk(client(version), server(version, certificate), name):
                found += [flights[0], flights[0][5:]]
    return found


@given(data=st.data())
def test_any_damage_to_real_bytes_is_survived(samples: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(samples)))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(whole) - 1))
        damage = data.draw(st.binary(max_size=4))
        whole[place : place + data.draw(st.integers(0, 4))] = damage
        whole += b"\0"
    check(bytes(whole))
    check(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def test_megabytes_cost_no_more_than_their_beginning() -> None:
    # Work is counted, not timed: lines of tls.py that ran.
    def lines(data: bytes) -> int:
        count = 0

        def tracer(frame: object, event: str, _: object) -> object:
            nonlocal count
            count += event == "line"
            return tracer

        before = sys.gettrace()
        sys.settrace(tracer)  # type: ignore[arg-type]
        try:
            check(data)
        finally:
            sys.settrace(before)
        return count

    for piece in (b"\x16\3\3\0\0", b"\x15\3\3\0\2\1\x70", b"\1", bytes(4), record(b"\1" * 2**14)):
        kilobytes, megabytes = (piece * (size // len(piece) + 1) for size in (2**13, 2**22))
        assert lines(megabytes) == lines(kilobytes)


def test_the_module_loads_nothing() -> None:
    script = "import sys; a = set(sys.modules); import lambdatrace.tls; print(set(sys.modules) - a)"
    ran = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ran.stdout.strip().strip("{}").replace("'", "").split(", "))
    assert loaded == {"lambdatrace", "lambdatrace.tls", "__future__"}
