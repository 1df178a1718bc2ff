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
    library.strlen.argtypes = [native.Text]
    assert library.strlen(b"four\0more") == 4
    written = native.buffer(16)
    library.strcpy.argtypes = [native.Pointer, native.Text]
    library.strcpy(written, b"text")
    assert (written.raw, written.value) == (b"text" + bytes(12), b"text")


def test_a_call_that_fails() -> None:
    library = native.Library(None)
    assert library.close(-1) == -1
    assert native.get_errno() == errno.EBADF


def test_a_number_that_a_function_changes() -> None:
    library = native.Library(None)
    number = native.Unsigned(7)
    library.memset.argtypes = [native.Pointer, native.Int, native.Size]
    library.memset(native.byref(number), 0, 4)
    assert number.value == 0


def test_what_is_not_there() -> None:
    with pytest.raises(OSError, match="nowhere"):
        native.Library("libnowhere.so")
    with pytest.raises(AttributeError):
        _ = native.Library(None).no_such_function


def test_it_does_without_ctypes() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lambdatrace.bpf.loader; print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, ROOT], capture_output=True, text=True, check=True
    )
    assert not {"ctypes", "functools", "re", "collections"} & set(ran.stdout.split())
