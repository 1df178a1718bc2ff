"""OTLP, as OpenTelemetry's own classes and names have it, and sent to servers of all tempers."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opentelemetry.semconv
import pytest
import support_exports as exports
import support_traces as traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support_cli import NOW_NS, run
from support_forms import as_proto, facts, spans

from lambdatrace.cli.sending import headers, traces_url
from lambdatrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

XRAY = ["5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", 1]


def exported(tmp_path: Path, *executions: Any, more: tuple[str, ...] = ()) -> Any:
    url = exports.store(tmp_path / "store.db", *executions)
    path = tmp_path / "a.json"
    result = run("export", *more, "--store", url, "--format", "otlp", "-o", str(path))
    assert (result.code, result.stderr) == (0, "")
    return as_proto(path.read_text("ascii"))


def conventions() -> set[str]:
    """Every name that the semantic conventions have, or had."""
    folder = Path(opentelemetry.semconv.__path__[0])
    texts = (path.read_text() for path in folder.rglob("*attributes*.py"))
    return {name for text in texts for name in re.findall(r'= "([a-z_.]+)"', text)}


def test_otel_s_classes_take_every_kind_of_execution(tmp_path: Path) -> None:
    data = exported(tmp_path)
    assert len(data.resource_spans) == len(exports.kinds())
    ids = [(span.trace_id, span.span_id) for span in spans(data)]
    assert len(set(ids)) == len(ids)
    for each in data.resource_spans:
        own = {span.span_id: span for span in each.scope_spans[0].spans}
        roots = [span for span in own.values() if not span.parent_span_id]
        assert [span.kind for span in roots] == [Span.SPAN_KIND_SERVER]
        assert len({span.trace_id for span in own.values()}) == 1
        for span in own.values():
            assert (len(span.trace_id), len(span.span_id)) == (16, 8)
            assert not span.parent_span_id or span.parent_span_id in own
            assert span.name
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano


def test_names_are_the_semantic_conventions(tmp_path: Path) -> None:
    data = exported(tmp_path)
    used = {name for span in spans(data) for name in facts(span.attributes)}
    used |= {name for each in data.resource_spans for name in facts(each.resource.attributes)}
    others = {name for name in used if not name.startswith("lambdatrace.")}
    assert len(others) > 20
    assert others - conventions() == set()


def test_what_is_said_of_an_execution(tmp_path: Path) -> None:
    data = exported(tmp_path, exports.everything(1, xray=XRAY), more=("00000001",))
    resource = facts(data.resource_spans[0].resource.attributes)
    assert resource == {
        "service.name": "checkout", "cloud.provider": "aws", "cloud.platform": "aws_lambda",
        "faas.name": "checkout", "faas.version": "7", "faas.max_memory": 512 << 20,
    }  # fmt: skip
    found = {span.name: span for span in spans(data)}
    root = found["checkout"]
    start = NOW_NS - 120 * 10**9
    assert root.start_time_unix_nano == start
    assert root.end_time_unix_nano == start + 2 * 10**9
    assert root.trace_id.hex() == XRAY[0]
    assert root.parent_span_id.hex() == XRAY[1]
    assert root.flags == 1
    told = facts(root.attributes)
    assert told["faas.invocation_id"] == "00000001-1d5c-4d3e-9a54-000000000001"
    assert told["faas.coldstart"] is False
    assert told["lambdatrace.partition.wait_ms"] == 1158.0
    assert "api.partner.example" in told["lambdatrace.verdict"]
    partner = found["api.partner.example:443"]
    assert partner.kind == Span.SPAN_KIND_CLIENT
    assert partner.parent_span_id == root.span_id
    told = facts(partner.attributes)
    assert told["server.address"] == "api.partner.example"
    assert told["network.peer.address"] == "10.0.0.7"
    assert (told["server.port"], told["network.transport"]) == (443, "tcp")
    assert told["network.type"] == "ipv4"
    refused = found["[2001:db8::17]:8443"]
    assert refused.status.code == Status.STATUS_CODE_ERROR
    assert facts(refused.attributes)["error.type"] == "ECONNREFUSED"
    assert facts(refused.attributes)["network.type"] == "ipv6"
    waits = [span for span in spans(data) if span.parent_span_id == partner.span_id]
    assert [(span.name, span.end_time_unix_nano - span.start_time_unix_nano) for span in waits] == [
        ("connect", 51_000_000), ("send", 2_000_000), ("wait", 1_158_000_000),
        ("transfer", 70_000_000),
    ]  # fmt: skip
    asked = facts(found["DNS A api.partner.example"].attributes)
    assert asked["dns.question.name"] == "api.partner.example"
    assert asked["dns.answers"] == {"values": [{"stringValue": "10.0.0.7"}]}
    assert found["DNS AAAA api.partner.example"].status.code == Status.STATUS_CODE_ERROR


def test_tls_and_a_command(tmp_path: Path) -> None:
    data = exported(
        tmp_path,
        traces.execution(
            [traces.connection(2, started=1, established=2, first_out=2, first_in=9, closed=10,
                               tls_started=2, tls_ended=9)],
            details={"tls": {"2": ["api.example", "1.3", ""]}},
            command="python3 x.py", edges="process", started_ns=NOW_NS - 10**9, status="error",
        ),
    )  # fmt: skip
    resource = facts(data.resource_spans[0].resource.attributes)
    assert resource == {"service.name": "checkout", "process.command_line": "python3 x.py"}
    found = {span.name: span for span in spans(data)}
    assert found["checkout"].status.code == Status.STATUS_CODE_ERROR
    told = facts(found["api.example:443"].attributes)
    assert (told["tls.protocol.name"], told["tls.protocol.version"]) == ("tls", "1.3")
    assert told["tls.established"] is True
    assert told["tls.client.server_name"] == "api.example"


@pytest.mark.parametrize(
    "xray",
    [["5759", None, 1], [XRAY[0].upper(), None, 1], [None, None, None], [XRAY[0], "x", 0], []],
)
def test_an_xray_id_that_is_none_is_corrupt(tmp_path: Path, xray: list[Any]) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1, xray=xray))
    result = run("export", "--store", url)
    assert result.code == 1
    assert "'xray'" in result.stderr


class _Backend(ThreadingHTTPServer):
    """An OTLP backend: answers what it was told to, then well; keeps what it got."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.got: list[tuple[str, dict[str, str], str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Backend

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((self.path, sent, body))
        status, more, answer = (
            self.server.answers.pop(0) if self.server.answers else (200, {}, b"{}")
        )
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def backend() -> Iterator[_Backend]:
    with _Backend() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_sent_by_http(tmp_path: Path, backend: _Backend) -> None:
    url = exports.store(tmp_path / "store.db")
    file = tmp_path / "a.json"
    run("export", "--store", url, "--format", "otlp", "-o", str(file))
    wanted = [span.span_id for span in spans(as_proto(file.read_text()))]
    result = run(
        "export", "--store", url, "--otlp-endpoint", backend.url,
        environ={"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20secret, x-team=1"},
    )  # fmt: skip
    assert (result.code, result.stdout) == (0, "")
    assert (
        result.stderr == f"note: {len(wanted):,} spans of {len(exports.kinds())} executions sent\n"
    )
    got = []
    for path, sent, body in backend.got:
        assert path == "/v1/traces"
        assert sent["content-type"] == "application/json"
        assert (sent["api-key"], sent["x-team"]) == ("a secret", "1")
        found = [span.span_id for span in spans(as_proto(body, ExportTraceServiceRequest))]
        assert 0 < len(found) <= 1_000
        got += found
    assert len(backend.got) > 1
    assert got == wanted


def test_it_comes_back_when_it_is_told_to(tmp_path: Path, backend: _Backend) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    backend.answers = [
        (429, {"Retry-After": "7"}, b""), (503, {"Retry-After": "nonsense"}, b""), (502, {}, b""),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""),
        (429, {"Retry-After": "9999"}, b""),
    ]  # fmt: skip
    slept: list[float] = []
    result = run("export", "--store", url, "--otlp-endpoint", backend.url, sleep=slept.append)
    assert result.code == 0
    assert slept == [7.0, 2.0, 4.0, 0.0, 60.0]
    assert len({body for _, _, body in backend.got}) == 1


def test_what_is_refused_is_said(tmp_path: Path, backend: _Backend) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    command = ["export", "--store", url, "--otlp-endpoint", backend.url + "/own/path"]
    told = {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too \x1b[31mold"}}
    backend.answers = [(200, {}, json.dumps(told).encode())]
    result = run(*command)
    assert result.code == 1
    assert "2 spans refused by the endpoint: too \\x1b[31mold" in result.stderr
    assert backend.got[0][0] == "/own/path"
    for answer in (
        (400, {}, b"no key"),
        (302, {"Location": backend.url}, b""),
        *[(503, {}, b"")] * 6,
    ):
        backend.answers.append(answer)
    for said in ("400 Bad Request no key", "302 Found", "503 Service Unavailable"):
        result = run(*command, sleep=lambda _: None)
        assert result.code == 1
        assert said in result.stderr
    assert not backend.answers
    backend.answers = [
        (200, {}, b"\xffnot json"),
        (200, {}, b"[]"),
        (200, {}, b'{"partialSuccess":[]}'),
    ]
    for _ in range(3):
        assert run(*command).code == 0


def test_nobody_there(tmp_path: Path) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    slept: list[float] = []
    result = run(
        "export", "--store", url, "--otlp-endpoint", "http://127.0.0.1:9", sleep=slept.append
    )
    assert result.code == 1
    assert "Connection refused" in result.stderr
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path, backend: _Backend) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    backend.socket = context.wrap_socket(backend.socket, server_side=True)
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    endpoint = backend.url.replace("http:", "https:")
    result = run("export", "--store", url, "--otlp-endpoint", endpoint, sleep=lambda _: None)
    assert result.code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in result.stderr
    assert not backend.got


def test_where_to() -> None:
    assert traces_url("https://x.example") == "https://x.example/v1/traces"
    assert traces_url("http://[::1]:4318/") == "http://[::1]:4318/v1/traces"
    assert traces_url("https://x.example/otlp") == "https://x.example/otlp"
    for url in ("", "x.example", "ftp://x", "http://", "http://x:99999", "http://x/\n", "http://ü"):
        with pytest.raises(UsageError):
            traces_url(url)
    for text in ("x", "a b=c", "a=%0d%0aX: y", "=b", "ä=1"):
        with pytest.raises(UsageError):
            headers(text)


def test_an_endpoint_takes_the_place_of_a_file(tmp_path: Path) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    for more in (["--format", "csv"], ["-o", "x"], ["--records", "pause"]):
        command = ["export", "--store", url, "--otlp-endpoint", "http://127.0.0.1:9", *more]
        assert run(*command).code == 2
