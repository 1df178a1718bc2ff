"""What the environment tells the agent, and what it makes of nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.agent.settings import DEFAULT_SPOOL, DEFAULT_TTL_DAYS, Settings
from lambdatrace.capture import CAPTURE


def test_everything_has_a_default() -> None:
    settings = Settings({})
    assert (settings.function, settings.version, settings.memory_mb) == ("unknown", None, None)
    assert (settings.level, settings.ttl_days) == ("flows", DEFAULT_TTL_DAYS)
    assert (settings.store, settings.runtime_api) == ("", "")
    assert settings.capture == CAPTURE
    assert settings.threshold_ns == 1_000_000
    assert (settings.flush, settings.keep) == ("", "")
    assert (settings.spool, settings.spool_bytes) == (DEFAULT_SPOOL, 16_000_000)


def test_what_lambda_and_the_user_say() -> None:
    environ = {
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_LAMBDA_FUNCTION_NAME": "pay",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "LAMBDATRACE_STORE": "dynamodb://Traces",
        "LAMBDATRACE_LEVEL": "syscalls",
        "LAMBDATRACE_TTL_DAYS": "3",
        "LAMBDATRACE_CAPTURE": "tls,dns",
        "LAMBDATRACE_THRESHOLD_MS": "25",
        "LAMBDATRACE_FLUSH": "periodic:5",
        "LAMBDATRACE_KEEP": "1/10",
        "LAMBDATRACE_SPOOL": "/var/tmp/spool",
        "LAMBDATRACE_SPOOL_MB": "3",
    }
    settings = Settings(environ)
    assert settings.runtime_api == "127.0.0.1:9001"
    assert (settings.function, settings.version, settings.memory_mb) == ("pay", "$LATEST", 256)
    assert (settings.store, settings.level) == ("dynamodb://Traces", "syscalls")
    assert settings.ttl_days == 3
    assert settings.capture == ("dns", "tls")
    assert settings.threshold_ns == 25_000_000
    assert (settings.flush, settings.keep) == ("periodic:5", "1/10")  # read in their modules
    assert (settings.spool, settings.spool_bytes) == ("/var/tmp/spool", 3_000_000)
    assert settings.environ is environ


@pytest.mark.parametrize(
    ("initialization", "is_managed", "is_snapshot"),
    [
        ("", False, False),
        ("on-demand", False, False),
        ("provisioned-concurrency", False, False),
        ("snap-start", False, True),
        ("lambda-managed-instances", True, False),
    ],
)
def test_kinds_of_environments(initialization: str, is_managed: bool, is_snapshot: bool) -> None:
    settings = Settings({"AWS_LAMBDA_INITIALIZATION_TYPE": initialization})
    assert (settings.is_managed, settings.is_snapshot) == (is_managed, is_snapshot)


def test_other_extensions_are_left_out_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    found = [Settings({"LAMBDATRACE_EXTENSIONS": text}).extensions for text in ("", "0", "1")]
    assert found == [False, False, True]
    assert capfd.readouterr().err == ""
    assert not Settings({"LAMBDATRACE_EXTENSIONS": "yes"}).extensions
    assert "LAMBDATRACE_EXTENSIONS='yes'" in capfd.readouterr().err


def test_an_empty_spool_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert Settings({"LAMBDATRACE_SPOOL": ""}).spool == ""
    assert capfd.readouterr().err == ""


def test_stores_have_different_names() -> None:
    settings = [
        {"LAMBDATRACE_STORE": "dynamodb://Traces", "AWS_REGION": "eu-west-1"},
        {"LAMBDATRACE_STORE": "dynamodb://Traces", "AWS_REGION": "eu-west-2"},
        {"LAMBDATRACE_STORE": "dynamodb://Other", "AWS_REGION": "eu-west-1"},
        {"DYNAMO_TABLE_NAME": "Traces", "AWS_REGION": "eu-west-1"},
    ]
    assert len({Settings(environ).store_name for environ in settings}) == len(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAMBDATRACE_LEVEL", "everything"),
        ("LAMBDATRACE_LEVEL", "FLOWS"),
        ("LAMBDATRACE_TTL_DAYS", "soon"),
        ("LAMBDATRACE_TTL_DAYS", "-1"),
        ("LAMBDATRACE_TTL_DAYS", "1e3"),
        ("LAMBDATRACE_TTL_DAYS", "9" * 30),
        ("LAMBDATRACE_TTL_DAYS", "٣"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "much"),
        ("LAMBDATRACE_SPOOL", "spool"),
        ("LAMBDATRACE_SPOOL_MB", "-1"),
        ("LAMBDATRACE_THRESHOLD_MS", "1.5"),
        ("LAMBDATRACE_THRESHOLD_MS", "-1"),
        ("LAMBDATRACE_THRESHOLD_MS", "1" * 10),
    ],
)
def test_nonsense_is_told_in_one_line_and_the_default_taken(
    capfd: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    settings = Settings({name: value})
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"lambdatrace: {name}=")
    assert (settings.level, settings.ttl_days) == ("flows", DEFAULT_TTL_DAYS)
    assert settings.memory_mb is None
    assert settings.threshold_ns == 1_000_000
    assert (settings.spool, settings.spool_bytes) == (DEFAULT_SPOOL, 16_000_000)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("", CAPTURE),
        ("all", CAPTURE),
        ("all,dns", CAPTURE),
        ("none", ()),
        ("cpu", ("cpu",)),
        (" blocked , cpu ", ("cpu", "blocked")),
        ("dns,dns,none", ("dns",)),
        ("dns,", ("dns",)),
        (",", CAPTURE),
        (",".join(reversed(CAPTURE)), CAPTURE),
    ],
)
def test_the_groups_that_are_wanted(
    capfd: pytest.CaptureFixture[str], text: str, groups: tuple[str, ...]
) -> None:
    assert Settings({"LAMBDATRACE_CAPTURE": text}).capture == groups
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "groups"),
    [("dns,disks", ("dns",)), ("DNS", CAPTURE), ("connections,x", CAPTURE)],
)
def test_a_group_that_is_none_is_told_with_those_there_are(
    capfd: pytest.CaptureFixture[str], text: str, groups: tuple[str, ...]
) -> None:
    assert Settings({"LAMBDATRACE_CAPTURE": text}).capture == groups
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("lambdatrace: LAMBDATRACE_CAPTURE: there is no ")
    assert line.endswith("dns, tls, exchanges, cpu, blocked, processes, or all, or none")


def test_a_threshold_of_nothing_tells_of_everything() -> None:
    assert Settings({"LAMBDATRACE_THRESHOLD_MS": "0"}).threshold_ns == 0


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "LAMBDATRACE_LEVEL", "LAMBDATRACE_TTL_DAYS", "LAMBDATRACE_CAPTURE",
                "LAMBDATRACE_THRESHOLD_MS", "LAMBDATRACE_SPOOL", "LAMBDATRACE_SPOOL_MB",
            ]
        ),
        st.text(),
    )
)  # fmt: skip
def test_no_text_makes_it_fail(environ: dict[str, str]) -> None:
    settings = Settings(environ)
    assert settings.level in ("flows", "syscalls")
    assert settings.ttl_days is not None
    assert settings.ttl_days >= 0
    assert set(settings.capture) <= set(CAPTURE)
    assert settings.threshold_ns >= 0
