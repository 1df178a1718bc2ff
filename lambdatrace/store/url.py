"""Store URLs: which store is meant, from what was typed or from the environment.

    sqlite:///path/to/file.db     one file, absolute path
    sqlite://                     the default file
    dynamodb://Table?region=eu-west-1&endpoint=http://localhost:8000

The agent imports this module at cold start: standard library only, no `urllib.parse`.
"""

from __future__ import annotations

import os

from lambdatrace.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SQLITE = "sqlite"
DYNAMODB = "dynamodb"

DEFAULT_FILE = "lambdatrace/lambdatrace.db"

_FORMS = "a store is sqlite:///path/to/file.db or dynamodb://Table?region=…&endpoint=…"
# DynamoDB's documented naming rules: 3 to 255 of these characters.
_TABLE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_REGION_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_HEX = frozenset("0123456789abcdefABCDEF")


class StoreUrl:
    """A store URL taken apart. `path` belongs to sqlite, the other three to dynamodb."""

    __slots__ = ("endpoint", "engine", "path", "region", "table")

    def __init__(
        self,
        engine: str,
        path: str = "",
        table: str = "",
        region: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        self.engine = engine
        self.path = path
        self.table = table
        self.region = region
        self.endpoint = endpoint

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"StoreUrl({inner})"

    def __str__(self) -> str:
        if self.engine == SQLITE:
            return f"sqlite://{_escape(self.path)}"
        options = [
            f"{name}={_escape(value)}"
            for name, value in (("region", self.region), ("endpoint", self.endpoint))
            if value
        ]
        return f"dynamodb://{self.table}" + ("?" + "&".join(options) if options else "")


class Endpoint:
    """Where an HTTP service listens: `tls`, `host` (no brackets) and `port`."""

    __slots__ = ("host", "port", "tls")

    def __init__(self, tls: bool, host: str, port: int) -> None:
        self.tls = tls
        self.host = host
        self.port = port

    @property
    def authority(self) -> str:
        """The Host header: no port where it is the scheme's own (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def resolve(environ: Mapping[str, str]) -> str:
    """The URL of the store the environment names.

    `LAMBDATRACE_STORE`, else the table in `DYNAMO_TABLE_NAME` (the older name), else the default.
    """
    if url := environ.get("LAMBDATRACE_STORE"):
        return url
    if table := environ.get("DYNAMO_TABLE_NAME"):
        return f"dynamodb://{table}"
    return "sqlite://"


def parse(url: str, environ: Mapping[str, str]) -> StoreUrl:
    """`url` taken apart; `environ` says where the default file is.

    Raises UsageError when it is not a store URL.
    """
    engine, separator, rest = url.partition("://")
    if separator and engine == SQLITE:
        return _sqlite(url, rest, environ)
    if separator and engine == DYNAMODB:
        return _dynamodb(url, rest)
    told = _told(url)
    is_path = url and not separator and told == url
    hint = f"for a file: sqlite://{_absolute(url)}" if is_path else _FORMS
    raise UsageError(f"{told!r} is not a store", hint)


def choose(url: str | None, table: str | None, environ: Mapping[str, str]) -> StoreUrl:
    """The store that `url` names, or the table `table` where the store is; else the environment's.

    Raises UsageError for a malformed or contradictory choice.
    """
    target = parse(url or resolve(environ), environ)
    if not table:
        return target
    if url and target.engine == SQLITE:
        raise UsageError(
            f"--table {table} is a DynamoDB table, --store {url} is not DynamoDB",
            "leave one of them out",
        )
    return with_table(target, table)


def with_region(url: StoreUrl, region: str) -> StoreUrl:
    """`url` in another region. Raises UsageError when it is in none, or `region` is not one."""
    if url.engine != DYNAMODB:
        raise UsageError(f"--region {region} is DynamoDB's, the store is {url}", "leave it out")
    _check_region(region, region)
    return StoreUrl(DYNAMODB, table=url.table, region=region, endpoint=url.endpoint)


def with_table(url: StoreUrl, table: str) -> StoreUrl:
    """The DynamoDB table `table` where `url` is: same region and endpoint, if it has them.

    Raises UsageError when DynamoDB does not allow that name.
    """
    _check_table(table)
    return StoreUrl(DYNAMODB, table=table, region=url.region, endpoint=url.endpoint)


def default_path(environ: Mapping[str, str]) -> str:
    """The file that is used when none is named (XDG Base Directory Specification)."""
    home = environ.get("XDG_DATA_HOME", "")
    if not home.startswith("/"):  # the specification: relative ones are to be ignored
        home = (environ.get("HOME") or os.path.expanduser("~")) + "/.local/share"
    return f"{home}/{DEFAULT_FILE}"


def parse_endpoint(url: str) -> Endpoint:
    """`http[s]://host[:port]` taken apart. Raises UsageError when it is anything else."""
    scheme, separator, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        valid = bool(bracket) and (not port or port[0] == ":")
        port = port[1:]
    else:
        host, _, port = authority.partition(":")
        valid = True
    plain = url.isascii() and url.isprintable() and not any(mark in url for mark in " @?#\\%")
    if not (valid and plain and separator and scheme in ("http", "https") and host and not path):
        raise UsageError(
            f"{_told(url)!r} is not an endpoint", "an endpoint is http[s]://host[:port]"
        )
    tls = scheme == "https"
    if not port:
        return Endpoint(tls, host, 443 if tls else 80)
    if not (port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UsageError(
            f"{_told(url)!r}: {port!r} is not a port", "a port is a number up to 65535"
        )
    return Endpoint(tls, host, int(port))


def _told(url: str) -> str:
    """A URL without what may be a user's name and password, for whoever reads a log."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    _, secret, place = rest.replace("%40", "@").rpartition("@")  # an endpoint is escaped in a URL
    return f"{scheme}{separator}***@{place}" if secret else url


def _sqlite(url: str, rest: str, environ: Mapping[str, str]) -> StoreUrl:
    if not rest:
        return StoreUrl(SQLITE, path=default_path(environ))
    if not rest.startswith("/"):
        raise UsageError(
            f"{url!r}: the path of an sqlite store begins with /",
            f"sqlite://{_absolute(rest)}",
        )
    if "?" in rest or "#" in rest:
        raise UsageError(f"{url!r}: an sqlite store takes no options", "write ? as %3F, # as %23")
    # One slash in front: SQLite takes what stands behind two for a host.
    path = "/" + _unescape(url, rest).lstrip("/")
    if path.endswith("/"):
        raise UsageError(f"{url!r} names a directory", "name the file: sqlite:///path/to/file.db")
    return StoreUrl(SQLITE, path=path)


def _dynamodb(url: str, rest: str) -> StoreUrl:
    table, _, query = rest.partition("?")
    _check_table(table)
    options: dict[str, str] = {}
    for option in query.split("&") if query else ():
        name, _, value = option.partition("=")
        if name not in ("region", "endpoint") or name in options:
            raise UsageError(
                f"{_told(url)!r}: {name!r} is not understood or there twice",
                "dynamodb:// takes one region= and one endpoint=",
            )
        options[name] = _unescape(url, value)
    region, endpoint = options.get("region") or None, options.get("endpoint") or None
    if region:
        _check_region(url, region)
    if endpoint:
        parse_endpoint(endpoint)
    return StoreUrl(DYNAMODB, table=table, region=region, endpoint=endpoint)


def _absolute(path: str) -> str:
    return _escape(os.path.abspath(path))  # pathlib is not free


def _check_region(url: str, region: str) -> None:
    if not region or not _REGION_CHARACTERS.issuperset(region):
        raise UsageError(
            f"{_told(url)!r}: {region!r} is not a region", "for example region=eu-west-1"
        )


def _check_table(table: str) -> None:
    if not 3 <= len(table) <= 255 or not _TABLE_CHARACTERS.issuperset(table):
        raise UsageError(
            f"{table!r} is not the name of a DynamoDB table",
            "3 to 255 letters, digits, '_', '-' or '.': dynamodb://Table?region=…&endpoint=…",
        )


def _unescape(url: str, text: str) -> str:
    first, *rest = text.split("%")
    decoded = bytearray(os.fsencode(first))
    for part in rest:
        if len(part) < 2 or not _HEX.issuperset(part[:2]) or part[:2] == "00":
            raise UsageError(
                f"{_told(url)!r}: % is not followed by two hex digits", "write % as %25"
            )
        decoded.append(int(part[:2], 16))
        decoded += os.fsencode(part[2:])
    text = os.fsdecode(bytes(decoded))
    if "\0" in text:
        raise UsageError(f"{_told(url)!r} holds a NUL character", _FORMS)
    return text


def _escape(text: str) -> str:
    return "".join(f"%{ord(mark):02X}" if mark in "%?#&" else mark for mark in text)
