"""Which authorities the agent trusts at first; the handshakes are in tests/integration/agent."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from support import require

from lambdatrace.agent.encryption import Encryption, aws_authorities

ROOT = Path(__file__).parents[3]


def authority(name: str, folder: Path) -> str:
    """A certificate (PEM) of an authority called `name`."""
    require(shutil.which("openssl"), "no openssl to make a certificate with")
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {folder}/key -days 2 -subj"
    subject = f"/C=US/O=Amazon/CN={name}"
    done = subprocess.run([*command.split(), subject], check=True, capture_output=True, text=True)
    return done.stdout


def test_those_of_aws_are_picked_from_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = authority("Amazon Root CA 1", tmp_path)
    other = authority("Somebody Else Root CA", tmp_path)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"# a comment\n{other}\n# another\n{wanted}{other}")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert aws_authorities() == ssl.PEM_cert_to_DER_cert(wanted)


@pytest.mark.parametrize("content", ["", "no certificates", None])
def test_a_system_without_them(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert aws_authorities() == b""


def failure() -> OSError:
    return ssl.SSLCertVerificationError(1, "certificate verify failed")


@pytest.mark.parametrize("host", ["dynamodb.eu-west-1.amazonaws.com", "dynamodb.eu-west-1.api.aws"])
def test_all_are_trusted_once_the_few_did_not_do(host: str) -> None:
    encryption = Encryption(host)
    assert not encryption.widen(OSError("something else"))
    assert encryption.widen(failure())
    assert not encryption.widen(failure())


def test_hosts_of_others_are_held_against_all() -> None:
    assert not Encryption("store.example").widen(failure())
    assert not Encryption("amazonaws.com.example").widen(failure())
    assert not Encryption("dynamodb.eu-west-1.amazonaws.com", "own.pem").widen(failure())


def test_it_does_without_ssl() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from lambdatrace.agent.encryption import Encryption, aws_authorities\n"
        "Encryption('dynamodb.eu-west-1.amazonaws.com'); aws_authorities()\n"
        "print(*sorted(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, ROOT], capture_output=True, text=True, check=True
    )
    assert not {"ssl", "socket", "enum", "re"} & set(ran.stdout.split())
