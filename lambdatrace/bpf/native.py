"""Calls into shared libraries: what the agent needs of `ctypes`, from its compiled half alone.

The other half, written in Python, is 2 ms of CPU at the agent's start.
"""

from __future__ import annotations

import os
import sys
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Int", "Library", "Pointer", "Size", "Unsigned", "address", "addressof", "buffer"]
__all__ += ["get_errno"]


class Int(_SimpleCData):  # type: ignore[type-arg]
    """A C int."""

    _type_ = "i"


class Unsigned(_SimpleCData):  # type: ignore[type-arg]
    """A C unsigned int."""

    _type_ = "I"


class Size(_SimpleCData):  # type: ignore[type-arg]
    """A C size_t, of 64 bits."""

    _type_ = "L"


class Pointer(_SimpleCData):  # type: ignore[type-arg]
    """A C void *, from bytes, a buffer or an array."""

    _type_ = "P"


class _Text(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Character(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = Int


class Library:
    """A shared library. `name` None: what this process has linked already.

    Raises OSError if there is none.
    """

    def __init__(self, name: str | None) -> None:
        # Where _ctypes looks for it.
        self._handle = dlopen(name, os.RTLD_NOW)  # type: ignore[arg-type]

    def function(self, name: str, *arguments: type) -> Any:
        """One of its functions, which takes `arguments`, and returns an int.

        Raises AttributeError if it has none of that name.
        """
        function = _Function((name, self))  # type: ignore[arg-type]
        function.argtypes = arguments
        return function


def address(data: bytes) -> int:
    """Where `data` stands in memory, for as long as it is kept."""
    return int.from_bytes(_Text(data), sys.byteorder)


def buffer(size: int) -> Any:
    """`size` zeroed bytes for a function to write to: `raw` has them, `value` those before a 0."""
    return (_Character * size)()
