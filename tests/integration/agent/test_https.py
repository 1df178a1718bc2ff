"""The agent's HTTP client over TLS, against a real server with a certificate of its own."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support import require

from lambdatrace.agent import encryption
from lambdatrace.agent.http import HttpClient, HttpError, HttpTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/slow":
            time.sleep(0.5)
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class Server(HTTPServer):
    connections = 0

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """The client goes away in the middle: that is one of the tests."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(shutil.which("openssl"), "no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {file}.key -out {file}.crt -days 2"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    file.write_bytes(
        b"".join((file.parent / f"{file.name}.{e}").read_bytes() for e in ("key", "crt"))
    )
    return file


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def soon() -> float:
    return time.monotonic() + 20


def test_one_connection_serves_many_requests(server: Server, certificate: Path) -> None:
    client = HttpClient("localhost", server.server_port, tls=True, ca_file=str(certificate))
    body = bytes(range(256)) * 2_000
    for _ in range(3):
        assert client.request("POST", "/", body=body, deadline=soon()).body == body
    client.close()
    assert server.connections == 1


def test_an_answer_that_is_late_ends_at_the_deadline(server: Server, certificate: Path) -> None:
    client = HttpClient("localhost", server.server_port, tls=True, ca_file=str(certificate))
    assert client.request("POST", "/", body=b"x", deadline=soon()).body == b"x"
    with pytest.raises(HttpTimeoutError):
        client.request("POST", "/slow", body=b"x", deadline=time.monotonic() + 0.1)
    client.close()


def test_a_certificate_of_nobody_is_refused(server: Server) -> None:
    client = HttpClient("localhost", server.server_port, tls=True)
    with pytest.raises(HttpError, match=r"(?i)certificate"):
        client.request("POST", "/", body=b"x", deadline=soon())


def test_a_certificate_of_somebody_else_is_refused(server: Server, certificate: Path) -> None:
    client = HttpClient("127.0.0.1", server.server_port, tls=True, ca_file=str(certificate))
    with pytest.raises(HttpError, match=r"(?i)certificate"):
        client.request("POST", "/", body=b"x", deadline=soon())


def test_a_missing_certificate_file_is_an_http_error(server: Server) -> None:
    client = HttpClient("localhost", server.server_port, tls=True, ca_file="/nowhere.pem")
    with pytest.raises(HttpError, match="No such file"):
        client.request("POST", "/", body=b"x", deadline=soon())


def test_where_the_first_few_authorities_do_not_do_all_are_asked(
    server: Server, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host of AWS's behind a proxy that signs with an authority of its own: the system has it."""
    issued = certificate.with_name(f"{certificate.name}.crt")
    key = tmp_path / "key"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -days 2 -subj".split()
    command.append("/CN=Amazon Root CA 1")
    aws = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    system = tmp_path / "system.pem"
    system.write_text(aws + issued.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    monkeypatch.setattr(encryption, "_AWS", ("localhost",))
    client = HttpClient("localhost", server.server_port, tls=True)
    for _ in range(2):
        assert client.request("POST", "/", body=b"x", deadline=soon()).body == b"x"
    client.close()
    assert server.connections == 2
    system.write_text(aws)
    client = HttpClient("localhost", server.server_port, tls=True)
    with pytest.raises(HttpError, match=r"(?i)certificate"):
        client.request("POST", "/", body=b"x", deadline=soon())
