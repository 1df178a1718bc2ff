"""Finding the emulator, judging its answers, reading its log; no emulator is started."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

import pytest

from lambdatrace.emulator import rie
from lambdatrace.errors import EmulatorError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

ID = "36f34889-14d3-4e98-83d6-da40cad426b0"


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return path


def test_the_argument_wins_over_the_variable_over_the_fetched_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.chdir(tmp_path)
    fetched = executable(tmp_path / ".tools/aws-lambda-rie-arm64")
    variable, argument = executable(tmp_path / "variable"), executable(tmp_path / "argument")
    environ = {"LAMBDATRACE_RIE": str(variable)}
    assert rie.find_rie(argument, environ) == argument
    assert rie.find_rie(None, environ) == variable
    assert rie.find_rie(None, {}) == fetched


def test_a_named_emulator_that_is_none_is_not_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="not an executable file"):
        rie.find_rie(tmp_path / "missing", {})
    with pytest.raises(EmulatorError, match="not an executable file"):
        rie.find_rie(None, {"LAMBDATRACE_RIE": str(tmp_path)})


def test_without_an_emulator_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(EmulatorError) as caught:
        rie.find_rie(None, {})
    assert "make setup" in caught.value.hint
    assert "--rie" in caught.value.hint


@pytest.mark.parametrize("handler", ["app", "app.", ".handler", "app.not-a-name", ""])
def test_what_is_no_handler(handler: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a handler"):
        rie._check_handler(handler, tmp_path)


def test_a_handler_whose_module_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no module app\.orders in"):
        rie._check_handler("app.orders.handler", tmp_path)
    executable(tmp_path / "app/orders.py")
    rie._check_handler("app.orders.handler", tmp_path)
    executable(tmp_path / "package/__init__.py")
    rie._check_handler("package.handler", tmp_path)


def failure(request_id: str | None) -> bytes:
    named = {} if request_id is None else {"requestId": request_id}
    return json.dumps({"errorType": "KeyError", "errorMessage": "'x'", **named}).encode()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b'{"errorType": 1}', None),
        (200, b"", None),
        (200, b"[" * 100_000, None),
        (200, b"\xff", None),
        (200, failure(ID), "KeyError: 'x'"),
        (200, failure("another"), None),
        (200, failure(None), None),
        (502, failure(None), "KeyError: 'x'"),
        (502, b"", "the emulator answered with status 502"),
        (200, b"Task timed out after 3.00 seconds", "Task timed out after 3.00 seconds"),
        (200, b'"Task timed out after 3.00 seconds"', None),
        (200, b"Task timed out after 4.00 seconds", None),
    ],
)
def test_what_counts_as_a_failure(status: int, body: bytes, error: str | None) -> None:
    assert rie._error(status, body, ID, 3) == error


def test_the_log_tells_request_id_and_duration() -> None:
    log = rie._PlatformLog()
    log.begin()
    log.feed(f"START RequestId: {ID} Version: $LATEST")
    log.feed("(rapid) INVOKE RTDONE(status: success, produced bytes: 0, duration: 1.546000ms)")
    log.feed(f"END RequestId: {ID}")
    assert log.wait(until_end=True) == (ID, 1.546)


def test_a_log_without_a_request_id_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rie, "_LOG_S", 0.01)
    log = rie._PlatformLog()
    log.feed("nothing of use")
    with pytest.raises(EmulatorError) as caught:
        log.wait(until_end=True)
    assert "nothing of use" in caught.value.hint


def test_free_ports_are_different() -> None:
    assert len(set(rie._free_ports(10))) == 10


def test_managed_instances_are_not_turned_on_by_a_left_over_variable(tmp_path: Path) -> None:
    environ = {"AWS_LAMBDA_MAX_CONCURRENCY": "4", "AWS_LAMBDA_FUNCTION_TIMEOUT": "900"}
    variables = rie.Emulator("app.handler", tmp_path, timeout_s=7, environ=environ)._variables()
    assert "AWS_LAMBDA_MAX_CONCURRENCY" not in variables
    assert variables["AWS_LAMBDA_FUNCTION_TIMEOUT"] == "7"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == tmp_path.name
