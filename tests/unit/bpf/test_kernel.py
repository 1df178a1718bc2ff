"""How the kernel is asked: what it takes and refuses. What it answers to a probe is integration."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from support import require

from lambdatrace.bpf import kernel, native

if TYPE_CHECKING:
    from collections.abc import Callable

HASH = 1  # BPF_MAP_TYPE_HASH
ARGUMENTS = ("numbers", HASH, 4, 8, 3, 0)


@pytest.fixture
def numbers() -> int:
    """A map of three numbers by number."""
    require(os.geteuid() == 0, "eBPF needs root")
    return kernel.Kernel().create_map(*ARGUMENTS)


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_a_map_is_written_read_and_gone_through(numbers: int) -> None:
    asked = kernel.Kernel()
    value, following = native.buffer(8), native.buffer(4)
    assert asked.look_up(numbers, key(7), value) == -1
    assert native.get_errno() == errno.ENOENT
    assert asked.update(numbers, key(7), b"12345678") == 0
    assert asked.look_up(numbers, key(7), value) == 0
    assert value.raw == b"12345678"
    assert asked.next_key(numbers, None, following) == 0
    assert following.raw == key(7)
    assert asked.next_key(numbers, key(7), following) == -1
    assert asked.delete(numbers, key(7)) == 0
    assert asked.next_key(numbers, None, following) == -1
    os.close(numbers)


def test_many_elements_are_written_at_once(numbers: int) -> None:
    asked = kernel.Kernel()
    value = native.buffer(8)
    assert asked.update_all(numbers, 2, key(1) + key(2), b"one.....two.....") == 0
    assert asked.look_up(numbers, key(2), value) == 0
    assert value.raw == b"two....."
    # And one too many is refused.
    assert asked.update_all(numbers, 2, key(3) + key(4), bytes(16)) == -1
    assert native.get_errno() == errno.E2BIG
    os.close(numbers)


def test_a_tracepoint_that_is_not_there_is_refused_and_nothing_stays_open() -> None:
    require(os.geteuid() == 0, "eBPF needs root")
    asked = kernel.Kernel()
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    assert asked.attach(0, 0xFFFFFF) == -1
    assert asked.attach_raw(0, "no_such_event") == -1
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def refusing(times: int, monkeypatch: pytest.MonkeyPatch) -> tuple[kernel.Kernel, list[str]]:
    """A kernel before 5.11 that counts maps as locked memory: it refuses so many calls."""
    asked, told = kernel.Kernel(), list[str]()

    def answer(name: str, *_: type) -> Callable[..., int]:
        def function(*_: object) -> int:
            told.append(name)
            return 0

        return function

    def syscall(*_: object) -> int:
        told.append("bpf")
        return -1 if told.count("bpf") <= times else 9

    monkeypatch.setattr(asked, "_syscall", syscall)
    monkeypatch.setattr(asked._library, "function", answer)
    monkeypatch.setattr(kernel, "get_errno", lambda: errno.EPERM)
    return asked, told


def test_a_limit_of_locked_memory_is_lifted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = refusing(1, monkeypatch)
    assert asked.create_map(*ARGUMENTS) == 9
    assert told == ["bpf", "setrlimit", "bpf"]


def test_a_refusal_that_has_another_reason_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = refusing(2, monkeypatch)
    assert asked.create_map(*ARGUMENTS) == -1
    assert told == ["bpf", "setrlimit", "bpf"]
