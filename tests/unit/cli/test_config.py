"""The configuration file, and what goes before what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import support_traces as traces
from support_cli import run

from lambdatrace.cli.config import Config, config_path, read_config, region_and_profile
from lambdatrace.cli.options import Source, chosen_store
from lambdatrace.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def configured(folder: Path, text: str | bytes) -> dict[str, str]:
    """An environment with this configuration."""
    path = folder / "config/lambdatrace/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder)}


def test_where_the_file_is() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == "/x/lambdatrace/config.toml"
    assert config_path({"XDG_CONFIG_HOME": "x", "HOME": "/h"}) == (
        "/h/.config/lambdatrace/config.toml"
    )
    assert config_path({}) == ""


def test_no_file_is_an_empty_configuration(tmp_path: Path) -> None:
    assert read_config({}) == Config()
    assert read_config({"XDG_CONFIG_HOME": str(tmp_path)}) == Config()
    (tmp_path / "lambdatrace").write_text("in the way of the folder")
    assert read_config({"XDG_CONFIG_HOME": str(tmp_path)}) == Config()


def test_what_it_says(tmp_path: Path) -> None:
    text = '# mine\nstore = "dynamodb://Traces"\nregion = "eu-west-1"\nprofile = "prod"\n'
    assert read_config(configured(tmp_path, text)) == Config(
        "dynamodb://Traces", "eu-west-1", "prod"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        ('stor = "x"', "there is no setting 'stor'"),
        ("region = 5", "region is not a text"),
        ('profile = ""', "profile is not a text"),
        ("[store]\n", "store is not a text"),
        ("#" * 100_001, "is too large"),
        ('store = "mongodb://x"', "is not a store"),
        ('store = "dynamodb://Traces"\nregion = "EU"', "'EU' is not a region"),
    ],
)
def test_a_bad_file_is_a_clear_error(tmp_path: Path, text: str | bytes, message: str) -> None:
    result = run("list", environ=configured(tmp_path, text))
    assert result.code == 2
    assert message in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[1].startswith("hint: ")


def test_a_file_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "lambdatrace/config.toml").mkdir(parents=True)
    result = run("list", environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (result.code, "cannot be read" in result.stderr) == (2, True)


def test_flag_then_environment_then_file_then_default(tmp_path: Path) -> None:
    for name in ("flag", "env", "file"):
        traces.write(tmp_path / f"{name}.db", traces.execution(execution_id=f"{name}-1"))
    environ = configured(tmp_path, f'store = "sqlite://{tmp_path}/file.db"')
    both = {**environ, "LAMBDATRACE_STORE": f"sqlite://{tmp_path}/env.db"}
    flag = ("--store", f"sqlite://{tmp_path}/flag.db")
    for arguments, given, found in (((), environ, "file"), ((), both, "env"), (flag, both, "flag")):
        result = run("list", *arguments, "-o", "csv", environ=given)
        assert f"{found}-1" in result.stdout
    assert run("list", environ={"XDG_DATA_HOME": str(tmp_path)}).code == 1  # not there


CONFIG = 'store = "dynamodb://Traces"\nregion = "eu-west-1"\nprofile = "prod"\n'


@pytest.mark.parametrize(
    ("source", "environ", "url", "profile"),
    [
        (Source(), {}, "dynamodb://Traces?region=eu-west-1", "prod"),
        (Source(region="us-1"), {"AWS_REGION": "x"}, "dynamodb://Traces?region=us-1", "prod"),
        (Source(), {"AWS_REGION": "eu-north-1"}, "dynamodb://Traces", "prod"),
        (Source(), {"AWS_DEFAULT_REGION": "eu-north-1"}, "dynamodb://Traces", "prod"),
        (Source(), {"AWS_PROFILE": "other"}, "dynamodb://Traces?region=eu-west-1", None),
        (Source(), {"AWS_ACCESS_KEY_ID": "AK"}, "dynamodb://Traces?region=eu-west-1", None),
        (Source(profile="my"), {"AWS_PROFILE": "x"}, "dynamodb://Traces?region=eu-west-1", "my"),
        (Source(table="Others"), {}, "dynamodb://Others?region=eu-west-1", "prod"),
        (Source("dynamodb://T00?region=ap-1"), {}, "dynamodb://T00?region=ap-1", "prod"),
        (Source("sqlite:///x.db"), {}, "sqlite:///x.db", None),
        (Source(), {"DYNAMO_TABLE_NAME": "Older"}, "dynamodb://Older?region=eu-west-1", "prod"),
    ],
)  # fmt: skip
def test_regions_and_profiles(
    tmp_path: Path, source: Source, environ: dict[str, str], url: str, profile: str | None
) -> None:
    target, found = chosen_store({**configured(tmp_path, CONFIG), **environ}, source)
    assert (str(target), found) == (url, profile)


def test_commands_for_functions_at_aws_take_region_and_profile_from_it_too(tmp_path: Path) -> None:
    environ = configured(tmp_path, 'region = "eu-west-1"\nprofile = "prod"')
    assert region_and_profile(read_config(environ), environ, None, None) == ("eu-west-1", "prod")
    assert region_and_profile(read_config(environ), environ, "us-east-2", "dev") == (
        "us-east-2",
        "dev",
    )
    named = {**environ, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIA"}
    assert region_and_profile(read_config(named), named, None, None) == (None, None)


@pytest.mark.parametrize(
    "source", [Source("sqlite:///x.db", region="eu-west-1"), Source("sqlite:///x.db", profile="p")]
)
def test_regions_and_profiles_are_dynamodbs(source: Source) -> None:
    with pytest.raises(UsageError, match=r"is DynamoDB.s, the store is sqlite:///x\.db"):
        chosen_store({}, source)


def test_a_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    result = run("list", "--table", "Traces", "--region", "eu-west-1", "--profile", "nobody")
    assert result.code == 1
    assert "nobody" in result.stderr
    assert "~/.aws/config" in result.stderr
