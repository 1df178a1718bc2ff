"""TLS handshakes (RFC 8446): the few things a trace needs of them, from bytes that may be anything.

Only what is sent in the clear, and of that only the server's name, the version and alerts: no
session id, no certificate, nothing else by which a client could be known again.

Used by the agent: standard library only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# RFC 8446, 5.1: a record is a type, a version that always begins with 3, a length, and the body.
_ALERT: Final = 0x15
_HANDSHAKE: Final = 0x16
_MAJOR: Final = 3
_RECORD_HEADER: Final = 5
# RFC 8446, 4: a handshake message is a type, a length of three bytes, and the body.
_CLIENT_HELLO: Final = 1
_SERVER_HELLO: Final = 2
_MESSAGE_HEADER: Final = 4
# RFC 8446, 4.1.2 and 4.1.3: what both hellos begin with; the session id follows.
_VERSION_AND_RANDOM: Final = 2 + 32
_MAX_SESSION_ID: Final = 32
# RFC 8446, 4.2, and RFC 6066, 3.
_SERVER_NAME: Final = 0
_SUPPORTED_VERSIONS: Final = 43
_HOST_NAME: Final = 0

VERSIONS: Final = {0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}
_TLS12: Final = 0x0303
_TLS13: Final = 0x0304
# RFC 8446, B.4: the suites numbered 0x13.. are of TLS 1.3 and no other version. So are the two of
# RFC 8998 and the two of RFC 9150.
_SUITES_OF_13: Final = (0x00C6, 0x00C7, 0xC0B4, 0xC0B5)
# RFC 8446, 4.1.3: the random by which a HelloRetryRequest is told from a ServerHello.
_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

# RFC 8446, 6; from RFC 5246, 7.2, and RFC 6066, 9, what only older versions send; RFC 9849, 5.
ALERTS: Final = {
    10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed",
    22: "record_overflow", 30: "decompression_failure", 40: "handshake_failure",
    41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate",
    44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
    47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 60: "export_restriction", 70: "protocol_version",
    71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
    90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
    110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
    113: "bad_certificate_status_response", 114: "bad_certificate_hash_value",
    115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol",
    121: "ech_required",
}  # fmt: skip
_CLOSE_NOTIFY: Final = 0
_LEVELS: Final = (1, 2)  # warning, fatal

# What is looked at, at most. A ClientHello with a post-quantum key share has 1.8 kB.
_MAX_CLIENT_BYTES: Final = 4096
# Each piece that a client received is there with its first 200 bytes at least: what lies behind the
# 200th byte of all may belong anywhere.
_MAX_SERVER_BYTES: Final = 200
# RFC 1035, 2.3.4: no host name has more.
_MAX_NAME: Final = 255


class ClientHello:
    """What could be read of one ClientHello."""

    __slots__ = ("server_name",)

    def __init__(self, server_name: str) -> None:
        # Lower case, without a last dot, as dns.Message.name has it; "" if there was none, or if it
        # was cut short.
        self.server_name = server_name


def client_hello(data: bytes) -> ClientHello | None:
    """Read the beginning of what a client sent first; None if that is no ClientHello.

    `data` may end anywhere, and begin with a record or with the message in it.
    """
    body = _message(data[:_MAX_CLIENT_BYTES], _CLIENT_HELLO)
    if body is None:
        return None
    try:
        offset = _after_session_id(body)
        offset += 2 + _number(body, offset)  # cipher suites
        offset += 1 + _byte(body, offset)  # compression methods
        begin, end = _extension(body, offset, _SERVER_NAME)
        return ClientHello(_server_name(body[begin:end]))
    except ValueError:
        return ClientHello("")


def server_version(data: bytes) -> str:
    """Tell the version a server chose, "" if that cannot be told.

    Parameters
    ----------
    data
        What the client received first: what each call brought, one after the other, each cut to
        200 bytes or more.
    """
    data = data[:_MAX_SERVER_BYTES]
    offset = 0
    # A server may send a warning first, as for a name it does not know (RFC 6066, 3).
    while _is_alert(data, offset):
        offset += _RECORD_HEADER + 2
    body = _message(data[offset:], _SERVER_HELLO)
    if body is None:
        return ""
    version = body[0] << 8 | body[1]
    if version != _TLS12:  # which 1.3 claims too (RFC 8446, 4.1.3)
        return VERSIONS[version] if version < _TLS12 and version in VERSIONS else ""
    if body[2:_VERSION_AND_RANDOM] == _RETRY:
        return VERSIONS[_TLS13]
    try:
        offset = _after_session_id(body)
        suite = _number(body, offset)
    except ValueError:
        return ""
    # The suite tells by itself; the extension, which may lie behind the end of what is here, only
    # where a suite is unknown here.
    if suite >> 8 == 0x13 or suite in _SUITES_OF_13:
        return VERSIONS[_TLS13]
    try:
        begin, end = _extension(body, offset + 3, _SUPPORTED_VERSIONS)
        version = _number(body[begin:end], 0)
    except ValueError:
        pass
    return VERSIONS.get(version, "")


def alert(data: bytes) -> str:
    """Name the alert that `data` is (a record, or its two bytes), "" if it is none.

    close_notify is none: nothing failed. What was encrypted cannot be told and is none either.
    """
    if _is_alert(data, 0):
        level, description = data[_RECORD_HEADER : _RECORD_HEADER + 2]
    elif len(data) == 2 and data[0] in _LEVELS:
        level, description = data
    else:
        return ""
    if level not in _LEVELS or description == _CLOSE_NOTIFY:
        return ""
    return ALERTS.get(description, f"alert {description}")


def _is_alert(data: bytes, offset: int) -> bool:
    """Whether a whole alert in the clear begins at `offset`: an encrypted one is longer."""
    head = data[offset : offset + _RECORD_HEADER]
    return head[:2] == bytes((_ALERT, _MAJOR)) and head[3:] == b"\0\2" and len(data) >= offset + 7


def _message(data: bytes, kind: int) -> bytes | None:
    """Return what is there of the body of the handshake message that `data` begins with.

    None if it is none of that kind. Otherwise it has at least its version, of two bytes.
    """
    if data[:2] == bytes((_HANDSHAKE, _MAJOR)):
        data = _records(data)
    if len(data) < _MESSAGE_HEADER + 2 or data[0] != kind or data[_MESSAGE_HEADER] != _MAJOR:
        return None
    length = data[1] << 16 | data[2] << 8 | data[3]
    return data[_MESSAGE_HEADER : _MESSAGE_HEADER + length] if length >= 2 else None


def _records(data: bytes) -> bytes:
    """Return the contents of the handshake records that `data` begins with, put together."""
    parts = []
    offset = 0
    while data[offset : offset + 2] == bytes((_HANDSHAKE, _MAJOR)):
        begin = offset + _RECORD_HEADER
        if begin > len(data):
            break
        offset = begin + (data[begin - 2] << 8 | data[begin - 1])
        parts.append(data[begin:offset])
    return b"".join(parts)


def _after_session_id(body: bytes) -> int:
    """Return where the session id of a hello ends. Raises ValueError."""
    length = _byte(body, _VERSION_AND_RANDOM)
    if length > _MAX_SESSION_ID:
        raise ValueError("a session id is too long")
    return _VERSION_AND_RANDOM + 1 + length


def _extension(body: bytes, offset: int, wanted: int) -> tuple[int, int]:
    """Return where an extension begins and ends; `offset` is their list's. Raises ValueError."""
    last = min(offset + 2 + _number(body, offset), len(body))
    offset += 2
    while offset + 4 <= last:
        begin = offset + 4
        offset = begin + _number(body, begin - 2)
        if _number(body, begin - 4) == wanted:
            if offset > last:
                break
            return begin, offset
    raise ValueError("the extension is not there")


def _server_name(data: bytes) -> str:
    """Return the host name in a server_name extension, "" if there is none. Raises ValueError."""
    offset = 2  # the list's length
    while offset + 3 <= len(data):
        kind, begin = data[offset], offset + 3
        offset = begin + _number(data, begin - 2)
        if kind == _HOST_NAME:
            if offset > len(data):
                break
            # Escaped as dns.py escapes what is no printable ASCII.
            name = data[begin:offset].removesuffix(b".").lower()
            text = "".join(chr(b) if 0x21 <= b <= 0x7E else f"\\{b:03d}" for b in name)
            return text if len(text) <= _MAX_NAME else ""
    return ""


def _byte(data: bytes, offset: int) -> int:
    if offset >= len(data):
        raise ValueError("a number is cut short")
    return data[offset]


def _number(data: bytes, offset: int) -> int:
    if offset + 2 > len(data):
        raise ValueError("a number is cut short")
    return data[offset] << 8 | data[offset + 1]
