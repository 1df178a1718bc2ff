"""The configuration file: which store, region and AWS profile are meant where nothing names one.

    # $XDG_CONFIG_HOME/lambdatrace/config.toml
    store = "dynamodb://Traces"
    region = "eu-west-1"
    profile = "prod"

What is typed goes before what the environment says, and that before what stands in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.errors import UsageError
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = "lambdatrace/config.toml"
_EXAMPLE = 'as in store = "dynamodb://Traces"'
_MAX_BYTES = 100_000


class Config(Value):
    """What the file says; None: nothing."""

    store: str | None = None
    region: str | None = None
    profile: str | None = None


def config_path(environ: Mapping[str, str]) -> str:
    """Where the file is (XDG Base Directory Specification: relative folders are ignored)."""
    home = environ.get("XDG_CONFIG_HOME", "")
    if home.startswith("/"):
        return f"{home}/{_FILE}"
    home = environ.get("HOME", "")
    return f"{home}/.config/{_FILE}" if home else ""


def region_and_profile(
    config: Config, environ: Mapping[str, str], region: str | None, profile: str | None
) -> tuple[str | None, str | None]:
    """AWS's region and profile: those typed, else configured where the environment names none.

    None: what boto3 finds.
    """
    if region is None and not _any(environ, "AWS_REGION", "AWS_DEFAULT_REGION"):
        region = config.region
    # Credentials in the environment are its choice as well.
    named = _any(environ, "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID")
    if profile is None and not named:
        profile = config.profile
    return region, profile


def _any(environ: Mapping[str, str], *names: str) -> bool:
    return any(environ.get(name) for name in names)


def read_config(environ: Mapping[str, str]) -> Config:
    """The configuration; without a file it is empty. Raises UsageError, in words."""
    path = config_path(environ)
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # pathlib is not free
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read: {reason}", "mend it, or move it away") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path} is too large for a configuration", _EXAMPLE)
    # Only who has a file needs a parser.
    import tomllib

    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}", _EXAMPLE) from error
    for name, value in values.items():
        if name not in Config.__slots__:
            known = ", ".join(Config.__slots__)
            raise UsageError(f"{path}: there is no setting {name!r}", f"the settings are {known}")
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {name} is not a text", f'write it as {name} = "…"')
    return Config(**values)
