"""TLS for http.py: OpenSSL by way of `_ssl`, without `ssl` on top, and with few certificates read.

Measured with CPython 3.11: importing `ssl` takes 20 ms of CPU, reading the system's 140 authorities
35 to 45 more, and the agent pays that at every cold start. AWS's own endpoints are signed by one of
five authorities, so only these are read for them; all the others are when that does not do.
"""

from __future__ import annotations

import _socket
import _ssl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Endpoints of AWS's that are signed by AWS's own authorities (botocore's endpoints.json; those of
# other partitions have names of their own).
_AWS = (".amazonaws.com", ".api.aws")
# Their common names (https://www.amazontrust.com/repository/).
_AUTHORITIES = (
    b"Amazon Root CA ",
    b"Starfield Services Root Certificate Authority - G2",
)
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class _Referable(_socket.socket):
    """`_ssl` wants to refer to its socket weakly, which takes a class that Python has made."""


class EncryptedSocket:
    """What http.py uses of a socket, encrypted. Every operation honours the socket's timeout."""

    __slots__ = ("_raw", "_tls")

    def __init__(self, raw: _socket.socket, tls: Any) -> None:
        self._raw = raw
        self._tls = tls

    def settimeout(self, seconds: float | None) -> None:
        """For each of the following operations; None waits for ever, 0 not at all."""
        self._raw.settimeout(seconds)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._raw.fileno()

    def sendall(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                sent += self._tls.write(view[sent:])

    def recv(self, size: int) -> bytes:
        """At most `size` bytes, none at the end of the connection. Raises OSError."""
        try:
            received: bytes = self._tls.read(size)
        except _ssl.SSLEOFError:
            return b""  # the peer did not say goodbye
        return received

    def close(self) -> None:
        """Close the socket. The peer is not told: the connection is one of its own."""
        self._raw.close()


class Encryption:
    """Encrypts connections to one host.

    Parameters
    ----------
    host
        A name or an address, which the peer's certificate has to be for.
    ca_file
        Authorities to trust instead of the system's (PEM).
    """

    def __init__(self, host: str, ca_file: str | None = None) -> None:
        self._host = host
        self._ca_file = ca_file
        self._context: Any = None
        self._few = ca_file is None and host.endswith(_AWS)

    def wrap(self, raw: _socket.socket) -> EncryptedSocket:
        """Shake hands on a connected socket, of which only the result is left. Raises OSError."""
        timeout = raw.gettimeout()
        plain = _Referable(raw.family, raw.type, raw.proto, raw.detach())
        try:
            plain.settimeout(timeout)
            if self._context is None:
                self._context = self._new_context()
            tls = self._context._wrap_socket(plain, False, self._host)  # as ssl does
            tls.do_handshake()
        except BaseException:
            plain.close()
            raise
        return EncryptedSocket(plain, tls)

    def widen(self, error: OSError) -> bool:
        """Whether it is worth connecting again after `error`: then all authorities are trusted."""
        if not self._few or not isinstance(error, _ssl.SSLCertVerificationError):
            return False
        self._few = False
        self._context = None
        return True

    def _new_context(self) -> Any:
        context = _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)  # as ssl does
        context.verify_mode = _ssl.CERT_REQUIRED
        context.check_hostname = True
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
            return context
        authorities = aws_authorities() if self._few else b""
        if authorities:
            context.load_verify_locations(None, None, authorities)
        else:
            self._few = False
            context.set_default_verify_paths()
        return context


def aws_authorities() -> bytes:
    """AWS's own authorities among those the system trusts (DER, one after the other), or none."""
    variable, default, _, _ = _ssl.get_default_verify_paths()
    try:
        with open(os.environ.get(variable) or default, "rb") as file:
            bundle = file.read()
    except OSError:
        return b""
    from binascii import a2b_base64

    found = []
    for block in bundle.split(_BEGIN)[1:]:
        certificate = a2b_base64(block.partition(_END)[0])
        if any(name in certificate for name in _AUTHORITIES):
            found.append(certificate)
    return b"".join(found)
