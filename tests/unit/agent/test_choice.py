"""Which backend senses, and what is said of those that do not."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.agent import choice
from lambdatrace.agent.settings import Settings
from lambdatrace.bpf.loader import Probe
from lambdatrace.errors import ProbeError
from lambdatrace.preload.backend import Preload
from lambdatrace.proc import sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAP_PREFIX = choice.MAP_PREFIX
WRAPPED = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace/wrapper"}
REFUSED = ProbeError("the kernel refused eBPF (EPERM)", "run as root")


def settings(**environ: str) -> Settings:
    return Settings({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", **environ})


@pytest.fixture(autouse=True)
def own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choice, "MAP_PREFIX", f"{tmp_path}/map-")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    tried: list[int] = []

    def load(**_: Any) -> Probe:
        tried.append(1)
        raise REFUSED

    monkeypatch.setattr(Probe, "load", load)
    return tried


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    sensors: list[Any] = []
    yield sensors
    for each in sensors:
        each.close()


def test_where_ebpf_is_refused_the_library_takes_over(
    refused: list[int], opened: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    opened.append(choice.open_sensor(settings(**WRAPPED), 1, []))
    assert (opened[0].backend, opened[0].why) == ("preload", REFUSED.message)
    assert REFUSED.message in capfd.readouterr().err
    assert refused


def test_who_wants_only_ebpf_is_told_the_refusal(refused: list[int]) -> None:
    with pytest.raises(ProbeError) as caught:
        choice.open_sensor(settings(**WRAPPED, LAMBDATRACE_BACKEND="ebpf"), 1, [])
    assert caught.value is REFUSED


def test_where_nothing_brings_the_library_in_proc_has_to_do(
    refused: list[int], opened: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    opened.append(choice.open_sensor(settings(), 1, []))
    assert opened[0].backend == "proc"
    assert opened[0].why.startswith(f"{REFUSED.message}; AWS_LAMBDA_EXEC_WRAPPER is not set")
    assert REFUSED.message in capfd.readouterr().err
    assert refused


def test_proc_is_the_last_resort_where_the_library_has_no_place(
    refused: list[int], opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "MAP_PREFIX", "/nonexistent/map-")
    opened.append(choice.open_sensor(settings(**WRAPPED), 1, []))
    assert opened[0].backend == "proc"
    assert opened[0].why.startswith(REFUSED.message)
    assert "/nonexistent/map-9001 cannot be made: No such file" in opened[0].why


@pytest.mark.parametrize("asked", ["auto", "proc"])
def test_proc_does_not_trace_executions_side_by_side(refused: list[int], asked: str) -> None:
    managed = {"AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}
    with pytest.raises(ProbeError, match="side by side"):
        choice.open_sensor(settings(**managed, LAMBDATRACE_BACKEND=asked), 1, [])


def test_who_asks_for_the_library_gets_it(refused: list[int], opened: list[Any]) -> None:
    opened.append(choice.open_sensor(settings(LAMBDATRACE_BACKEND="preload"), 1, []))
    assert (opened[0].backend, opened[0].why) == ("preload", "asked for")
    assert not refused


def test_who_asks_for_proc_gets_it(refused: list[int], opened: list[Any]) -> None:
    opened.append(choice.open_sensor(settings(LAMBDATRACE_BACKEND="proc"), 1, []))
    assert (opened[0].backend, opened[0].why) == ("proc", "asked for")
    assert not refused
    handover = opened[0].handover()
    assert handover.descriptors == []
    opened.append(choice.adopt(handover.descriptors, handover.layout))
    assert (opened[1].backend, opened[1].unavailable) == ("proc", opened[0].unavailable)


def test_another_process_adopts_what_one_has_opened(opened: list[Any]) -> None:
    first = choice.open_sensor(settings(LAMBDATRACE_BACKEND="preload"), 1, [])
    handover = first.handover()
    second = choice.adopt(handover.descriptors, handover.layout)
    assert isinstance(second, Preload)
    assert (second.why, second.unavailable) == (first.why, first.unavailable)
    opened.append(second)


def test_an_unknown_backend_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    assert settings(LAMBDATRACE_BACKEND="ptrace").backend == "auto"
    assert "LAMBDATRACE_BACKEND='ptrace'" in capfd.readouterr().err


def test_the_wrapper_names_the_same_file() -> None:
    from lambdatrace.layer import contents

    wrapper = contents._OPT.joinpath("wrapper").read_text()
    assert '/tmp/lambdatrace-preload-${AWS_LAMBDA_RUNTIME_API##*:}"' in wrapper
    assert choice.map_path("169.254.100.1:9001").endswith("9001")


def test_the_emulator_removes_the_same_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: list[Any]
) -> None:
    from lambdatrace.emulator import environment

    assert environment.MAP_PREFIX == MAP_PREFIX
    monkeypatch.setattr(environment, "MAP_PREFIX", choice.MAP_PREFIX)
    opened.append(choice.open_sensor(settings(LAMBDATRACE_BACKEND="preload"), 1, []))
    assert len(list(tmp_path.iterdir())) == 2
    for _ in range(2):
        environment.remove_mapping(9001)
        assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_had_is_an_error_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "MAP_PREFIX", "/nonexistent/map-")
    with pytest.raises(ProbeError, match="cannot be made: No such file"):
        choice.open_sensor(settings(LAMBDATRACE_BACKEND="preload"), 1, [])


def test_who_takes_over_and_can_see_less_says_so(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.append(choice.open_sensor(settings(LAMBDATRACE_BACKEND="proc"), 1, []))

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(sockets, "Diagnosis", refuse)
    with pytest.raises(ProbeError, match="was not before"):
        choice.adopt([], opened[0].handover().layout)
