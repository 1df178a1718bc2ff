"""Calls into the C library through lambdatrace/bpf/native.py, and what it does without."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from lambdatrace.bpf import native

ROOT = Path(__file__).parents[3]


def test_a_call_and_its_answer() -> None:
    library = native.Library(None)
    assert library.function("strlen", native.Pointer)(b"four\0more") == 4
    written = native.buffer(16)
    library.function("strcpy", native.Pointer, native.Pointer)(written, b"text")
    assert (written.raw, written.value) == (b"text" + bytes(12), b"text")


def test_a_call_that_fails() -> None:
    assert native.Library(None).function("close", native.Int)(-1) == -1
    assert native.get_errno() == errno.EBADF


def test_addresses() -> None:
    """What a struct that the kernel reads has of them."""
    text, read = b"from here", native.buffer(4)
    copy = native.Library(None).function("memcpy", native.Size, native.Size, native.Size)
    copy(native.addressof(read), native.address(text) + 5, 4)
    assert read.raw == b"here"


def test_what_is_not_there() -> None:
    with pytest.raises(OSError, match="nowhere"):
        native.Library("libnowhere.so")
    with pytest.raises(AttributeError):
        native.Library(None).function("no_such_function")


def test_it_does_without_ctypes() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lambdatrace.bpf.loader; print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, ROOT], capture_output=True, text=True, check=True
    )
    assert not {"ctypes", "functools", "re", "collections"} & set(ran.stdout.split())
